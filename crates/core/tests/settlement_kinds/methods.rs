//! Four ways to pay: what each reads from a payload, and what it refuses.

use std::sync::Arc;

use serde_json::Value;
use tollway_core::wire::{Object, PaymentPayload};
use tollway_core::{
    Amount, Expected, Identity, Intent, Refusal, Settlement, Terms, Timestamp, TxHash, codes,
};

use crate::pretend::Method;

fn malformed() -> Refusal {
    Refusal::new(
        codes::INVALID_PAYLOAD,
        "The payload lacks a field; send it.",
    )
}

fn text<'a>(payload: &'a Object, path: &str) -> Result<&'a str, Refusal> {
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    let value = payload.get(first).ok_or_else(malformed)?;
    let value = match rest {
        "" => Some(value),
        rest => value.pointer(&format!("/{rest}")),
    };
    value.and_then(Value::as_str).ok_or_else(malformed)
}

fn amount(payload: &Object, path: &str) -> Result<Amount, Refusal> {
    text(payload, path)?.parse().map_err(|_| malformed())
}

/// The parts that all ways share.
fn intent(
    payload: &Arc<PaymentPayload>,
    terms: &Arc<Terms>,
    payer: &str,
    nonce: String,
    scope: impl FnOnce(&str) -> String,
) -> Result<Intent, Refusal> {
    let payer = terms.network.address(payer).map_err(|_| malformed())?;
    Ok(Intent {
        identity: Identity {
            network: terms.network.clone(),
            scope: scope(payer.as_str()),
            payer: payer.clone(),
            nonce,
        },
        expected: Expected {
            asset: terms.asset.clone(),
            from: payer,
            to: terms.pay_to.clone(),
            amount: terms.amount,
        },
        deadline: Timestamp::from_secs(2000),
        settlement: Settlement::Submit,
        payload: payload.clone(),
        terms: terms.clone(),
    })
}

/// `upto` by Permit2: the amount is known after the handler.
pub struct Permit2;

impl Method for Permit2 {
    const SCHEME: &'static str = "upto";
    const NETWORK: &'static str = "eip155:84532";
    const USED: &'static str = codes::PERMIT2_INVALID_NONCE;

    fn inspect(
        &self,
        payload: &Arc<PaymentPayload>,
        terms: &Arc<Terms>,
    ) -> Result<Intent, Refusal> {
        let permit = &payload.payload;
        let ceiling = amount(permit, "permit2Authorization/permitted/amount")?;
        if terms.amount > ceiling {
            return Err(Refusal::new(
                codes::UPTO_AMOUNT_EXCEEDS_PERMITTED,
                "The charge is more than the permit allows; charge less.",
            ));
        }
        let payer = text(permit, "permit2Authorization/from")?;
        let nonce = text(permit, "permit2Authorization/nonce")?.to_owned();
        // Permit2 keeps one set of nonces for each owner, whatever the token.
        let mut intent = intent(payload, terms, payer, nonce, |_| "permit2".to_owned())?;
        if terms.amount.is_zero() {
            intent.settlement = Settlement::Nothing;
        }
        Ok(intent)
    }
}

/// A transaction that the buyer made, shown as proof.
pub struct Txid;

impl Method for Txid {
    const SCHEME: &'static str = "exact";
    const NETWORK: &'static str = "eip155:84532";
    const USED: &'static str = codes::DUPLICATE_SETTLEMENT;

    fn inspect(
        &self,
        payload: &Arc<PaymentPayload>,
        terms: &Arc<Terms>,
    ) -> Result<Intent, Refusal> {
        let transaction = TxHash::new(text(&payload.payload, "transaction")?);
        let payer = text(&payload.payload, "from")?;
        let scope = |_: &str| "txid".to_owned();
        let nonce = transaction.as_str().to_owned();
        let mut intent = intent(payload, terms, payer, nonce, scope)?;
        intent.settlement = Settlement::Observe { transaction };
        Ok(intent)
    }
}

/// A voucher against a deposit.
pub struct Channel;

/// What the pretended channel holds.
const DEPOSIT: u128 = 1_000_000;

impl Method for Channel {
    const SCHEME: &'static str = "batch-settlement";
    const NETWORK: &'static str = "eip155:84532";
    const USED: &'static str = codes::DUPLICATE_SETTLEMENT;

    fn inspect(
        &self,
        payload: &Arc<PaymentPayload>,
        terms: &Arc<Terms>,
    ) -> Result<Intent, Refusal> {
        let voucher = &payload.payload;
        let channel = text(voucher, "channelId")?.to_ascii_lowercase();
        let cumulative = amount(voucher, "cumulative")?;
        let scope = |_: &str| channel.clone();
        let payer = text(voucher, "payer")?;
        let mut intent = intent(payload, terms, payer, cumulative.to_string(), scope)?;
        intent.settlement = Settlement::Accumulate {
            channel,
            cumulative,
        };
        Ok(intent)
    }

    fn check(&self, intent: &Intent) -> Result<(), Refusal> {
        match &intent.settlement {
            Settlement::Accumulate { cumulative, .. }
                if *cumulative > Amount::from_atomic(DEPOSIT) =>
            {
                Err(Refusal::new(
                    codes::INVALID_BATCH_SETTLEMENT_EVM_CUMULATIVE_EXCEEDS_BALANCE,
                    "The voucher allows more than the channel holds; deposit more.",
                ))
            }
            _ => Ok(()),
        }
    }
}

/// An execution from outside: accounts and nonces are felts, and the account
/// itself holds the nonce.
pub struct Starknet;

fn felt(text: &str) -> Result<String, Refusal> {
    let digits = text.strip_prefix("0x").ok_or_else(malformed)?;
    let digits = digits.trim_start_matches('0').to_ascii_lowercase();
    Ok(format!("0x{digits:0>1}"))
}

impl Method for Starknet {
    const SCHEME: &'static str = "exact";
    const NETWORK: &'static str = "starknet:SN_SEPOLIA";
    const USED: &'static str = codes::NONCE_ALREADY_USED;

    fn inspect(
        &self,
        payload: &Arc<PaymentPayload>,
        terms: &Arc<Terms>,
    ) -> Result<Intent, Refusal> {
        let nonce = felt(text(&payload.payload, "outsideExecution/nonce")?)?;
        let payer = text(&payload.payload, "from")?;
        intent(payload, terms, payer, nonce, str::to_owned)
    }
}
