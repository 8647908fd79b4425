//! ERC-7710: a permission that a wallet granted, redeemed for one transfer:
//! `{"delegationManager", "permissionContext", "delegator"}`.
//!
//! The context says who may redeem and within which caveats; it says nothing of
//! one payment. What makes a payment unique is what its chain of delegations can
//! be used for only once: a leaf that may be redeemed once, or one whose whole
//! amount is this payment. A context without either is refused, since nothing on
//! chain would keep it from paying twice.

use alloy_primitives::{Address, B256, Bytes, hex};
use tollway_core::wire::Object;
use tollway_core::{Refusal, codes};

use super::fields::Fields;
use crate::delegation::{
    CaveatTerms, ContextError, Delegation, MAX_CONTEXT_BYTES, decode_context, redeem_call,
    transfer_execution,
};
use crate::refusal::refuse;

/// What of a chain can be used only once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Mark {
    /// A delegation that may be redeemed once: its hash.
    Call(B256),
    /// A delegation for one amount in all: its hash.
    Sum(B256),
}

/// A permission, decoded and not yet believed.
#[derive(Clone, PartialEq, Eq)]
pub struct PermissionPayment {
    /// Whom the delegations are for.
    pub manager: Address,
    /// The root's delegator, as the payment states it: who pays.
    pub delegator: Address,
    /// The chain, leaf first.
    pub chain: Vec<Delegation>,
    context: Bytes,
    mark: Mark,
}

/// Without the signatures: whoever holds them can present them.
impl std::fmt::Debug for PermissionPayment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PermissionPayment")
            .field("manager", &self.manager)
            .field("delegator", &self.delegator)
            .field("chain", &self.chain)
            .finish_non_exhaustive()
    }
}

impl PermissionPayment {
    /// A chain that is to be presented.
    ///
    /// # Errors
    /// `invalid_exact_evm_erc7710_not_single_use` if nothing of it can be used only
    /// once, and `…_context…` if it is longer than anybody takes.
    pub fn new(manager: Address, context: Bytes) -> Result<Self, Refusal> {
        let chain = decode_context(&context).map_err(malformed)?;
        let delegator = chain.last().map(|root| root.delegator).unwrap_or_default();
        let mark = mark_of(&chain).ok_or_else(|| {
            refuse(
                codes::INVALID_EXACT_EVM_ERC7710_NOT_SINGLE_USE,
                "pay with a delegation of its own, that may be redeemed once",
            )
        })?;
        Ok(Self {
            manager,
            delegator,
            chain,
            context,
            mark,
        })
    }

    /// Decodes the payment object.
    ///
    /// # Errors
    /// `unsupported_payload_type` for another method's object, `invalid_payload`
    /// for a missing field or malformed hex, else as [`PermissionPayment::new`].
    pub fn parse(payload: &Object) -> Result<Self, Refusal> {
        if !payload.contains_key("permissionContext") {
            return Err(super::missing(payload, "permissionContext"));
        }
        let fields = Fields::new(payload, codes::INVALID_PAYLOAD);
        let manager = fields.address("delegationManager")?;
        let delegator = fields.address("delegator")?;
        let context = fields.hex("permissionContext", MAX_CONTEXT_BYTES)?;
        Ok(Self {
            delegator,
            ..Self::new(manager, context)?
        })
    }

    /// The payment object.
    #[must_use]
    pub fn to_payload(&self) -> Object {
        let text = |address: Address| address.to_checksum(None).into();
        let context = hex::encode_prefixed(&self.context);
        Object::from_iter([
            ("delegationManager".to_owned(), text(self.manager)),
            ("permissionContext".to_owned(), context.into()),
            ("delegator".to_owned(), text(self.delegator)),
        ])
    }

    /// What makes it unique.
    pub(crate) const fn mark(&self) -> Mark {
        self.mark
    }

    /// The earliest end that its caveats set, Unix seconds: in no block of that
    /// second or later can it be redeemed.
    ///
    /// # Errors
    /// `invalid_exact_evm_erc7710_expiry` if nothing ends it.
    pub fn ends(&self) -> Result<u64, Refusal> {
        let ends = self.chain.iter().flat_map(Delegation::terms);
        let ends = ends.filter_map(|terms| match terms {
            Some(CaveatTerms::Timestamp { before, .. }) if before > 0 => Some(before),
            _ => None,
        });
        let end = ends.min().ok_or_else(|| {
            refuse(
                codes::INVALID_EXACT_EVM_ERC7710_EXPIRY,
                "pay with a delegation that ends soon",
            )
        })?;
        Ok(u64::try_from(end).unwrap_or(u64::MAX))
    }

    /// The manager's call that makes the payment's one transfer.
    pub(crate) fn redemption(
        &self,
        asset: Address,
        payee: Address,
        amount: alloy_primitives::U256,
    ) -> Bytes {
        redeem_call(&self.context, &transfer_execution(asset, payee, amount))
    }
}

/// The first delegation from the leaf that may be redeemed once, else the first
/// that is for one amount. Which amount that is, the rules look at.
fn mark_of(chain: &[Delegation]) -> Option<Mark> {
    let having = |wanted: fn(&CaveatTerms) -> bool| {
        let has = |delegation: &&Delegation| delegation.terms().flatten().any(|t| wanted(&t));
        chain.iter().find(has).map(Delegation::hash)
    };
    let once = having(
        |terms| matches!(terms, CaveatTerms::LimitedCalls(limit) if *limit == alloy_primitives::U256::ONE),
    );
    let sum = || having(|terms| matches!(terms, CaveatTerms::TransferAmount { .. }));
    once.map(Mark::Call).or_else(|| sum().map(Mark::Sum))
}

fn malformed(error: ContextError) -> Refusal {
    let code = match error {
        ContextError::Malformed => codes::INVALID_EXACT_EVM_ERC7710_CONTEXT,
        _ => codes::INVALID_EXACT_EVM_ERC7710_CONTEXT_TOO_LARGE,
    };
    Refusal::new(code, format!("{}.", capitalized(&error.to_string())))
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}
