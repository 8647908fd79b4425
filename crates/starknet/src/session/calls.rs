//! What an owner calls of the own account, to allow and to end sessions.

use starknet_crypto::Felt;
use tollway_core::{Amount, Refusal, codes};

use super::key::SessionKey;
use crate::felt;
use crate::outside::Call;
use crate::refusal::refuse;
use crate::selectors;

/// Most entry points of one session; as our account's class has it.
const MAX_ENTRYPOINTS: usize = 32;

/// What a session may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// How many calls, at least one.
    pub max_calls: u32,
    /// Which entry points, of whatever contract. Empty is all but the account's
    /// own, and is to be consented to: see [`Registration::everything`].
    pub entrypoints: Vec<Felt>,
    /// Whether the owner consented to an empty list.
    pub everything: bool,
}

impl Registration {
    /// A number of `transfer` calls.
    #[must_use]
    pub fn transfers(max_calls: u32) -> Self {
        Self {
            max_calls,
            entrypoints: vec![selectors::TRANSFER],
            everything: false,
        }
    }
}

/// How much of a token a session may move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// At most this much by one call.
    pub max_per_call: Amount,
    /// At most this much in a window.
    pub max_per_window: Amount,
    /// How long a window is.
    pub window_seconds: u64,
}

impl Policy {
    /// A limit per call that also bounds the whole session: all its calls in one
    /// window. `None` if the product does not fit.
    #[must_use]
    pub fn for_session(max_per_call: Amount, max_calls: u32, seconds: u64) -> Option<Self> {
        Some(Self {
            max_per_call,
            max_per_window: max_per_call.checked_mul(max_calls.into())?,
            window_seconds: seconds.max(1),
        })
    }

    fn check(&self) -> Result<(), Refusal> {
        let sound = !self.max_per_call.is_zero()
            && self.max_per_call <= self.max_per_window
            && self.window_seconds > 0;
        sound.then_some(()).ok_or_else(|| {
            refuse(
                codes::INVALID_SPENDING_POLICY,
                "ask for more than nothing per call, no more per call than per window, and a window of at least a second",
            )
        })
    }
}

/// Allows a session.
///
/// # Errors
/// `session_creation_failed` without calls, with too many entry points, or with
/// none and no consent.
pub fn register(
    account: Felt,
    session: &SessionKey,
    registration: &Registration,
) -> Result<Call, Refusal> {
    let (public, end) = (session.public(), session.valid_until());
    register_public(account, public, end, registration)
}

/// The same, by a session's public key and its end in Unix seconds.
///
/// # Errors
/// As [`register`].
pub fn register_public(
    account: Felt,
    session: Felt,
    valid_until: u64,
    registration: &Registration,
) -> Result<Call, Refusal> {
    let refused = |remedy| Err(refuse(codes::SESSION_CREATION_FAILED, remedy));
    if registration.max_calls == 0 {
        return refused("allow at least one call");
    }
    if registration.entrypoints.len() > MAX_ENTRYPOINTS {
        return refused("allow at most 32 entry points");
    }
    if registration.entrypoints.is_empty() && !registration.everything {
        return refused("name the entry points, or consent to all of them");
    }
    let administrative = |selector| selectors::ADMINISTRATIVE.contains(selector);
    if registration.entrypoints.iter().any(administrative) {
        return refused("list no entry point that administers the account");
    }
    let mut calldata = vec![
        session,
        Felt::from(valid_until),
        Felt::from(registration.max_calls),
        Felt::from(registration.entrypoints.len()),
    ];
    calldata.extend(&registration.entrypoints);
    Ok(Call {
        to: account,
        selector: selectors::ADD_SESSION,
        calldata,
    })
}

/// Ends a session.
#[must_use]
pub fn revoke(account: Felt, session: Felt) -> Call {
    Call {
        to: account,
        selector: selectors::REVOKE_SESSION,
        calldata: vec![session],
    }
}

/// Sets how much of a token a session may move; what it has moved counts anew.
///
/// # Errors
/// `invalid_spending_policy`.
pub fn set_policy(
    account: Felt,
    session: Felt,
    token: Felt,
    policy: &Policy,
) -> Result<Call, Refusal> {
    policy.check()?;
    let mut calldata = vec![session, token];
    calldata.extend(felt::split(policy.max_per_call));
    calldata.extend(felt::split(policy.max_per_window));
    calldata.push(Felt::from(policy.window_seconds));
    Ok(Call {
        to: account,
        selector: selectors::SET_POLICY,
        calldata,
    })
}

/// Removes a token's policy. A session that has none for any token may move all.
#[must_use]
pub fn remove_policy(account: Felt, session: Felt, token: Felt) -> Call {
    Call {
        to: account,
        selector: selectors::REMOVE_POLICY,
        calldata: vec![session, token],
    }
}
