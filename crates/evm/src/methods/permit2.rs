//! Permit2 through the x402 proxies, for `exact` and `upto`:
//! `{"signature", "permit2Authorization": {…}}`.

use alloy_primitives::{Address, Bytes, U256, hex};
use alloy_sol_types::SolCall;
use serde_json::{Map, Value};
use tollway_core::wire::Object;
use tollway_core::{Refusal, codes};

use super::fields::{Fields, invalid};
use super::sponsoring::SponsoredPermit;
use crate::abi::{
    ExactProxy, ExactWitness, PermitTransferFrom, TokenPermissions, UptoProxy, UptoWitness,
};
use crate::typed_data::{Domain, Permit2Transfer, Witness};

/// What a call of an x402 proxy settles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SettledByCall {
    pub payer: Address,
    pub payee: Address,
    pub token: Address,
    /// Atomic units that it moves.
    pub amount: U256,
    pub nonce: U256,
}

/// A permit and its signature, decoded and not yet believed.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedPermit2 {
    /// Who pays.
    pub from: Address,
    /// What was signed. The witness names a facilitator for `upto` and only there.
    pub permit: Permit2Transfer,
    /// 65 bytes of a plain account, anything else of a contract.
    pub signature: Bytes,
}

/// Without the signature: whoever holds it can present it.
impl std::fmt::Debug for SignedPermit2 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignedPermit2")
            .field("from", &self.from)
            .field("permit", &self.permit)
            .finish_non_exhaustive()
    }
}

/// The EIP-712 domain of Permit2 on a chain, where it is there.
#[must_use]
pub fn permit2_domain(chain_id: u64, permit2: Address) -> Domain {
    Domain::unversioned("Permit2", chain_id, permit2)
}

impl SignedPermit2 {
    /// Decodes the payment object of scheme `exact`, or of `upto`, whose witness
    /// names who settles.
    ///
    /// # Errors
    /// `unsupported_payload_type` for another method's object, `invalid_payload`
    /// for a missing field or a malformed address or hex, and
    /// `invalid_permit2_signature` for numbers that no signature can cover.
    pub fn parse(payload: &Object, upto: bool) -> Result<Self, Refusal> {
        let whole = Fields::new(payload, codes::INVALID_PERMIT2_SIGNATURE);
        let fields = match payload.get("permit2Authorization") {
            Some(Value::Object(object)) => Fields { object, ..whole },
            Some(_) => return Err(invalid("permit2Authorization must be an object")),
            None => return Err(super::missing(payload, "permit2Authorization")),
        };
        let permitted = fields.inner("permitted")?;
        let witness = fields.inner("witness")?;
        Ok(Self {
            from: fields.address("from")?,
            permit: Permit2Transfer {
                token: permitted.address("token")?,
                amount: permitted.number("amount")?,
                spender: fields.address("spender")?,
                nonce: fields.number("nonce")?,
                deadline: fields.number("deadline")?,
                witness: Witness {
                    to: witness.address("to")?,
                    facilitator: upto.then(|| witness.address("facilitator")).transpose()?,
                    valid_after: witness.number("validAfter")?,
                },
            },
            signature: whole.signature()?,
        })
    }

    /// The payment object, as official clients write it.
    #[must_use]
    pub fn to_payload(&self) -> Object {
        let p = &self.permit;
        let text = |address: Address| Value::from(address.to_checksum(None));
        let number = |number: U256| Value::from(number.to_string());
        let mut permitted = Map::new();
        permitted.insert("token".into(), text(p.token));
        permitted.insert("amount".into(), number(p.amount));
        let mut witness = Map::new();
        witness.insert("to".into(), text(p.witness.to));
        if let Some(facilitator) = p.witness.facilitator {
            witness.insert("facilitator".into(), text(facilitator));
        }
        witness.insert("validAfter".into(), number(p.witness.valid_after));
        let mut fields = Map::new();
        fields.insert("from".into(), text(self.from));
        fields.insert("permitted".into(), permitted.into());
        fields.insert("spender".into(), text(p.spender));
        fields.insert("nonce".into(), number(p.nonce));
        fields.insert("deadline".into(), number(p.deadline));
        fields.insert("witness".into(), witness.into());
        let mut payload = Map::new();
        payload.insert(
            "signature".into(),
            hex::encode_prefixed(&self.signature).into(),
        );
        payload.insert("permit2Authorization".into(), fields.into());
        payload
    }

    /// The proxy's call that moves `charge` with the signature as the token's owner
    /// gave it, or as it stood inside an EIP-6492 wrapper. With a permit for
    /// Permit2 itself, that is given first.
    pub(crate) fn settle_call(
        &self,
        charge: U256,
        signature: &Bytes,
        sponsored: Option<&SponsoredPermit>,
    ) -> Bytes {
        let p = &self.permit;
        let permit = PermitTransferFrom {
            permitted: TokenPermissions {
                token: p.token,
                amount: p.amount,
            },
            nonce: p.nonce,
            deadline: p.deadline,
        };
        let (owner, signature) = (self.from, signature.clone());
        let exact = ExactWitness {
            to: p.witness.to,
            validAfter: p.witness.valid_after,
        };
        let upto = |facilitator| UptoWitness {
            to: p.witness.to,
            facilitator,
            validAfter: p.witness.valid_after,
        };
        let data = match (p.witness.facilitator, sponsored) {
            (None, None) => ExactProxy::settleCall {
                permit,
                owner,
                witness: exact,
                signature,
            }
            .abi_encode(),
            (None, Some(sponsored)) => ExactProxy::settleWithPermitCall {
                permit2612: sponsored.for_proxy(),
                permit,
                owner,
                witness: exact,
                signature,
            }
            .abi_encode(),
            (Some(facilitator), None) => UptoProxy::settleCall {
                permit,
                amount: charge,
                owner,
                witness: upto(facilitator),
                signature,
            }
            .abi_encode(),
            (Some(facilitator), Some(sponsored)) => UptoProxy::settleWithPermitCall {
                permit2612: sponsored.for_proxy(),
                permit,
                amount: charge,
                owner,
                witness: upto(facilitator),
                signature,
            }
            .abi_encode(),
        };
        data.into()
    }

    /// What a call of a proxy settles, if it is one that settles.
    pub(crate) fn settled_by_call(data: &[u8]) -> Option<SettledByCall> {
        let of = |permit: PermitTransferFrom, payer, payee, amount: Option<U256>| SettledByCall {
            payer,
            payee,
            token: permit.permitted.token,
            amount: amount.unwrap_or(permit.permitted.amount),
            nonce: permit.nonce,
        };
        if let Ok(call) = ExactProxy::settleCall::abi_decode(data) {
            return Some(of(call.permit, call.owner, call.witness.to, None));
        }
        if let Ok(call) = ExactProxy::settleWithPermitCall::abi_decode(data) {
            return Some(of(call.permit, call.owner, call.witness.to, None));
        }
        if let Ok(call) = UptoProxy::settleCall::abi_decode(data) {
            let amount = Some(call.amount);
            return Some(of(call.permit, call.owner, call.witness.to, amount));
        }
        let call = UptoProxy::settleWithPermitCall::abi_decode(data).ok()?;
        let amount = Some(call.amount);
        Some(of(call.permit, call.owner, call.witness.to, amount))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn proxies_are_called_as_official_facilitators_call_them() {
        let file = include_str!("../../tests/vectors/permit2.json");
        let file: Value = serde_json::from_str(file).unwrap();
        let mut seen = 0;
        for case in file["cases"].as_array().unwrap() {
            let (input, expected) = (&case["input"], &case["expected"]);
            let Some(calldata) = expected["settle_calldata"].as_str() else {
                continue;
            };
            let upto = input["kind"] == "client_payment_upto";
            let payload = expected["payload"].as_object().unwrap();
            let signed = SignedPermit2::parse(payload, upto).unwrap();
            let charge = match input["settle_amount"].as_str() {
                Some(amount) => amount.parse().unwrap(),
                None => signed.permit.amount,
            };
            let call = signed.settle_call(charge, &signed.signature, None);
            assert_eq!(hex::encode_prefixed(&call), calldata, "{}", case["name"]);
            let named = SignedPermit2::settled_by_call(&call).map(|call| (call.payer, call.nonce));
            assert_eq!(named, Some((signed.from, signed.permit.nonce)));
            seen += 1;
        }
        assert_eq!(seen, 8);
    }
}
