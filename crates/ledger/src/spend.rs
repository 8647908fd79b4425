//! Spending: what a buyer reserved, signed and paid.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tollway_core::wire::PaymentPayload;
use tollway_core::{Address, Amount, Identity, Network, Raw, SpendId, Timestamp, TxHash};

use crate::LedgerError;

/// Where a spend is: `reserved → signed → presented → paid | released`, and
/// `unknown` while nobody can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpendState {
    /// Counts against the budget; nothing is signed.
    Reserved,
    /// The authorization is stored, and may have left.
    Signed,
    /// It was shown to the server at least once.
    Presented,
    /// Shown, and the answer was unclear: shown again, never replaced.
    Unknown,
    /// The money moved. Last.
    Paid,
    /// Proved that nothing moved; the budget has it back. Last.
    Released,
}

/// Whose money a limit counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitScope {
    /// All that this paying account spends.
    Account,
    /// What a named agent spends.
    Agent(String),
    /// What goes to one host.
    Host(String),
    /// What goes to one payee.
    Payee(Address),
    /// What a key with limits of its own signs for.
    Key(String),
    /// How many payments such a key signs, whatever they move: each counts one, and
    /// an execution as many as it makes calls.
    KeyCalls(String),
    /// What a named agent spends from whatever account, on all networks and in all
    /// assets together, in [`PRICE_PLACES`] places of a whole unit.
    Budget(String),
    /// The part of it that goes to one host.
    BudgetHost {
        /// The agent.
        agent: String,
        /// The host.
        host: String,
    },
    /// The part of it that goes to one payee.
    BudgetPayee {
        /// The agent.
        agent: String,
        /// The payee.
        payee: Address,
    },
}

/// Decimals in which amounts of different assets are added up. No known asset
/// has more.
pub const PRICE_PLACES: u8 = 18;

/// At most so much, of one asset, within a window or for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// What is counted.
    pub scope: LimitScope,
    /// Sliding window; `None` counts from the beginning.
    pub window: Option<Duration>,
    /// Atomic units; for a budget, [`PRICE_PLACES`] places of a whole unit.
    pub max: Amount,
}

/// What a spend is held against, besides what is free in its purses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// All of them hold.
    pub limits: Vec<Limit>,
    /// The payee that an agent pays at a host stays the one that it paid there
    /// first, on networks of the same family. These may be paid too; `None` lets
    /// anybody be paid.
    pub pinned_or: Option<Vec<Address>>,
    /// Hundredths of the last price of this agent at the same URL that the price
    /// may come to: 300 is three times as much.
    pub max_rise_percent: Option<u32>,
}

/// What an agent paid before at the same place, as far as it was not given back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Precedent {
    /// Who was paid there first, on networks of the same family.
    pub payee: Option<Address>,
    /// The last price at the same URL, in [`PRICE_PLACES`] places of a whole unit.
    pub price: Option<Amount>,
}

/// A spend to reserve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSpend {
    /// The paying account.
    pub account: Address,
    /// The agent that asked.
    pub agent: String,
    /// Digest of the logical request (method, URL, body), hex: a repeat of the
    /// same request while a spend is open presents the same authorization.
    pub request: String,
    /// URL without query secrets, for people.
    pub url: String,
    /// Host that is paid for.
    pub host: String,
    /// Payee.
    pub payee: Address,
    /// Where.
    pub network: Network,
    /// What.
    pub asset: Address,
    /// How much at most.
    pub amount: Amount,
    /// The key with limits of its own that is to sign it, if it is one.
    pub key: Option<String>,
    /// Decimals of the asset, by the buyer's own table. Without them the spend
    /// counts in no budget and sets no precedent.
    pub decimals: Option<u8>,
    /// Calls that the key makes by an execution, where this is one. Nothing is to be
    /// had for it: it has ended once the chain has used its authorization.
    pub calls: Option<u32>,
}

impl NewSpend {
    /// What an amount of its asset is worth, in [`PRICE_PLACES`] places of a whole
    /// unit; `None` where the decimals are not known or the product overflows.
    #[must_use]
    pub fn worth(&self, amount: Amount) -> Option<Amount> {
        let up = PRICE_PLACES.checked_sub(self.decimals?)?;
        amount.checked_mul(10_u64.pow(u32::from(up)))
    }
}

/// What became of reserving.
#[derive(Clone, Debug, PartialEq)]
pub enum Reservation {
    /// Within all limits, and counted.
    Reserved(SpendId),
    /// This request has an open spend that was signed: present that one again.
    Open(Box<SpendRecord>),
    /// A limit would be passed; nothing was reserved.
    Exceeded {
        /// Which limit.
        limit: Limit,
        /// What is spent and reserved within it.
        used: Amount,
    },
    /// The agent pays somebody else at this host; nothing was reserved.
    OtherPayee {
        /// Who was paid there first.
        pinned: Address,
    },
    /// The price rose by more than it may; nothing was reserved.
    PriceJump {
        /// The last one, in [`PRICE_PLACES`] places of a whole unit.
        last: Amount,
    },
}

/// A signed authorization, recorded before it leaves.
#[derive(Clone, Debug, PartialEq)]
pub struct SignedSpend {
    /// What makes it unique.
    pub identity: Identity,
    /// The whole payment, to present the same bytes again. Secret until settled.
    pub payload: PaymentPayload,
    /// After this moment it can no longer move money.
    pub valid_until: Timestamp,
    /// A transaction to broadcast first (proof methods).
    pub transaction: Option<Raw>,
}

/// A spend as the ledger has it.
#[derive(Clone, Debug, PartialEq)]
pub struct SpendRecord {
    /// Its name.
    pub id: SpendId,
    /// What was reserved.
    pub spend: NewSpend,
    /// Where it is.
    pub state: SpendState,
    /// What was signed.
    pub signed: Option<SignedSpend>,
    /// What was really paid.
    pub paid: Option<Amount>,
    /// The transaction that the server named.
    pub transaction: Option<TxHash>,
    /// Why it was released, or what was unclear.
    pub reason: Option<String>,
    /// When it was reserved.
    pub reserved_at: Timestamp,
    /// When its state last changed.
    pub updated_at: Timestamp,
}

/// What is spent and reserved within a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpendTotal {
    /// Paid.
    pub paid: Amount,
    /// Reserved, signed, presented or unknown.
    pub held: Amount,
}

/// What the payer writes. Safe for many processes at once.
#[async_trait]
pub trait SpendStore: Send + Sync {
    /// Reserves within every limit, or says which one stands in the way. A
    /// clock that was set back does not open a window again: the store counts
    /// from the latest moment it has seen.
    async fn reserve(
        &self,
        new: NewSpend,
        limits: &[Limit],
        now: Timestamp,
    ) -> Result<Reservation, LedgerError> {
        let rules = Rules {
            limits: limits.to_vec(),
            ..Rules::default()
        };
        self.reserve_within(new, rules, now).await
    }

    /// Reserves if every rule allows it, as one step: of two that come at once the
    /// second is compared with the first.
    async fn reserve_within(
        &self,
        new: NewSpend,
        rules: Rules,
        now: Timestamp,
    ) -> Result<Reservation, LedgerError>;

    /// Records the authorization, before it leaves.
    async fn signed(
        &self,
        id: &SpendId,
        signed: SignedSpend,
        now: Timestamp,
    ) -> Result<(), LedgerError>;

    /// Records another signature under the same authorization, before it leaves: the
    /// chain takes one of the two at most.
    async fn signed_again(
        &self,
        id: &SpendId,
        signed: SignedSpend,
        now: Timestamp,
    ) -> Result<(), LedgerError>;

    /// It is about to be shown to the server.
    async fn presented(&self, id: &SpendId, now: Timestamp) -> Result<(), LedgerError>;

    /// The answer was unclear.
    async fn unclear(&self, id: &SpendId, reason: &str, now: Timestamp) -> Result<(), LedgerError>;

    /// The money moved; what was reserved beyond it is given back.
    async fn paid(
        &self,
        id: &SpendId,
        paid: Amount,
        transaction: Option<&TxHash>,
        now: Timestamp,
    ) -> Result<(), LedgerError>;

    /// Nothing moved, and nothing can: never signed, refused with proof, or
    /// past its validity with the nonce proved unused.
    async fn release(&self, id: &SpendId, reason: &str, now: Timestamp) -> Result<(), LedgerError>;

    /// A spend by name.
    async fn spend(&self, id: &SpendId) -> Result<Option<SpendRecord>, LedgerError>;

    /// Spends that have not ended, oldest first.
    async fn open_spends(&self, account: &Address) -> Result<Vec<SpendRecord>, LedgerError>;

    /// Their names alone, oldest first.
    async fn open_ids(&self, account: &Address) -> Result<Vec<SpendId>, LedgerError>;

    /// Those of them for which nothing is signed, oldest first.
    async fn unsigned_ids(&self, account: &Address) -> Result<Vec<SpendId>, LedgerError>;

    /// The open spend of a request for which something is signed.
    async fn open_of_request(
        &self,
        account: &Address,
        request: &str,
    ) -> Result<Option<SpendRecord>, LedgerError>;

    /// The open spend for which a transaction is signed.
    async fn open_of_transaction(
        &self,
        account: &Address,
        transaction: &TxHash,
    ) -> Result<Option<SpendRecord>, LedgerError>;

    /// The spend, open or ended, for which an authorization is signed.
    async fn spend_of(&self, identity: &Identity) -> Result<Option<SpendRecord>, LedgerError>;

    /// How many spends were reserved after a moment, whatever became of them.
    async fn reserved_after(&self, moment: Timestamp) -> Result<u64, LedgerError>;

    /// Spends, newest first, at most `limit` (at most 1000).
    async fn spends(&self, limit: u32) -> Result<Vec<SpendRecord>, LedgerError>;

    /// Spends of one agent, newest first, at most `limit` (at most 1000).
    async fn spends_of(&self, agent: &str, limit: u32) -> Result<Vec<SpendRecord>, LedgerError>;

    /// The latest spend of an agent at a URL whose money moved.
    async fn paid_at(&self, agent: &str, url: &str) -> Result<Option<SpendRecord>, LedgerError>;

    /// What an agent paid before where it would pay now.
    async fn precedent(
        &self,
        agent: &str,
        host: &str,
        network: &Network,
        url: &str,
    ) -> Result<Precedent, LedgerError>;

    /// What counts within a limit for an asset now. A budget counts all accounts,
    /// networks and assets, whichever are named.
    async fn total(
        &self,
        account: &Address,
        network: &Network,
        asset: &Address,
        limit: &Limit,
        now: Timestamp,
    ) -> Result<SpendTotal, LedgerError>;
}
