//! The trait that the engine holds: one network, seen from the facilitator.
//!
//! A payment goes `inspect → verify → plan → seal → broadcast → look`; the
//! engine stores what each step gave before it takes the next. How a method
//! settles is a [`Settlement`]: only [`Settlement::Submit`] is planned.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::wire::{PaymentPayload, SupportedKind};
use crate::{Address, Amount, Network, Refusal, Terms, Timestamp};

/// A transaction's hash, lower-case `0x` hex.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TxHash(String);

impl TxHash {
    /// From hex text; case is folded.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.to_ascii_lowercase())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TxHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the chain itself makes unique about a payment: never the header's
/// bytes, never a re-encoding, and for `upto` not the amount.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// Where.
    pub network: Network,
    /// What holds the nonce: the asset (EIP-3009, EIP-2612), Permit2's owner
    /// space, a delegation manager, an account (Starknet), or a channel.
    pub scope: String,
    /// Who pays.
    pub payer: Address,
    /// The nonce in canonical text.
    pub nonce: String,
}

impl Identity {
    /// One text for unique indexes: `network|scope|payer|nonce`.
    #[must_use]
    pub fn key(&self) -> String {
        format!(
            "{}|{}|{}|{}",
            self.network, self.scope, self.payer, self.nonce
        )
    }
}

/// The one transfer that must be seen on chain.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Expected {
    /// The contract whose log counts.
    pub asset: Address,
    /// Who pays.
    pub from: Address,
    /// Who is paid.
    pub to: Address,
    /// How much, exactly.
    pub amount: Amount,
}

/// How a payment comes to be settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settlement {
    /// We send a transaction.
    Submit,
    /// The transaction exists already; we look at it.
    Observe {
        /// The transaction shown as proof.
        transaction: TxHash,
    },
    /// No transaction now: a channel's voucher replaces the last one.
    Accumulate {
        /// The channel.
        channel: String,
        /// All that the voucher allows, since the channel opened.
        cumulative: Amount,
    },
    /// Nothing is owed (`upto` with zero).
    Nothing,
}

/// What a payment says it is, decoded without asking anybody.
#[derive(Clone, Debug, PartialEq)]
pub struct Intent {
    /// What makes it unique.
    pub identity: Identity,
    /// What must be seen on chain; the amount is the terms': for `upto` the ceiling
    /// at verify, and the charge at settle.
    pub expected: Expected,
    /// After this moment it can no longer move money.
    pub deadline: Timestamp,
    /// How it settles.
    pub settlement: Settlement,
    /// As presented.
    pub payload: Arc<PaymentPayload>,
    /// As asked.
    pub terms: Arc<Terms>,
}

/// Which call is checking: it decides how much validity must remain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Before the goods are made.
    Verify,
    /// Right before the money moves.
    Settle,
}

/// A payment that would settle now. Only [`Chain::verify`] makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// What was verified.
    pub intent: Intent,
    /// Gas its settlement used in simulation (zero where nothing is sent).
    pub gas: u64,
    /// Accounts that may settle it; empty means any signer.
    pub signers: Vec<Address>,
}

/// What is charged: the terms' amount, or less for `upto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    /// Atomic units.
    pub amount: Amount,
}

/// One payment of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedPayment {
    /// What was verified.
    pub verified: Verified,
    /// What is charged.
    pub charge: Charge,
    /// Whether it must have a transaction of its own: it was asked for
    /// ([`Terms::settles_alone`]), or it failed among others.
    pub alone: bool,
}

/// Payments that share one transaction. Without payments it cancels its slot.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// 1..n payments, or none to cancel.
    pub payments: Vec<PlannedPayment>,
    /// Explicit gas limit of the transaction.
    pub gas_limit: u64,
    /// Accounts that may sign it.
    pub signers: Vec<Address>,
}

/// One nonce of one signer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Who signs.
    pub signer: Address,
    /// With which nonce.
    pub nonce: u64,
    /// The last transaction under this nonce, whose fees must be outbid.
    pub replaces: Option<Raw>,
}

/// A signed transaction: stored before it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raw {
    /// Its hash.
    pub hash: TxHash,
    /// Its bytes, as the node takes them.
    pub bytes: Vec<u8>,
}

/// What a node said to a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broadcast {
    /// Taken, or known already.
    Accepted,
    /// Its nonce is used: one of the slot's hashes, or a stranger, was included.
    NonceUsed,
    /// A transaction with the same nonce and nearly the same fees is waiting.
    Underpriced,
    /// A lower nonce of the signer is missing at the node.
    NonceTooHigh,
    /// It cannot be included as it is (funds for gas, fee cap, intrinsic gas).
    Rejected(String),
}

/// How deep a receipt must lie before it counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Finality {
    /// In a block.
    #[default]
    Included,
    /// In a block with this many blocks on top, counting its own.
    Confirmations(u32),
    /// At or below the `safe` block.
    Safe,
    /// At or below the `finalized` block.
    Finalized,
}

impl fmt::Display for Finality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Included => f.write_str("included"),
            Self::Confirmations(n) => write!(f, "{n}"),
            Self::Safe => f.write_str("safe"),
            Self::Finalized => f.write_str("finalized"),
        }
    }
}

impl Finality {
    /// The deeper of two.
    #[must_use]
    pub fn deeper(self, other: Self) -> Self {
        if other.depth() > self.depth() {
            other
        } else {
            self
        }
    }

    /// Blocks that it takes, its own included, as they are reckoned with: an epoch
    /// is 32 blocks, `safe` lags one to two of them, `finalized` two to three.
    #[must_use]
    pub const fn blocks(self) -> u32 {
        match self {
            Self::Included => 0,
            Self::Confirmations(n) => n,
            Self::Safe => 64,
            Self::Finalized => 96,
        }
    }

    /// Comparable: by kind, then by number.
    const fn depth(self) -> (u8, u32) {
        match self {
            Self::Included => (0, 0),
            Self::Confirmations(n) => (1, n),
            Self::Safe => (2, 0),
            Self::Finalized => (3, 0),
        }
    }
}

impl FromStr for Finality {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "included" => Ok(Self::Included),
            "safe" => Ok(Self::Safe),
            "finalized" => Ok(Self::Finalized),
            _ => text.parse().ok().filter(|n| (1..=10_000).contains(n)).map(Self::Confirmations).ok_or_else(|| {
                "a finality is included, safe, finalized, or a number of confirmations from 1 to 10000".to_owned()
            }),
        }
    }
}

/// What to look for on chain: every hash ever sent under one nonce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Who signed.
    pub signer: Address,
    /// Under which nonce.
    pub nonce: u64,
    /// Any of these may have won.
    pub hashes: Vec<TxHash>,
    /// What they must have done, in the plan's order.
    pub expected: Vec<Watched>,
}

/// One payment of a watched transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// What is unique.
    pub identity: Identity,
    /// What must have happened.
    pub expected: Expected,
    /// How deep it must lie.
    pub finality: Finality,
}

/// A network's newest block, as a watcher saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Its number.
    pub number: u64,
    /// Its hash.
    pub hash: String,
    /// The hash of the block before it.
    pub parent: String,
    /// When it was made, by the chain's clock.
    pub time: Timestamp,
}

/// What a look at the chain showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// The newest block.
    pub head: Head,
    /// The lowest block that was seen before and is not part of the chain any more.
    pub replaced_from: Option<u64>,
    /// One entry for each watch: its outcomes, in the order of what it expects,
    /// or `None` where nothing can have changed since it was last looked at.
    pub outcomes: Vec<Option<Vec<Outcome>>>,
}

/// How one settling account is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignerState {
    /// Which.
    pub signer: Address,
    /// What it has for fees, in the chain's own atomic units.
    pub balance: Amount,
    /// Whether that pays for few transactions only: nothing new is begun with it.
    pub low: bool,
}

/// Money that moved, with the evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// The transaction.
    pub transaction: TxHash,
    /// Its block.
    pub block_number: u64,
    /// Its block's hash, to notice a reorganisation.
    pub block_hash: String,
    /// Place of the Transfer log among the logs of its transaction, from 0:
    /// blocks that are replaced change nothing of it.
    pub log_index: Option<u64>,
    /// What moved.
    pub amount: Amount,
    /// Gas the whole transaction used.
    pub gas_used: u64,
    /// Fee of the whole transaction, in the chain's own atomic units.
    pub fee: Amount,
    /// Whether somebody else sent it.
    pub by_third_party: bool,
}

/// Proof that an attempt moved nothing and cannot any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "proof")]
pub enum Proof {
    /// Included with status 0.
    Reverted {
        /// The transaction.
        transaction: TxHash,
        /// Its whole fee, lost: in the chain's own atomic units.
        #[serde(default)]
        fee: Amount,
    },
    /// Included with status 1, without the expected transfer.
    NoTransfer {
        /// The transaction.
        transaction: TxHash,
        /// Its whole fee.
        #[serde(default)]
        fee: Amount,
    },
    /// The nonce was used by a transaction that is none of ours.
    SlotTaken {
        /// The signer's confirmed nonce.
        confirmed_nonce: u64,
    },
}

/// What became of one expected transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It happened, deep enough.
    Settled(Settled),
    /// It did not, and cannot by these transactions.
    NotSettled(Proof),
    /// One of the transactions is in a block that is not as deep as it must be:
    /// nothing is decided, but nothing waits to be included either.
    Included {
        /// The block's number.
        block: u64,
        /// Whether the expected transfer is in it.
        moved: bool,
    },
    /// Not decided, or the node could not say.
    Unknown,
}

impl Outcome {
    /// Whether it says what became of the transfer, for good.
    #[must_use]
    pub const fn is_decided(&self) -> bool {
        matches!(self, Self::Settled(_) | Self::NotSettled(_))
    }
}

/// What the chain says about an identity, whoever acted on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The expected transfer happened.
    Settled(Settled),
    /// The nonce is unused. It can still be settled until its deadline, by the
    /// chain's time: only a block later than that proves that nothing moves.
    Unused {
        /// Time of a block no later than the state that said so. A chain that
        /// stands still, or a node that lags, leaves it behind our own clock.
        as_of: Timestamp,
    },
    /// The nonce is used or cancelled, and the expected transfer did not happen by it.
    Spent,
    /// The chain could not say.
    Unknown,
}

/// How a network's node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Whether payments can be verified and settled now.
    pub ready: bool,
    /// Newest block, if one was seen.
    pub block_number: Option<u64>,
    /// What is wrong, as a sentence.
    pub problem: Option<String>,
}

/// Why a chain step gave no result.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ChainError {
    /// The payment is bad: retrying changes nothing.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The node, the network or the signer failed: nothing is known, try again.
    #[error("{message}")]
    Unavailable {
        /// A sentence that ends with what to do.
        message: String,
        /// For the log only.
        detail: String,
    },
}

impl ChainError {
    /// A failure of the node, with a detail for the log.
    #[must_use]
    pub fn unavailable(detail: impl fmt::Display) -> Self {
        Self::Unavailable {
            message: "The network's node cannot be asked now; try again later.".to_owned(),
            detail: detail.to_string(),
        }
    }

    /// A failure with a sentence of its own, that ends with what to do.
    #[must_use]
    pub fn unavailable_because(message: impl Into<String>, detail: impl fmt::Display) -> Self {
        Self::Unavailable {
            message: message.into(),
            detail: detail.to_string(),
        }
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

/// What made the signature of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignedWith {
    /// The account's own key, which is its key on every network of the family.
    Key,
    /// The code of the account on this network.
    Code,
}

/// One network, seen from the facilitator. Never writes state.
#[async_trait]
pub trait Chain: Send + Sync {
    /// Which one.
    fn network(&self) -> &Network;

    /// What can be paid here, for `/supported` (version 2 kinds).
    fn kinds(&self) -> Vec<SupportedKind>;

    /// Extensions of the protocol that payments may use here, for `/supported`.
    fn extensions(&self) -> Vec<String> {
        Vec::new()
    }

    /// The accounts that settle.
    fn signers(&self) -> Vec<Address>;

    /// Which of them can settle now, the best first: they have gas, and nobody
    /// else uses them. Whatever must be settled by one account in particular is
    /// verified from now on as one of these, if it may be any. None: not known.
    fn prefer(&self, signers: &[Address]) {
        let _ = signers;
    }

    /// Decodes: identity, expected effect, deadline. Pure.
    ///
    /// Asked twice for one payment: at verify with the terms as offered, and at
    /// settle with the terms that are charged ([`Terms::charging`]; the same but for
    /// `upto`). The identity is the same both times, `expected.amount` is what the
    /// terms say, and a charge of zero is [`Settlement::Nothing`].
    ///
    /// # Errors
    /// A refusal if the payload has not the shape of its method.
    fn inspect(&self, payload: &Arc<PaymentPayload>, terms: &Arc<Terms>)
    -> Result<Intent, Refusal>;

    /// Signature, terms, window, balance, simulated effect. Commits nothing.
    /// `held` is what else of the payer's asset is promised already: the balance
    /// must cover it too.
    async fn verify(
        &self,
        intent: Intent,
        phase: Phase,
        held: Amount,
    ) -> Result<Verified, ChainError>;

    /// Which payments can share a transaction, with which gas and signers.
    /// Empty input plans one cancellation.
    async fn plan(&self, payments: &[PlannedPayment]) -> Result<Vec<Plan>, ChainError>;

    /// Builds and signs. The result is stored before anything else happens.
    async fn seal(&self, plan: &Plan, slot: &Slot) -> Result<Raw, ChainError>;

    /// Sends what the store already holds. Safe to repeat.
    async fn broadcast(&self, raw: &Raw) -> Result<Broadcast, ChainError>;

    /// The newest block, whether blocks seen before were replaced, and what became
    /// of what is watched. `last` is the head of the look before. Nothing is asked
    /// about watches that were looked at in the same block.
    async fn look(&self, last: Option<&Head>, watches: &[Watch]) -> Result<Sight, ChainError>;

    /// A payment that another process accepted, or this one before it was started
    /// anew, is still under way: what is held in memory for it is held again, without
    /// asking anybody.
    fn resume(&self, intent: &Intent) {
        let _ = intent;
    }

    /// The hash of the block that has this number now, if there is one.
    async fn block_hash(&self, number: u64) -> Result<Option<String>, ChainError>;

    /// How the settling accounts are, those of [`Chain::signers`].
    async fn signer_states(&self) -> Result<Vec<SignerState>, ChainError>;

    /// Did anybody settle this identity?
    async fn lookup(
        &self,
        identity: &Identity,
        expected: &Expected,
        finality: Finality,
    ) -> Result<Lookup, ChainError>;

    /// The same for a buyer, who does not know what of an `upto` payment was charged:
    /// whatever moved up to the expected amount settled it.
    async fn lookup_at_most(
        &self,
        identity: &Identity,
        expected: &Expected,
        finality: Finality,
    ) -> Result<Lookup, ChainError> {
        self.lookup(identity, expected, finality).await
    }

    /// Whether a transaction that a buyer signed for an identity can never be
    /// included: another one of its account has its nonce, finally. `false` where the
    /// chain does not say.
    ///
    /// # Errors
    /// [`ChainError::Unavailable`] if it cannot be asked.
    async fn is_overtaken(&self, identity: &Identity, raw: &Raw) -> Result<bool, ChainError> {
        let _ = (identity, raw);
        Ok(false)
    }

    /// The identity's transfer inside a transaction that exists already: one
    /// shown as proof ([`Settlement::Observe`]), or one that somebody says settled it.
    async fn observe(
        &self,
        transaction: &TxHash,
        identity: &Identity,
        expected: &Expected,
        finality: Finality,
    ) -> Result<Outcome, ChainError> {
        let _ = (transaction, identity, expected, finality);
        Ok(Outcome::Unknown)
    }

    /// What signed a text as this account (EVM: EIP-191, by key or by EIP-1271); `None`
    /// if nothing of the account's did.
    ///
    /// # Errors
    /// [`ChainError::Unavailable`] if the account's code would have to be asked and cannot
    /// be, or where accounts sign no texts.
    async fn message_signer(
        &self,
        account: &Address,
        message: &str,
        signature: &str,
    ) -> Result<Option<SignedWith>, ChainError> {
        let _ = (account, message, signature);
        Err(ChainError::unavailable(format!(
            "no signed texts are read on {}",
            self.network()
        )))
    }

    /// The signer's next nonce by confirmed transactions.
    async fn confirmed_nonce(&self, signer: &Address) -> Result<u64, ChainError>;

    /// How the node is.
    async fn health(&self) -> Health;
}
