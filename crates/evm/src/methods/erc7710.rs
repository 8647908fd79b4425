//! ERC-7710: a permission that a wallet granted, redeemed for one transfer:
//! `{"delegationManager", "permissionContext", "delegator"}`, and where the
//! delegator is not deployed yet what the wallet said of that, `"dependencies"`.
//!
//! The context says who may redeem and within which caveats; it says nothing of
//! one payment. What makes a payment unique is what its chain of delegations can
//! be used for only once: a link that may be redeemed once, or one whose whole
//! amount is this payment. A context without either is refused, since nothing on
//! chain would keep it from paying twice.

use alloy_primitives::{Address, B256, Bytes, U256, hex};
use serde_json::Value;
use tollway_core::wire::Object;
use tollway_core::{Refusal, codes};

use super::fields::{Fields, invalid};
use crate::delegation::{
    CaveatTerms, ContextError, Delegation, Dependency, MAX_CONTEXT_BYTES, MAX_DEPENDENCIES,
    MAX_FACTORY_DATA, decode_context, encode_context, redeem_call, transfer_execution,
    unwrap_chain,
};
use crate::refusal::refuse;

/// The payment object's key for what must be deployed first.
const DEPENDENCIES: &str = "dependencies";

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
    /// What must be deployed first, as far as it is not there.
    pub dependencies: Vec<Dependency>,
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
            .field("dependencies", &self.dependencies)
            .finish_non_exhaustive()
    }
}

impl PermissionPayment {
    /// A chain that is to be presented for a payment of so much.
    ///
    /// # Errors
    /// `invalid_exact_evm_erc7710_not_single_use` if nothing of it can be used only
    /// once, and `…_context…` if it is longer than anybody takes.
    pub fn new(manager: Address, context: Bytes, amount: U256) -> Result<Self, Refusal> {
        let mut chain = decode_context(&context).map_err(malformed)?;
        let dependencies = unwrap_chain(&mut chain);
        // The manager knows nothing of wrappers.
        let context = match dependencies.is_empty() {
            true => context,
            false => encode_context(&chain),
        };
        let delegator = chain.last().map(|root| root.delegator).unwrap_or_default();
        let mark = mark_of(&chain, amount).ok_or_else(|| {
            refuse(
                codes::INVALID_EXACT_EVM_ERC7710_NOT_SINGLE_USE,
                "pay with a delegation of its own, that may be redeemed once",
            )
        })?;
        Ok(Self {
            manager,
            delegator,
            chain,
            dependencies,
            context,
            mark,
        })
    }

    /// With what must be deployed first.
    #[must_use]
    pub fn depending_on(mut self, dependencies: Vec<Dependency>) -> Self {
        for one in dependencies {
            if !self.dependencies.contains(&one) {
                self.dependencies.push(one);
            }
        }
        self
    }

    /// Decodes the payment object, presented for a payment of so much.
    ///
    /// # Errors
    /// `unsupported_payload_type` for another method's object, `invalid_payload`
    /// for a missing field or malformed hex, else as [`PermissionPayment::new`].
    pub fn parse(payload: &Object, amount: U256) -> Result<Self, Refusal> {
        if !payload.contains_key("permissionContext") {
            return Err(super::missing(payload, "permissionContext"));
        }
        let fields = Fields::new(payload, codes::INVALID_PAYLOAD);
        let manager = fields.address("delegationManager")?;
        let delegator = fields.address("delegator")?;
        let context = fields.hex("permissionContext", MAX_CONTEXT_BYTES)?;
        let read = Self {
            delegator,
            ..Self::new(manager, context, amount)?
        };
        Ok(read.depending_on(dependencies_of(payload)?))
    }

    /// The payment object.
    #[must_use]
    pub fn to_payload(&self) -> Object {
        let text = |address: Address| address.to_checksum(None).into();
        let context = hex::encode_prefixed(&self.context);
        let mut payload = Object::from_iter([
            ("delegationManager".to_owned(), text(self.manager)),
            ("permissionContext".to_owned(), context.into()),
            ("delegator".to_owned(), text(self.delegator)),
        ]);
        if !self.dependencies.is_empty() {
            let all: Vec<Value> = self.dependencies.iter().map(Dependency::to_json).collect();
            payload.insert(DEPENDENCIES.to_owned(), all.into());
        }
        payload
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
    pub(crate) fn redemption(&self, asset: Address, payee: Address, amount: U256) -> Bytes {
        redeem_call(&self.context, &transfer_execution(asset, payee, amount))
    }
}

/// What a payment says that is to be deployed, as the wallet's answer had it.
fn dependencies_of(payload: &Object) -> Result<Vec<Dependency>, Refusal> {
    let all = match payload.get(DEPENDENCIES) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(all)) if all.len() <= MAX_DEPENDENCIES => all,
        Some(_) => {
            let what = format!("{DEPENDENCIES} must be a list of at most {MAX_DEPENDENCIES}");
            return Err(invalid(&what));
        }
    };
    let read = |one: &Value| {
        let object = one.as_object();
        let object = object.ok_or_else(|| invalid(&format!("{DEPENDENCIES} must hold objects")))?;
        let fields = Fields::new(object, codes::INVALID_PAYLOAD);
        Ok(Dependency {
            factory: fields.address("factory")?,
            factory_data: fields.hex("factoryData", MAX_FACTORY_DATA)?,
        })
    };
    all.iter().map(read).collect()
}

/// The delegation nearest the root that may be redeemed once, or that is for this
/// amount in all. Whoever puts more links before it spends the same, and makes no
/// other payment of it.
fn mark_of(chain: &[Delegation], amount: U256) -> Option<Mark> {
    chain.iter().rev().find_map(|link| {
        let has = |wanted: fn(&CaveatTerms, U256) -> bool| {
            link.terms().flatten().any(|terms| wanted(&terms, amount))
        };
        let once = has(|terms, _| matches!(terms, CaveatTerms::LimitedCalls(U256::ONE)));
        let whole = || {
            has(|terms, amount| matches!(terms, CaveatTerms::TransferAmount { most, .. } if *most == amount))
        };
        match once {
            true => Some(Mark::Call(link.hash())),
            false => whole().then(|| Mark::Sum(link.hash())),
        }
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delegation::ROOT_AUTHORITY;

    fn link(number: u64, terms: &[CaveatTerms]) -> Delegation {
        Delegation {
            delegate: Address::with_last_byte(1),
            delegator: Address::with_last_byte(1),
            authority: ROOT_AUTHORITY,
            caveats: terms.iter().map(|t| t.caveat().unwrap()).collect(),
            salt: U256::from(number),
            signature: Bytes::new(),
        }
    }

    const ONCE: CaveatTerms = CaveatTerms::LimitedCalls(U256::ONE);

    fn so_much(most: u64) -> CaveatTerms {
        let token = Address::with_last_byte(2);
        let most = U256::from(most);
        CaveatTerms::TransferAmount { token, most }
    }

    /// However many links are put before what can be used once, they all spend the
    /// same, and are one payment.
    #[test]
    fn links_before_what_pays_once_are_no_payment_of_their_own() {
        let mark = |chain: &[&Delegation]| {
            let chain: Vec<Delegation> = chain.iter().copied().cloned().collect();
            mark_of(&chain, U256::from(10))
        };
        let leaf = link(1, &[ONCE]);
        for terms in [&[ONCE] as &[_], &[so_much(10)], &[so_much(10), ONCE]] {
            let parent = link(2, terms);
            let alone = mark(&[&parent]);
            assert!(alone.is_some());
            assert_eq!(mark(&[&leaf, &parent]), alone, "{terms:?}");
            assert_eq!(mark(&[&link(3, &[so_much(10)]), &parent]), alone);
        }
        let wide = link(4, &[so_much(100), CaveatTerms::LimitedCalls(U256::from(2))]);
        assert_eq!(mark(&[&leaf, &wide]), Some(Mark::Call(leaf.hash())));
        assert_eq!(mark(&[&wide]), None, "it pays ten times");
    }
}
