//! What the payer's account and the token say, in one request.

use serde_json::{Value, json};
use starknet_crypto::Felt;
use tollway_core::{Amount, ChainError, Intent, Refusal, SignerState, codes};
use tollway_rpc::ask::{typed, unavailable};
use tollway_rpc::{Batch, RpcError};

use super::StarknetChain;
use crate::felt;
use crate::node::{LATEST, Num, call_params, code, is_contract_failure, refused_with};
use crate::outside::Call;
use crate::payload::SignedExecution;
use crate::refusal::refuse;
use crate::selectors::{BALANCE_OF, BALANCE_OF_CAMEL, IS_VALID_NONCE, IS_VALID_SIGNATURE};

/// 'VALID': what `is_valid_signature` answers (SRC-6).
const VALID: Felt = Felt::from_hex_unchecked("0x56414c4944");
/// STRK, which fees are paid in, on every network.
pub(crate) const STRK: Felt =
    Felt::from_hex_unchecked("0x04718f5a0fc34cc1af16a1cdee98ffb20c31f5cd61d6ab07201858f4287c938d");

type Answer = Option<Result<Value, RpcError>>;

impl StarknetChain {
    /// Steps 3, 4, 7 and 9: the account exists, accepts the signature, has not
    /// used the nonce and holds enough. Gives the sender's transaction nonce.
    pub(super) async fn check_account(
        &self,
        signed: &SignedExecution,
        intent: &Intent,
        sender: &Felt,
        held: Amount,
    ) -> Result<u64, ChainError> {
        let asset = super::known(&intent.terms.asset)?;
        let payer = signed.from;
        let mut batch = Batch::new();
        let address = felt::text(&payer);
        batch.push("starknet_getClassHashAt", &json!([LATEST, address]));
        batch.push("starknet_call", &call_params(&self.signature_call(signed)));
        batch.push(
            "starknet_call",
            &call_params(&nonce_call(&payer, &signed.execution.nonce)),
        );
        batch.push(
            "starknet_call",
            &call_params(&balance_call(asset, payer, BALANCE_OF)),
        );
        batch.push("starknet_getNonce", &json!([LATEST, felt::text(sender)]));
        let answers = self.rpc.batch::<Value>(batch).await;
        let mut answers = answers.map_err(unavailable("batch"))?.into_iter();

        deployed(answers.next())?;
        accepts(answers.next())?;
        unused(answers.next())?;
        let balance = match answers.next() {
            Some(Err(error)) if is_contract_failure(&error) => {
                self.camel_balance(asset, payer).await?
            }
            answer => amount_of(answer)?,
        };
        let needed = held.checked_add(intent.terms.amount);
        if needed.is_none_or(|needed| balance < needed) {
            return Err(refuse(codes::INSUFFICIENT_FUNDS, "add funds and pay again").into());
        }
        nonce_number(answers.next())
    }

    fn signature_call(&self, signed: &SignedExecution) -> Call {
        let mut calldata = vec![
            signed.hash(&self.chain_id),
            Felt::from(signed.signature.len()),
        ];
        calldata.extend(&signed.signature);
        Call {
            to: signed.from,
            selector: IS_VALID_SIGNATURE,
            calldata,
        }
    }

    /// The balance by the getter's other name.
    async fn camel_balance(&self, asset: Felt, payer: Felt) -> Result<Amount, ChainError> {
        let params = call_params(&balance_call(asset, payer, BALANCE_OF_CAMEL));
        match self.rpc.call::<Value>("starknet_call", params).await {
            Err(error) if is_contract_failure(&error) => Err(refuse(
                codes::INVALID_PAYMENT_REQUIREMENTS,
                "ask for an asset that has balance_of or balanceOf",
            )
            .into()),
            answer => amount_of(Some(answer)),
        }
    }

    /// Whether an account says that an outside nonce can still be used; `None`
    /// where it does not say.
    pub(super) async fn is_unused(
        &self,
        account: &Felt,
        nonce: &Felt,
    ) -> Result<Option<bool>, ChainError> {
        let params = call_params(&nonce_call(account, nonce));
        match self.rpc.call::<Vec<Num>>("starknet_call", params).await {
            Ok(answer) => Ok(truth(&answer)),
            Err(error) if is_contract_failure(&error) => Ok(None),
            Err(error) => Err(unavailable("is_valid_outside_execution_nonce")(error)),
        }
    }

    /// An account's next transaction nonce by accepted blocks.
    pub(super) async fn nonce_of(&self, account: &Felt) -> Result<u64, ChainError> {
        let params = json!([LATEST, felt::text(account)]);
        nonce_number(Some(
            self.rpc.call::<Value>("starknet_getNonce", params).await,
        ))
    }

    pub(super) async fn read_signers(&self) -> Result<Vec<SignerState>, ChainError> {
        let mut batch = Batch::new();
        for account in &self.accounts {
            let call = balance_call(STRK, account.number, BALANCE_OF);
            batch.push("starknet_call", &call_params(&call));
        }
        let answers = self.rpc.batch::<Value>(batch).await;
        let answers = answers.map_err(unavailable("balance_of"))?;
        let dear = self.dearest().await?;
        let least = Amount::from_atomic(dear.saturating_mul(self.limits.low_transactions.into()));
        let states = self.accounts.iter().zip(answers).map(|(account, answer)| {
            let balance = amount_of(Some(answer))?;
            Ok(SignerState {
                signer: account.address.clone(),
                balance,
                low: balance < least,
            })
        });
        states.collect()
    }
}

pub(crate) fn balance_call(asset: Felt, account: Felt, selector: Felt) -> Call {
    Call {
        to: asset,
        selector,
        calldata: vec![account],
    }
}

fn nonce_call(account: &Felt, nonce: &Felt) -> Call {
    Call {
        to: *account,
        selector: IS_VALID_NONCE,
        calldata: vec![*nonce],
    }
}

fn deployed(answer: Answer) -> Result<(), ChainError> {
    match answer {
        Some(Err(error)) if refused_with(&error) == Some(code::CONTRACT_NOT_FOUND) => {
            Err(refuse(codes::ACCOUNT_NOT_DEPLOYED, "deploy it first").into())
        }
        answer => {
            let class: Num = typed("starknet_getClassHashAt", answer)?;
            match class.0 == Felt::ZERO {
                true => Err(refuse(codes::ACCOUNT_NOT_DEPLOYED, "deploy it first").into()),
                false => Ok(()),
            }
        }
    }
}

/// A revert says no, like any answer but `VALID`.
fn accepts(answer: Answer) -> Result<(), ChainError> {
    let refusal = || {
        refuse(
            codes::INVALID_EXACT_STARKNET_PAYLOAD_SIGNATURE,
            "sign with the account's key, or with a session that is registered and not over",
        )
    };
    match answer {
        Some(Err(error)) if is_contract_failure(&error) => Err(refusal().with_detail(error).into()),
        answer => {
            let said: Vec<Num> = typed("is_valid_signature", answer)?;
            match said == [Num(VALID)] {
                true => Ok(()),
                false => Err(refusal().into()),
            }
        }
    }
}

/// An account that does not say is taken to have used it.
fn unused(answer: Answer) -> Result<(), ChainError> {
    let used = || -> Refusal {
        refuse(
            codes::NONCE_ALREADY_USED,
            "look for the payment that used it before you sign another",
        )
    };
    match answer {
        Some(Err(error)) if is_contract_failure(&error) => Err(used().with_detail(error).into()),
        answer => {
            let said: Vec<Num> = typed("is_valid_outside_execution_nonce", answer)?;
            match truth(&said) {
                Some(true) => Ok(()),
                _ => Err(used().into()),
            }
        }
    }
}

fn truth(answer: &[Num]) -> Option<bool> {
    let [Num(answer)] = answer else {
        return None;
    };
    match felt::to_u64(answer) {
        Some(1) => Some(true),
        Some(0) => Some(false),
        _ => None,
    }
}

pub(crate) fn amount_of(answer: Answer) -> Result<Amount, ChainError> {
    let said: Vec<Num> = typed("balance_of", answer)?;
    let amount = match said.as_slice() {
        [low, high] => felt::join(&low.0, &high.0),
        _ => None,
    };
    amount.ok_or_else(|| ChainError::unavailable("balance_of: not a u256"))
}

fn nonce_number(answer: Answer) -> Result<u64, ChainError> {
    let nonce: Num = typed("starknet_getNonce", answer)?;
    felt::to_u64(&nonce.0).ok_or_else(|| ChainError::unavailable("a nonce above 2^64"))
}
