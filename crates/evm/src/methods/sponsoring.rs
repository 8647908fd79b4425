//! The gas sponsoring extensions: how a payer without gas lets Permit2 move a
//! token (`eip2612GasSponsoring`, `erc20ApprovalGasSponsoring`).

use alloy_consensus::{Transaction, TxEnvelope, transaction::SignerRecoverable};
use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, hex};
use alloy_sol_types::SolCall;
use serde_json::{Map, Value};
use tollway_core::extensions::Envelope;
use tollway_core::wire::Object;
use tollway_core::{Refusal, codes};

use super::fields::{Fields, decimal};
use crate::abi::{Allowances, Eip2612Permit};
use crate::refusal::refuse;
use crate::typed_data::Permit;

/// The extension in which a payer permits Permit2 by EIP-2612.
pub const EIP2612_GAS_SPONSORING: &str = "eip2612GasSponsoring";
/// The extension in which a payer hands over a signed approval transaction.
pub const ERC20_APPROVAL_GAS_SPONSORING: &str = "erc20ApprovalGasSponsoring";

/// Longest approval transaction that is read, in bytes.
const MAX_TRANSACTION_BYTES: usize = 1024;
/// Most gas that an approval may ask for.
pub(crate) const MAX_APPROVAL_GAS: u64 = 100_000;

/// A permit for Permit2, as the extension carries it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SponsoredPermit {
    pub permit: Permit,
    signature: [u8; 65],
}

/// An approval of Permit2 that its payer signed and did not send.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SponsoredApproval {
    pub raw: Bytes,
    pub hash: B256,
    pub nonce: u64,
    /// Most wei that it can cost its payer.
    pub cost: U256,
    /// Most wei per gas that it offers.
    pub max_fee: u128,
}

/// What a payment's extension must agree with.
#[derive(Clone, Copy)]
pub(crate) struct Payer {
    pub account: Address,
    pub asset: Address,
    pub amount: U256,
    /// The deadline must not come sooner, Unix seconds.
    pub not_before: u64,
    /// Who may be allowed to move the asset.
    pub permit2: Address,
}

impl SponsoredPermit {
    /// The extension of a payment, if it has one that is filled in: a server's own
    /// declaration that came back as it was is none.
    pub fn find(extensions: Option<&Object>, payer: Payer) -> Result<Option<Self>, Refusal> {
        let format = || {
            refuse(
                codes::INVALID_EIP2612_EXTENSION_FORMAT,
                "send from, asset, spender, amount, nonce, deadline, signature and version \"1\"",
            )
        };
        let Some(info) = info(extensions, EIP2612_GAS_SPONSORING, "signature") else {
            return Ok(None);
        };
        let fields = Fields::new(&info, codes::INVALID_EIP2612_EXTENSION_FORMAT);
        let read = || -> Result<_, Refusal> {
            if fields.text("version")? != "1" {
                return Err(format());
            }
            let permit = Permit {
                owner: fields.address("from")?,
                spender: fields.address("spender")?,
                value: fields.number("amount")?,
                nonce: fields.number("nonce")?,
                deadline: fields.number("deadline")?,
            };
            let signature = fields.signature()?;
            let signature = <[u8; 65]>::try_from(signature.as_ref()).map_err(|_| format())?;
            Ok((permit, fields.address("asset")?, signature))
        };
        let (permit, asset, signature) = read().map_err(|_| format())?;
        if permit.owner != payer.account {
            return Err(refuse(
                codes::EIP2612_FROM_MISMATCH,
                "permit with the paying account",
            ));
        }
        if asset != payer.asset {
            return Err(refuse(
                codes::EIP2612_ASSET_MISMATCH,
                "permit the asset that is paid with",
            ));
        }
        if permit.spender != payer.permit2 {
            return Err(refuse(
                codes::EIP2612_SPENDER_NOT_PERMIT2,
                "permit Permit2 itself",
            ));
        }
        if permit.deadline < U256::from(payer.not_before) {
            return Err(refuse(
                codes::EIP2612_DEADLINE_EXPIRED,
                "sign one that ends with the payment",
            ));
        }
        if permit.value != payer.amount {
            return Err(refuse(
                codes::PERMIT2_2612_AMOUNT_MISMATCH,
                "permit exactly the permitted amount",
            ));
        }
        Ok(Some(Self { permit, signature }))
    }

    /// As the proxies take it: `r` and `s` come before `v`.
    pub fn for_proxy(&self) -> Eip2612Permit {
        Eip2612Permit {
            value: self.permit.value,
            deadline: self.permit.deadline,
            r: B256::from_slice(&self.signature[..32]),
            s: B256::from_slice(&self.signature[32..64]),
            v: self.signature[64],
        }
    }
}

/// The extension of a payer's permit, over what the server declared.
pub(crate) fn permit_extension(
    declared: &Envelope,
    permit: &Permit,
    asset: Address,
    signature: &[u8; 65],
) -> Envelope {
    let text = |address: Address| Value::from(address.to_checksum(None));
    extended(
        declared,
        [
            ("from", text(permit.owner)),
            ("asset", text(asset)),
            ("spender", text(permit.spender)),
            ("amount", permit.value.to_string().into()),
            ("nonce", permit.nonce.to_string().into()),
            ("deadline", permit.deadline.to_string().into()),
            ("signature", hex::encode_prefixed(signature).into()),
            ("version", "1".into()),
        ],
    )
}

/// The extension of a payer's signed approval, over what the server declared.
pub(crate) fn approval_extension(
    declared: &Envelope,
    from: Address,
    asset: Address,
    permit2: Address,
    raw: &[u8],
) -> Envelope {
    let text = |address: Address| Value::from(address.to_checksum(None));
    extended(
        declared,
        [
            ("from", text(from)),
            ("asset", text(asset)),
            ("spender", text(permit2)),
            ("amount", U256::MAX.to_string().into()),
            ("signedTransaction", hex::encode_prefixed(raw).into()),
            ("version", "1".into()),
        ],
    )
}

fn extended<const N: usize>(declared: &Envelope, fields: [(&str, Value); N]) -> Envelope {
    let mut info = declared.info.as_object().cloned().unwrap_or_default();
    for (key, value) in fields {
        info.entry(key).or_insert(value);
    }
    Envelope {
        info: Value::Object(info),
        schema: declared.schema.clone(),
    }
}

impl SponsoredApproval {
    /// The extension of a payment, if it has one that is filled in, checked field
    /// by field: a transaction of the payer's that approves Permit2 for the asset,
    /// and does nothing else.
    pub fn find(
        extensions: Option<&Object>,
        payer: Payer,
        chain_id: u64,
    ) -> Result<Option<Self>, Refusal> {
        let Some(info) = info(
            extensions,
            ERC20_APPROVAL_GAS_SPONSORING,
            "signedTransaction",
        ) else {
            return Ok(None);
        };
        let (from, asset, spender, amount, raw) = read_approval(&info)?;
        if from != payer.account {
            return Err(refuse(
                codes::ERC20_APPROVAL_FROM_MISMATCH,
                "approve with the paying account",
            ));
        }
        if asset != payer.asset {
            return Err(refuse(
                codes::ERC20_APPROVAL_ASSET_MISMATCH,
                "approve the asset that is paid with",
            ));
        }
        if spender != payer.permit2 {
            return Err(refuse(
                codes::ERC20_APPROVAL_SPENDER_NOT_PERMIT2,
                "approve Permit2 itself",
            ));
        }
        let transaction = parsed(&raw, chain_id)?;
        check_call(&transaction, payer, amount)?;
        check_signer(&transaction, payer)?;
        let cost = U256::from(transaction.gas_limit())
            .saturating_mul(U256::from(transaction.max_fee_per_gas()));
        Ok(Some(Self {
            hash: *transaction.tx_hash(),
            nonce: transaction.nonce(),
            raw,
            cost,
            max_fee: transaction.max_fee_per_gas(),
        }))
    }
}

/// `from`, `asset`, `spender`, `amount` and the transaction.
fn read_approval(
    info: &Map<String, Value>,
) -> Result<(Address, Address, Address, U256, Bytes), Refusal> {
    let format = |_| {
        refuse(
            codes::INVALID_ERC20_APPROVAL_EXTENSION_FORMAT,
            "send from, asset, spender, amount, signedTransaction and version \"1\"",
        )
    };
    let fields = Fields::new(info, codes::INVALID_ERC20_APPROVAL_EXTENSION_FORMAT);
    let read = || -> Result<_, Refusal> {
        let amount = decimal(fields.text("amount")?);
        let raw = hex::decode(fields.text("signedTransaction")?).ok();
        let (Some(amount), Some(raw), "1") = (amount, raw, fields.text("version")?) else {
            return Err(super::fields::invalid("a field is malformed"));
        };
        if raw.len() > MAX_TRANSACTION_BYTES {
            return Err(super::fields::invalid("signedTransaction is too long"));
        }
        Ok((
            fields.address("from")?,
            fields.address("asset")?,
            fields.address("spender")?,
            amount,
            Bytes::from(raw),
        ))
    };
    read().map_err(format)
}

fn parsed(raw: &Bytes, chain_id: u64) -> Result<TxEnvelope, Refusal> {
    let mut bytes = raw.as_ref();
    let transaction = TxEnvelope::decode_2718(&mut bytes)
        .ok()
        .filter(|tx| bytes.is_empty() && tx.chain_id() == Some(chain_id))
        .filter(|tx| tx.gas_limit() <= MAX_APPROVAL_GAS);
    transaction.ok_or_else(|| {
        refuse(
            codes::ERC20_APPROVAL_TX_PARSE_FAILED,
            &format!(
                "sign an EIP-1559 transaction of this chain with at most {MAX_APPROVAL_GAS} gas"
            ),
        )
    })
}

fn check_call(transaction: &TxEnvelope, payer: Payer, amount: U256) -> Result<(), Refusal> {
    if transaction.kind() != TxKind::Call(payer.asset) {
        return Err(refuse(
            codes::ERC20_APPROVAL_TX_WRONG_TARGET,
            "call the asset",
        ));
    }
    let input = transaction.input();
    if !input.starts_with(&Allowances::approveCall::SELECTOR) {
        return Err(refuse(
            codes::ERC20_APPROVAL_TX_WRONG_SELECTOR,
            "call approve",
        ));
    }
    let strict = Allowances::approveCall::abi_decode_validate(input)
        .ok()
        .filter(|_| input.len() == 68 && transaction.value().is_zero());
    let Some(call) = strict else {
        return Err(refuse(
            codes::ERC20_APPROVAL_TX_INVALID_CALLDATA,
            "send approve(address,uint256) and nothing else",
        ));
    };
    if call.spender != payer.permit2 {
        return Err(refuse(
            codes::ERC20_APPROVAL_TX_WRONG_SPENDER,
            "approve Permit2 itself",
        ));
    }
    if call.amount < payer.amount || call.amount != amount {
        return Err(refuse(
            codes::ERC20_APPROVAL_TX_INVALID_CALLDATA,
            "approve the amount that is stated, and at least what is paid",
        ));
    }
    Ok(())
}

fn check_signer(transaction: &TxEnvelope, payer: Payer) -> Result<(), Refusal> {
    match transaction.recover_signer() {
        Ok(signer) if signer == payer.account => Ok(()),
        Ok(_) => Err(refuse(
            codes::ERC20_APPROVAL_TX_SIGNER_MISMATCH,
            "sign it with the paying account",
        )),
        Err(_) => Err(refuse(
            codes::ERC20_APPROVAL_TX_INVALID_SIGNATURE,
            "sign it again",
        )),
    }
}

/// An extension's `info`, if the payer filled in what makes it its own.
fn info(extensions: Option<&Object>, key: &str, filled: &str) -> Option<Object> {
    match Envelope::find(extensions, key)?.info {
        Value::Object(info) if info.contains_key(filled) => Some(info),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filled_in_extension_is_the_one_of_official_clients() {
        let file = include_str!("../../tests/vectors/eip2612.json");
        let file: Value = serde_json::from_str(file).unwrap();
        let mut seen = 0;
        for case in file["cases"].as_array().unwrap() {
            let official = &case["expected"]["extension"];
            let Some(signature) = official["info"]["signature"].as_str() else {
                continue;
            };
            let declared = &case["input"]["payment_required"]["extensions"];
            let declared = Envelope::find(declared.as_object(), EIP2612_GAS_SPONSORING).unwrap();
            let info = official["info"].as_object().unwrap();
            let fields = Fields::new(info, codes::INVALID_EIP2612_EXTENSION_FORMAT);
            let permit = Permit {
                owner: fields.address("from").unwrap(),
                spender: fields.address("spender").unwrap(),
                value: fields.number("amount").unwrap(),
                nonce: fields.number("nonce").unwrap(),
                deadline: fields.number("deadline").unwrap(),
            };
            let asset = fields.address("asset").unwrap();
            let signature = hex::decode(signature).unwrap().try_into().unwrap();
            let ours = permit_extension(&declared, &permit, asset, &signature);
            assert_eq!(serde_json::to_value(ours).unwrap(), *official);
            let payer = Payer {
                account: permit.owner,
                asset,
                amount: permit.value,
                not_before: 0,
                permit2: permit.spender,
            };
            let extensions = serde_json::json!({EIP2612_GAS_SPONSORING: official});
            let read = SponsoredPermit::find(extensions.as_object(), payer).unwrap();
            assert!(read.unwrap().permit == permit);
            seen += 1;
        }
        assert_eq!(seen, 4);
    }
}
