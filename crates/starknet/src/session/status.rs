//! What an account has on record about a session, and whether that will do.

use serde_json::{Value, json};
use starknet_crypto::Felt;
use tollway_core::{Amount, ChainError, Refusal, Timestamp, codes};
use tollway_rpc::ask::{typed, unavailable};
use tollway_rpc::{Batch, RpcClient, RpcError};

use super::calls::Policy;
use crate::felt;
use crate::node::{Block, LATEST, Num, call_params, is_contract_failure};
use crate::outside::Call;
use crate::refusal::refuse;
use crate::selectors;

/// SRC-5 id of the session manager: the XOR of the selectors of
/// `add_or_update_session_key`, `revoke_session_key` and `get_session_data`.
const SESSION_MANAGER: Felt =
    Felt::from_hex_unchecked("0x37ab4f01106526662a612eaa2926df2aa314c4144b964f183805880bbcfa55d");
/// Most entry points that are read.
const MAX_ENTRYPOINTS: u32 = 64;

/// Classes of deployed session wallets, which answer the same calls. Their
/// behaviour beyond the published interface is not checked.
pub const SESSION_CLASSES: [(&str, &str); 6] = [
    (
        "v33",
        "0x484bbd2404b3c7264bea271f7267d6d4004821ac7787a9eed7f472e79ef40d1",
    ),
    (
        "v32",
        "0x35a2251aca25daba18a5d8950deffa8372a7d84774554e75283cb85552eebc9",
    ),
    (
        "v31",
        "0x254f6dd0427319ec614c29e4e3929500d1ba95d0da87ff81d67051ce572667",
    ),
    (
        "v30",
        "0x72b77b033a874fa1b8f7ff52e18be8fb5ce01a00c59cd184ae15f5b29bc0e57",
    ),
    (
        "v29",
        "0x53f4f8791ed5bed0fddaa553d180c664e32cfaf8316bb232ae77bb08f459f2a",
    ),
    (
        "v28",
        "0x2de1565226d5215a38b68c4d9a4913989b54edff64c68c45e453c417b44cd83",
    ),
];

/// A session's standing, as the contract returns it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionData {
    /// Unix seconds; zero if the session is unknown or revoked.
    pub valid_until: u64,
    /// All calls that it ever had.
    pub max_calls: u32,
    /// Those that it made.
    pub calls_used: u32,
    /// How many entry points are listed; zero is all.
    pub entrypoints: u32,
}

impl SessionData {
    /// Calls that are left.
    #[must_use]
    pub const fn calls_left(&self) -> u32 {
        self.max_calls.saturating_sub(self.calls_used)
    }

    fn read(felts: &[Num]) -> Option<Self> {
        let [valid_until, max_calls, calls_used, entrypoints] = felts else {
            return None;
        };
        let small = |num: &Num| felt::to_u64(&num.0).and_then(|n| u32::try_from(n).ok());
        Some(Self {
            valid_until: felt::to_u64(&valid_until.0)?,
            max_calls: small(max_calls)?,
            calls_used: small(calls_used)?,
            entrypoints: small(entrypoints)?,
        })
    }
}

/// A policy with what was spent of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spending {
    policy: Policy,
    spent: Amount,
    window_start: u64,
}

impl Spending {
    fn read(felts: &[Num]) -> Option<Self> {
        let [a, b, c, d, window, e, f, start] = felts else {
            return None;
        };
        Some(Self {
            policy: Policy {
                max_per_call: felt::join(&a.0, &b.0)?,
                max_per_window: felt::join(&c.0, &d.0)?,
                window_seconds: felt::to_u64(&window.0)?,
            },
            spent: felt::join(&e.0, &f.0)?,
            window_start: felt::to_u64(&start.0)?,
        })
    }

    /// What may still be spent at a time.
    fn left(&self, now: u64) -> Amount {
        let over = now.saturating_sub(self.window_start) >= self.policy.window_seconds;
        let spent = if over { Amount::ZERO } else { self.spent };
        let left = self.policy.max_per_window.checked_sub(spent);
        left.unwrap_or(Amount::ZERO)
    }
}

/// All that is on record about a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionStatus {
    /// Its standing.
    pub data: SessionData,
    /// The entry points that are listed.
    pub entrypoints: Vec<Felt>,
    /// The policy for the token that was asked about, if there is one.
    spending: Option<Spending>,
    /// Time of the block that this was read at.
    pub as_of: Timestamp,
}

/// One call that a session is to make, as far as limits see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Which entry point.
    pub selector: Felt,
    /// How much of the token it moves.
    pub amount: Amount,
    /// How long its signature counts, Unix seconds.
    pub valid_until: u64,
    /// Calls that are signed and not counted yet.
    pub under_way: u32,
}

impl SessionStatus {
    /// Asks the account, and about a token's policy where one is named.
    ///
    /// # Errors
    /// `account_not_deployed`, `invalid_wallet_type_for_session`,
    /// `session_invalid_response`; unavailable where a node fails.
    pub async fn read(
        rpc: &RpcClient,
        account: Felt,
        session: Felt,
        token: Option<Felt>,
    ) -> Result<Self, ChainError> {
        let call = |selector, calldata| {
            call_params(&Call {
                to: account,
                selector,
                calldata,
            })
        };
        let supports = call(selectors::SUPPORTS_INTERFACE, vec![SESSION_MANAGER]);
        let mut batch = Batch::new();
        batch.push("starknet_getBlockWithTxHashes", &[LATEST]);
        batch.push(
            "starknet_getClassHashAt",
            &json!([LATEST, felt::text(&account)]),
        );
        batch.push("starknet_call", &supports);
        batch.push(
            "starknet_call",
            &call(selectors::SESSION_DATA, vec![session]),
        );
        if let Some(token) = token {
            batch.push(
                "starknet_call",
                &call(selectors::GET_POLICY, vec![session, token]),
            );
        }
        let answers = rpc.batch::<Value>(batch).await;
        let mut answers = answers.map_err(unavailable("batch"))?.into_iter();
        let block: Block = typed("starknet_getBlockWithTxHashes", answers.next())?;
        is_session_wallet(answers.next(), answers.next())?;
        let data = match answers.next() {
            Some(Err(error)) if is_contract_failure(&error) => {
                return Err(wrong_wallet().with_detail(error).into());
            }
            answer => SessionData::read(&typed::<Vec<Num>>("get_session_data", answer)?),
        };
        let data = data.ok_or_else(odd_answer)?;
        let spending = match (token, answers.next()) {
            (None, _) => None,
            // Wallets of older classes have no policies.
            (_, Some(Err(error))) if is_contract_failure(&error) => None,
            (_, answer) => {
                let felts: Vec<Num> = typed("get_spending_policy", answer)?;
                let spending = Spending::read(&felts).ok_or_else(odd_answer)?;
                (!spending.policy.max_per_window.is_zero()).then_some(spending)
            }
        };
        Ok(Self {
            data,
            entrypoints: entrypoints(rpc, &account, &session, data.entrypoints).await?,
            spending,
            as_of: Timestamp::from_secs(block.timestamp),
        })
    }

    /// The policy of the token that was asked about, and what is left of its window.
    #[must_use]
    pub fn policy(&self, now: Timestamp) -> Option<(Policy, Amount)> {
        let spending = self.spending.as_ref()?;
        Some((spending.policy, spending.left(now.secs())))
    }

    /// Whether its end is past, by our clock or the chain's, which the account goes by.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        now.max(self.as_of).secs() > self.data.valid_until
    }

    /// Whether calls are running low, to warn of it.
    #[must_use]
    pub const fn warn_below(&self, calls: u32) -> bool {
        self.data.calls_left() < calls
    }

    /// Whether the account would let the session make a call. Raised before
    /// anything is signed; what it cannot see, such as a policy for another
    /// token, the facilitator's simulation does. What the policy says no to is
    /// refused as that, whatever else keeps the session from paying: a seller
    /// chooses how long an offer counts, and shall not choose the reason.
    ///
    /// # Errors
    /// `session_not_registered`, `session_revoked`, `session_expired`,
    /// `session_max_calls_exceeded`, `session_entrypoint_not_allowed`,
    /// `session_policy_exceeded`.
    pub fn preflight(&self, wanted: &Wanted, now: Timestamp) -> Result<(), Refusal> {
        self.within_policy(wanted.amount, now)?;
        let data = &self.data;
        if data.valid_until == 0 {
            return Err(match data.max_calls {
                0 => refuse(
                    codes::SESSION_NOT_REGISTERED,
                    "register it with the owner's key",
                ),
                _ => refuse(
                    codes::SESSION_REVOKED,
                    "register another one with the owner's key",
                ),
            });
        }
        if self.is_over(now) || wanted.valid_until > data.valid_until {
            return Err(refuse(
                codes::SESSION_EXPIRED,
                "renew it with the owner's key",
            ));
        }
        if data.calls_left() <= wanted.under_way {
            return Err(refuse(
                codes::SESSION_MAX_CALLS_EXCEEDED,
                "renew it with the owner's key",
            ));
        }
        if !self.entrypoints.is_empty() && !self.entrypoints.contains(&wanted.selector) {
            return Err(refuse(
                codes::SESSION_ENTRYPOINT_NOT_ALLOWED,
                "register a session that lists it",
            ));
        }
        Ok(())
    }

    /// Whether the policy on record lets an amount go; it binds the owner's key too
    /// where that pays in the session's place. A window that all calls together
    /// just fill says no more than their count: once they are used up, it is they
    /// that are over, and the amount per call that still counts.
    ///
    /// # Errors
    /// `session_policy_exceeded`.
    pub fn within_policy(&self, amount: Amount, now: Timestamp) -> Result<(), Refusal> {
        let Some((policy, left)) = self.policy(now) else {
            return Ok(());
        };
        let all_calls = policy.max_per_call.checked_mul(self.data.max_calls.into());
        let used_up = self.data.calls_left() == 0
            && all_calls.is_some_and(|all| all <= policy.max_per_window);
        match amount > policy.max_per_call || (amount > left && !used_up) {
            true => Err(refuse(
                codes::SESSION_POLICY_EXCEEDED,
                "wait for the next window, or set another policy",
            )),
            false => Ok(()),
        }
    }
}

/// Whether the owner's key may sign in place of the session: where the session
/// cannot, never where a limit said no.
#[must_use]
pub fn falls_back(code: &str) -> bool {
    [
        codes::SESSION_EXPIRED,
        codes::SESSION_NOT_REGISTERED,
        codes::SESSION_REVOKED,
        codes::SESSION_MAX_CALLS_EXCEEDED,
        codes::SESSION_ENTRYPOINT_NOT_ALLOWED,
    ]
    .contains(&code)
}

type Answer = Option<Result<Value, RpcError>>;

/// By its class, or by what it says of itself.
fn is_session_wallet(class: Answer, supports: Answer) -> Result<(), ChainError> {
    let class = match class {
        Some(Err(error)) if is_contract_failure(&error) => {
            return Err(refuse(codes::ACCOUNT_NOT_DEPLOYED, "deploy it first").into());
        }
        answer => typed::<Num>("starknet_getClassHashAt", answer)?,
    };
    let class = felt::text(&class.0);
    if SESSION_CLASSES.iter().any(|(_, hash)| *hash == class) {
        return Ok(());
    }
    match supports {
        Some(Err(error)) if is_contract_failure(&error) => {
            Err(wrong_wallet().with_detail(error).into())
        }
        answer => match typed::<Vec<Num>>("supports_interface", answer)?.as_slice() {
            [Num(yes)] if *yes == Felt::ONE => Ok(()),
            _ => Err(wrong_wallet().into()),
        },
    }
}

async fn entrypoints(
    rpc: &RpcClient,
    account: &Felt,
    session: &Felt,
    count: u32,
) -> Result<Vec<Felt>, ChainError> {
    if count > MAX_ENTRYPOINTS {
        return Err(odd_answer().into());
    }
    let mut batch = Batch::new();
    for index in 0..count {
        let call = Call {
            to: *account,
            selector: selectors::SESSION_ENTRYPOINT,
            calldata: vec![*session, Felt::from(index)],
        };
        batch.push("starknet_call", &call_params(&call));
    }
    let answers = rpc.batch::<Value>(batch).await;
    let answers = answers.map_err(unavailable("get_session_allowed_entrypoint_at"))?;
    let read = |answer| {
        let felts: Vec<Num> = typed("get_session_allowed_entrypoint_at", Some(answer))?;
        match felts.as_slice() {
            [selector] => Ok(selector.0),
            _ => Err(odd_answer().into()),
        }
    };
    answers.into_iter().map(read).collect()
}

fn wrong_wallet() -> Refusal {
    refuse(
        codes::INVALID_WALLET_TYPE_FOR_SESSION,
        "deploy an account of a session class, or pay with the owner's key",
    )
}

fn odd_answer() -> Refusal {
    refuse(
        codes::SESSION_INVALID_RESPONSE,
        "see that the account is of a class that is known",
    )
}
