//! ERC-7710 delegations as the Delegation Framework 1.3.0 has them: what is
//! signed, what a permission context is, and how it is redeemed.
//!
//! A delegation lets `delegate` act for `delegator` within its caveats, contracts
//! that may forbid a redemption. A chain of them begins with a root, whose
//! delegator has the money, and ends with a leaf, whose delegate redeems. The
//! framework's manager checks all of it and makes the root's delegator execute.

mod caveat;
mod context;
mod deployment;
mod execution;
mod grant;
mod hash;
mod table;

pub use caveat::{CaveatError, CaveatTerms};
pub use context::{
    ContextError, MAX_BYTES, MAX_CAVEATS, MAX_CONTEXT_BYTES, MAX_LINKS, decode_context,
    encode_context,
};
pub use deployment::{Dependency, MAX_DEPENDENCIES, MAX_FACTORY_DATA, unwrap_chain};
pub use execution::{
    Execution, Mode, disable_call, pack_batch, pack_single, redeem_call, transfer_execution,
};
pub use grant::{Allowance, Grant, GrantError};
pub use hash::{CAVEAT_TYPE_HASH, DELEGATION_TYPE_HASH, delegation_domain};
pub use table::{DELEGATION_MANAGER, Enforcer, STATELESS_DELEGATOR};

use alloy_primitives::{Address, B256, Bytes, U256, address};

/// The delegate of an open delegation: anybody.
pub const ANY_DELEGATE: Address = address!("0000000000000000000000000000000000000a11");
/// The authority of a root: nobody's delegation.
pub const ROOT_AUTHORITY: B256 = B256::repeat_byte(0xff);

/// A condition of a delegation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caveat {
    /// The contract that enforces it.
    pub enforcer: Address,
    /// What it enforces, packed as that contract reads it; see [`CaveatTerms`].
    pub terms: Bytes,
    /// What whoever redeems says to it. It is not signed.
    pub args: Bytes,
}

/// Somebody lets somebody else act for it.
#[derive(Clone, PartialEq, Eq)]
pub struct Delegation {
    /// Who may act, or [`ANY_DELEGATE`].
    pub delegate: Address,
    /// For whom.
    pub delegator: Address,
    /// The hash of the delegation that lets the delegator act itself, or
    /// [`ROOT_AUTHORITY`].
    pub authority: B256,
    /// All must agree.
    pub caveats: Vec<Caveat>,
    /// Tells delegations with the same contents apart.
    pub salt: U256,
    /// The delegator's, over [`Delegation::digest`].
    pub signature: Bytes,
}

/// Without the signature: whoever holds it can present it.
impl std::fmt::Debug for Delegation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delegation")
            .field("delegate", &self.delegate)
            .field("delegator", &self.delegator)
            .field("authority", &self.authority)
            .field("caveats", &self.caveats)
            .finish_non_exhaustive()
    }
}

impl Delegation {
    /// Whether nobody in particular is delegated to.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.delegate == ANY_DELEGATE
    }

    /// Whether it begins a chain.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.authority == ROOT_AUTHORITY
    }

    /// What its caveats say, in order; `None` for a contract that is not of the
    /// framework or terms that it does not read.
    pub fn terms(&self) -> impl Iterator<Item = Option<CaveatTerms>> + '_ {
        let read = |caveat: &Caveat| CaveatTerms::decode(caveat.enforcer, &caveat.terms).ok();
        self.caveats.iter().map(read)
    }
}

/// Whether a chain hangs together, leaf first: every link is let by the one after
/// it to whoever gives it on, and the last one is a root.
#[must_use]
pub fn is_linked(chain: &[Delegation]) -> bool {
    let fits = |pair: &[Delegation]| match pair {
        [child, parent] => {
            child.authority == parent.hash()
                && (parent.is_open() || parent.delegate == child.delegator)
        }
        _ => false,
    };
    chain.windows(2).all(fits) && chain.last().is_some_and(Delegation::is_root)
}
