//! The ways to pay on an EVM network: what each one's payment object is, what
//! makes it unique, and by which call it settles. What they share (asking the
//! chain, sending, receipts) is in `chain`.

pub(crate) mod eip2612;
pub(crate) mod eip3009;
pub(crate) mod erc7710;
pub(crate) mod fields;
pub(crate) mod identity;
pub(crate) mod permit2;
pub(crate) mod sponsoring;
pub(crate) mod txid;

use alloy_primitives::{Address, U256};
use tollway_core::assets::Method;
use tollway_core::wire::Object;
use tollway_core::{Refusal, Scheme, Terms, codes};

use eip2612::SignedPermit;
use eip3009::SignedAuthorization;
use erc7710::PermissionPayment;
use permit2::SignedPermit2;
use txid::{ProofTerms, SignedProof};

/// Signatures of smart accounts carry more than 65 bytes, but not without end.
pub const MAX_SIGNATURE_BYTES: usize = 4096;

/// A way to pay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// `exact` by EIP-3009.
    Eip3009,
    /// `exact` by Permit2.
    Permit2,
    /// `upto` by Permit2.
    Upto,
    /// `exact` by EIP-2612 and a settler.
    Eip2612,
    /// `exact` by a transaction that exists.
    Txid,
    /// `exact` by a permission that a wallet granted.
    Erc7710,
}

impl Way {
    /// The way that terms ask for.
    pub fn of(terms: &Terms) -> Result<Self, Refusal> {
        let way = match (terms.scheme, terms.transfer_method()) {
            (Scheme::Exact, Some(Method::Eip3009)) => Self::Eip3009,
            (Scheme::Exact, Some(Method::Permit2)) => Self::Permit2,
            (Scheme::Upto, Some(Method::Permit2)) => Self::Upto,
            (Scheme::Exact, Some(Method::Eip2612)) => Self::Eip2612,
            (Scheme::Exact, Some(Method::Txid)) => Self::Txid,
            (Scheme::Exact, Some(Method::Erc7710)) => Self::Erc7710,
            _ => {
                return Err(Refusal::new(
                    codes::UNSUPPORTED_PAYLOAD_TYPE,
                    "This network does not settle the scheme by that transfer method; offer exact by eip3009, permit2, erc7710, eip2612 or txid, or upto by permit2.",
                ));
            }
        };
        Ok(way)
    }

    /// The asset transfer method.
    pub const fn method(self) -> Method {
        match self {
            Self::Eip3009 => Method::Eip3009,
            Self::Permit2 | Self::Upto => Method::Permit2,
            Self::Eip2612 => Method::Eip2612,
            Self::Txid => Method::Txid,
            Self::Erc7710 => Method::Erc7710,
        }
    }
}

/// The codes by which a method names what all methods can refuse.
#[derive(Debug)]
pub(crate) struct Words {
    /// Not the payer's signature.
    pub signature: &'static str,
    /// The payer holds too little.
    pub funds: &'static str,
    /// It would fail, for no reason that is found.
    pub fails: &'static str,
    /// Expired, expiring too soon, or valid too long.
    pub ends: &'static str,
    /// Not valid yet.
    pub begins: &'static str,
}

pub(crate) static EIP3009: Words = Words {
    signature: codes::INVALID_EXACT_EVM_SIGNATURE,
    funds: codes::INVALID_EXACT_EVM_INSUFFICIENT_BALANCE,
    fails: codes::INVALID_EXACT_EVM_TRANSACTION_SIMULATION_FAILED,
    ends: codes::INVALID_EXACT_EVM_PAYLOAD_AUTHORIZATION_VALID_BEFORE,
    begins: codes::INVALID_EXACT_EVM_PAYLOAD_AUTHORIZATION_VALID_AFTER,
};
pub(crate) static PERMIT2: Words = Words {
    signature: codes::INVALID_PERMIT2_SIGNATURE,
    funds: codes::PERMIT2_INSUFFICIENT_BALANCE,
    fails: codes::PERMIT2_SIMULATION_FAILED,
    ends: codes::PERMIT2_DEADLINE_EXPIRED,
    begins: codes::PERMIT2_NOT_YET_VALID,
};
pub(crate) static EIP2612: Words = Words {
    signature: codes::INVALID_EXACT_EVM_EIP2612_SIGNATURE,
    funds: codes::INVALID_EXACT_EVM_EIP2612_INSUFFICIENT_BALANCE,
    fails: codes::INVALID_EXACT_EVM_EIP2612_SIMULATION_FAILED,
    ends: codes::INVALID_EXACT_EVM_EIP2612_DEADLINE,
    begins: codes::INVALID_EXACT_EVM_EIP2612_DEADLINE,
};
pub(crate) static ERC7710: Words = Words {
    signature: codes::INVALID_EXACT_EVM_ERC7710_SIGNATURE,
    funds: codes::INVALID_EXACT_EVM_ERC7710_INSUFFICIENT_BALANCE,
    fails: codes::INVALID_EXACT_EVM_ERC7710_SIMULATION_FAILED,
    ends: codes::INVALID_EXACT_EVM_ERC7710_EXPIRY,
    begins: codes::INVALID_EXACT_EVM_ERC7710_NOT_YET_VALID,
};

/// A payment object of whatever way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Payment {
    Eip3009(SignedAuthorization),
    Permit2(SignedPermit2),
    Eip2612(SignedPermit),
    Txid(SignedProof),
    Erc7710(PermissionPayment),
}

impl Payment {
    /// Decodes what was presented for these terms.
    pub fn parse(payload: &Object, terms: &Terms) -> Result<Self, Refusal> {
        Ok(match Way::of(terms)? {
            Way::Eip3009 => Self::Eip3009(SignedAuthorization::parse(payload)?),
            Way::Permit2 => Self::Permit2(SignedPermit2::parse(payload, false)?),
            Way::Upto => Self::Permit2(SignedPermit2::parse(payload, true)?),
            Way::Eip2612 => Self::Eip2612(SignedPermit::parse(payload)?),
            Way::Txid => {
                let signed = ProofTerms::of(terms)?.reference.is_some();
                Self::Txid(SignedProof::parse(payload, signed)?)
            }
            Way::Erc7710 => {
                let amount = terms.amount.as_u256();
                Self::Erc7710(PermissionPayment::parse(payload, amount)?)
            }
        })
    }

    /// The payment object.
    pub fn to_payload(&self) -> Object {
        match self {
            Self::Eip3009(signed) => signed.to_payload(),
            Self::Permit2(signed) => signed.to_payload(),
            Self::Eip2612(signed) => signed.to_payload(),
            Self::Txid(proof) => proof.to_payload(),
            Self::Erc7710(permission) => permission.to_payload(),
        }
    }

    /// Who pays.
    pub const fn payer(&self) -> Address {
        match self {
            Self::Eip3009(signed) => signed.authorization.from,
            Self::Permit2(signed) => signed.from,
            Self::Eip2612(signed) => signed.permit.owner,
            Self::Txid(proof) => proof.from,
            Self::Erc7710(permission) => permission.delegator,
        }
    }

    /// The method's own codes.
    pub fn words(&self) -> &'static Words {
        match self {
            Self::Permit2(_) => &PERMIT2,
            Self::Eip2612(_) => &EIP2612,
            Self::Erc7710(_) => &ERC7710,
            Self::Eip3009(_) | Self::Txid(_) => &EIP3009,
        }
    }

    /// From when on it can no longer move money, Unix seconds: the end of its
    /// own, and for what moved already the end of the offer; where that has none,
    /// as long from now as a payment may take.
    pub fn deadline(&self, terms: &Terms, now: u64) -> Result<u64, Refusal> {
        let seconds = |number: U256| u64::try_from(number).unwrap_or(u64::MAX);
        Ok(match self {
            Self::Eip3009(signed) => seconds(signed.authorization.valid_before),
            // These hold until the end of that second.
            Self::Permit2(signed) => seconds(signed.permit.deadline).saturating_add(1),
            Self::Eip2612(signed) => seconds(signed.permit.deadline).saturating_add(1),
            Self::Erc7710(permission) => permission.ends()?,
            Self::Txid(_) => ProofTerms::of(terms)?
                .expires_at
                .unwrap_or_else(|| now.saturating_add(terms.wire.max_timeout_seconds)),
        })
    }
}

/// The refusal of an object that lacks the key by which its method is known.
fn missing(payload: &Object, key: &str) -> Refusal {
    /// Keys by which the objects of methods are known.
    const KEYS: [&str; 6] = [
        "authorization",
        "permit2Authorization",
        "permit",
        "txHash",
        "permissionContext",
        "transaction",
    ];
    if KEYS.iter().any(|key| payload.contains_key(*key)) {
        return Refusal::new(
            codes::UNSUPPORTED_PAYLOAD_TYPE,
            format!("The payment is of another transfer method than was asked for; send `{key}`."),
        );
    }
    fields::invalid(&format!("{key} is missing"))
}
