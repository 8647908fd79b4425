//! Payers who pay by Permit2: who let it move their dollars before, and who bring
//! the approval along.

use alloy_consensus::{SignableTransaction as _, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_primitives::{Address, Bytes, Signature, TxKind, U256, hex};
use alloy_sol_types::{SolCall as _, sol};
use serde_json::{Value, json};
use tollway_checker::authorization;
use tollway_checker::client::{Meter, Signed};
use tollway_devnet::{DEV_ACCOUNTS, Devnet};
use tollway_evm::typed_data::{Permit, Permit2Transfer, Witness};
use tollway_evm::{EXACT_PROXY, PERMIT2, SignedPermit2, UPTO_PROXY, permit2_domain};

use crate::Failure;
use crate::buyer::{ASSET, Buyer, CHAIN, PAYEE, PRICE, Payment, domain, now};
use crate::plan::Chance;

sol! {
    function permit(address owner, address spender, uint256 value, uint256 deadline, bytes signature);
    function approve(address spender, uint256 amount);
}

/// What is metered: at most the price of everything else.
pub const METERED_ROUTE: &str = "GET /events/*=up to $0.01; meter=$0.0001/event";
/// The same in atomic units; a thirty-second part of the most may leave unrecorded.
const METER: Meter = Meter {
    price: 100,
    piece: (PRICE / 100).div_ceil(32),
};
/// Gas of an approval.
const APPROVAL_GAS: u64 = 70_000;

impl Buyer {
    /// Lets Permit2 move its dollars, by a permit that somebody else sends.
    pub fn allow(&self, chain: &Devnet) -> Result<(), Failure> {
        let permit = Permit {
            owner: self.account(),
            spender: PERMIT2,
            value: U256::MAX,
            nonce: U256::ZERO,
            deadline: U256::MAX,
        };
        let call = permitCall {
            owner: permit.owner,
            spender: permit.spender,
            value: permit.value,
            deadline: permit.deadline,
            signature: Bytes::copy_from_slice(&self.signer.sign(permit.digest(&domain()))),
        };
        let moved = chain.system_call(ASSET, call.abi_encode().into());
        moved.map(drop).map_err(|e| e.to_string())
    }

    /// Signs at most the price to the payee, for what a meter counts.
    pub fn permit_by_meter(&self, seconds: u64, chance: &mut Chance) -> Payment {
        let who = DEV_ACCOUNTS[0].address;
        let mut payment = self.permit(UPTO_PROXY, Some(who), seconds, chance);
        payment.signed.meter = Some(METER);
        payment
    }

    /// Signs the price to the payee, and an approval for whoever sends it.
    pub fn permit_with_approval(
        &self,
        chain: &Devnet,
        seconds: u64,
        chance: &mut Chance,
    ) -> Result<Payment, Failure> {
        let mut payment = self.permit(EXACT_PROXY, None, seconds, chance);
        let raw = self.approval(chain)?;
        payment.extensions = Some(json!({ "erc20ApprovalGasSponsoring": { "info": {
            "from": self.account().to_checksum(None),
            "asset": ASSET.to_checksum(None),
            "spender": PERMIT2.to_checksum(None),
            "amount": U256::MAX.to_string(),
            "signedTransaction": hex::encode_prefixed(raw),
            "version": "1",
        }, "schema": { "type": "object" } } }));
        Ok(payment)
    }

    fn permit(
        &self,
        spender: Address,
        facilitator: Option<Address>,
        seconds: u64,
        chance: &mut Chance,
    ) -> Payment {
        let number = u128::from(chance.any()) << 64 | u128::from(chance.any());
        let valid_before = now() + seconds;
        let permit = Permit2Transfer {
            token: ASSET,
            amount: U256::from(PRICE),
            spender,
            nonce: U256::from(number),
            deadline: U256::from(valid_before),
            witness: Witness {
                to: PAYEE,
                facilitator,
                valid_after: U256::ZERO,
            },
        };
        let digest = permit.digest(&permit2_domain(CHAIN, PERMIT2));
        let signed = SignedPermit2 {
            from: self.account(),
            permit,
            signature: Bytes::copy_from_slice(&self.signer.sign(digest)),
        };
        let (payer, nonce) = (format!("{:#x}", self.account()), number.to_string());
        Payment {
            auth: authorization(&payer, &nonce),
            signed: Signed {
                payer,
                nonce,
                to: format!("{PAYEE:#x}"),
                amount: u128::from(PRICE),
                valid_before,
                meter: None,
            },
            nonce: U256::from(number).to_be_bytes(),
            authorization: None,
            payload: Value::Object(signed.to_payload()),
            extra: json!({ "name": "USDC", "version": "2", "assetTransferMethod": "permit2" }),
            extensions: None,
            key: None,
        }
    }

    /// Its first transaction.
    fn approval(&self, chain: &Devnet) -> Result<Vec<u8>, Failure> {
        let price = chain.request("eth_gasPrice", json!([]));
        let price = price.map_err(|e| e.to_string())?;
        let price: U256 = serde_json::from_value(price).map_err(|e| e.to_string())?;
        let call = approveCall {
            spender: PERMIT2,
            amount: U256::MAX,
        };
        let transaction = TxEip1559 {
            chain_id: CHAIN,
            nonce: 0,
            gas_limit: APPROVAL_GAS,
            max_fee_per_gas: price.to::<u128>() * 2,
            max_priority_fee_per_gas: 1,
            to: TxKind::Call(ASSET),
            input: call.abi_encode().into(),
            ..TxEip1559::default()
        };
        let signature = self.signer.sign(transaction.signature_hash());
        let signature = Signature::try_from(&signature[..]).map_err(|e| e.to_string())?;
        let envelope = TxEnvelope::Eip1559(transaction.into_signed(signature));
        Ok(envelope.encoded_2718())
    }
}
