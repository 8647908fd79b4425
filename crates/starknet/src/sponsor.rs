//! Sending for others: what accounts allow our own one to send, with the fee paid
//! by it.
//!
//! A sponsored execution names our account as its caller, so that nobody else
//! spends what was signed, and its nonce makes it happen once. What is asked for is
//! tried before it is sent, and each caller's fees are bounded, by transaction and
//! by day.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use starknet_crypto::Felt;
use tokio::sync::{Mutex, Semaphore};
use tollway_core::{Address, ChainError, Clock, Network, Refusal, TxHash, codes};

use crate::class::ACCOUNT_CLASS_HASH;
use crate::deploy::NewAccount;
use crate::felt;
use crate::payload::SignedExecution;
use crate::refusal::refuse;
use crate::selectors;
use crate::sender::OwnerSender;

/// Longest time that an execution may still be sent.
const LONGEST: u64 = 900;
/// Shortest: less is not in a block in time.
const SHORTEST: u64 = 10;
/// Executions whose transactions are remembered, so that a repeat is the same one.
const REMEMBERED: usize = 4_096;
/// How long one transaction may keep the next one waiting.
const IN_A_BLOCK: Duration = Duration::from_secs(60);
const DAY_SECONDS: u64 = 86_400;
/// Most that are sent or wait for their turn at once.
const MAX_WAITING: usize = 16;

/// What is sent for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SponsorRules {
    /// Entry points that executions may call, of whatever contract.
    pub entrypoints: Vec<Felt>,
    /// Classes of which accounts are deployed.
    pub classes: Vec<Felt>,
    /// Most fri that one caller's transactions may cost in a UTC day.
    pub fees_per_day: u128,
}

impl SponsorRules {
    /// What sessions need: to be allowed, limited and ended, to pay, and accounts of
    /// our class to begin with.
    #[must_use]
    pub fn sessions(fees_per_day: u128) -> Self {
        Self {
            entrypoints: vec![
                selectors::ADD_SESSION,
                selectors::REVOKE_SESSION,
                selectors::SET_POLICY,
                selectors::REMOVE_POLICY,
                selectors::TRANSFER,
            ],
            classes: vec![ACCOUNT_CLASS_HASH],
            fees_per_day,
        }
    }
}

/// What somebody asks to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sponsored {
    /// What an account allowed.
    Execution(SignedExecution),
    /// An account that is not there yet.
    Deployment(NewAccount),
}

/// An account of ours that sends for others on one network.
pub struct Sponsor {
    address: Address,
    network: Network,
    sender: OwnerSender,
    rules: SponsorRules,
    clock: Arc<dyn Clock>,
    /// One transaction at a time: the next one's nonce is known when it is in a block.
    sent: Mutex<Sent>,
    waiting: Semaphore,
}

#[derive(Default)]
struct Sent {
    /// Fri by caller, on one day.
    day: u64,
    fees: BTreeMap<String, u128>,
    hashes: HashMap<(Felt, Felt), TxHash>,
    order: VecDeque<(Felt, Felt)>,
}

impl std::fmt::Debug for Sponsor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sponsor")
            .field("address", &self.address)
            .field("network", &self.network)
            .finish_non_exhaustive()
    }
}

impl Sponsor {
    /// `None` if the network is none of Starknet. The account is to be used for
    /// nothing else; `sender` bounds what one transaction may cost.
    #[must_use]
    pub fn new(
        network: Network,
        sender: OwnerSender,
        rules: SponsorRules,
        clock: Arc<dyn Clock>,
    ) -> Option<Self> {
        Some(Self {
            address: felt::to_address(&network, &sender.number())?,
            network,
            sender,
            rules,
            clock,
            sent: Mutex::default(),
            waiting: Semaphore::new(MAX_WAITING),
        })
    }

    /// Where.
    #[must_use]
    pub const fn network(&self) -> &Network {
        &self.network
    }

    /// Whom executions must name as their caller.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// What is sent.
    #[must_use]
    pub const fn rules(&self) -> &SponsorRules {
        &self.rules
    }

    /// Reads an execution for this network.
    ///
    /// # Errors
    /// `invalid_payload`.
    pub fn read(&self, payload: &tollway_core::wire::Object) -> Result<SignedExecution, Refusal> {
        SignedExecution::parse(payload, self.sender.chain_id())
    }

    /// Tries what a caller asks for and sends it. A repeat of what was sent has the
    /// same transaction. To be run to its end, whoever waits for it: a hash that is
    /// dropped between sending and remembering is lost.
    ///
    /// # Errors
    /// `sponsor_not_allowed`, `sponsor_quota_exceeded`, `simulation_failed`;
    /// unavailable where fees are above the limit, a node fails or too many wait.
    pub async fn send(&self, caller: &str, asked: &Sponsored) -> Result<TxHash, ChainError> {
        let (id, call) = match asked {
            Sponsored::Execution(signed) => {
                self.check(signed)?;
                ((signed.from, signed.execution.nonce), signed.call())
            }
            Sponsored::Deployment(new) => {
                self.check_class(new)?;
                ((new.address(), Felt::ZERO), new.deployment())
            }
        };
        let _turn = self.waiting.try_acquire().map_err(|_| {
            ChainError::unavailable_because(
                "Too many transactions wait to be sent; ask again in a minute.",
                "the sponsor's queue is full",
            )
        })?;
        let mut sent = self.sent.lock().await;
        if let Some(hash) = sent.hashes.get(&id) {
            return Ok(hash.clone());
        }
        if let Sponsored::Deployment(new) = asked
            && self.sender.is_deployed(&new.address()).await?
        {
            return Err(not_allowed("the account is there already").into());
        }
        let sealed = self.sender.seal(&[call]).await?;
        let today = self.clock.now().secs() / DAY_SECONDS;
        sent.promise(today, caller, sealed.most, self.rules.fees_per_day)?;
        let hash = match self.sender.submit_sealed(&sealed).await {
            Err(error @ ChainError::Refused(_)) => {
                // No node took it: it costs nothing.
                sent.give_back(today, caller, sealed.most);
                return Err(error);
            }
            outcome => outcome?,
        };
        sent.remember(id, hash.clone());
        // Whatever becomes of it: its nonce is used, or the next trial says so.
        if let Err(error) = self.sender.wait(&hash, IN_A_BLOCK).await {
            tracing::warn!(%hash, %error, "a sponsored transaction did not do what was asked");
            if let ChainError::Refused(refusal) = error {
                // It was undone, with the nonce that it used.
                sent.forget(&id);
                return Err(refusal.into());
            }
        }
        Ok(hash)
    }

    fn check(&self, signed: &SignedExecution) -> Result<(), Refusal> {
        let execution = &signed.execution;
        if execution.caller != self.sender.number() {
            return Err(not_allowed(&format!("name {} as the caller", self.address)));
        }
        if signed.from == self.sender.number() {
            return Err(not_allowed("ask for an account of your own"));
        }
        let now = self.clock.now().secs();
        let ends =
            u128::from(now.saturating_add(SHORTEST))..=u128::from(now.saturating_add(LONGEST));
        if !ends.contains(&execution.execute_before) {
            return Err(not_allowed("let it end in 10 to 900 seconds"));
        }
        if execution.calls.is_empty() {
            return Err(not_allowed("ask for a call"));
        }
        let listed = |selector| self.rules.entrypoints.contains(selector);
        match execution.calls.iter().find(|call| !listed(&call.selector)) {
            Some(call) => Err(not_allowed(&format!(
                "the entry point {} is none that is sent here",
                felt::text(&call.selector)
            ))),
            None => Ok(()),
        }
    }

    fn check_class(&self, new: &NewAccount) -> Result<(), Refusal> {
        match self.rules.classes.contains(&new.class_hash) {
            true => Ok(()),
            false => Err(not_allowed(&format!(
                "the class {} is none that is deployed here",
                felt::text(&new.class_hash)
            ))),
        }
    }
}

impl Sent {
    /// Counts what a transaction may cost, before it leaves.
    fn promise(&mut self, today: u64, caller: &str, fee: u128, most: u128) -> Result<(), Refusal> {
        if self.day != today {
            self.day = today;
            self.fees.clear();
        }
        let spent = self.fees.get(caller).copied().unwrap_or_default();
        let after = spent.saturating_add(fee);
        if after > most {
            return Err(refuse(
                codes::SPONSOR_QUOTA_EXCEEDED,
                "ask again tomorrow, or let the account pay its own fee",
            ));
        }
        self.fees.insert(caller.to_owned(), after);
        Ok(())
    }

    /// Takes back what a transaction that never left would have cost.
    fn give_back(&mut self, day: u64, caller: &str, fee: u128) {
        if let Some(spent) = self.fees.get_mut(caller).filter(|_| self.day == day) {
            *spent = spent.saturating_sub(fee);
        }
    }

    fn forget(&mut self, id: &(Felt, Felt)) {
        self.hashes.remove(id);
        self.order.retain(|known| known != id);
    }

    fn remember(&mut self, id: (Felt, Felt), hash: TxHash) {
        if self.hashes.insert(id, hash).is_none() {
            self.order.push_back(id);
        }
        while self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.hashes.remove(&oldest);
        }
    }
}

fn not_allowed(remedy: &str) -> Refusal {
    refuse(codes::SPONSOR_NOT_ALLOWED, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_fees_are_bounded_by_day_and_for_each_alone() {
        let mut sent = Sent::default();
        sent.promise(1, "a", 60, 100).unwrap();
        let refused = sent.promise(1, "a", 41, 100).unwrap_err();
        assert_eq!(refused.code(), codes::SPONSOR_QUOTA_EXCEEDED);
        sent.promise(1, "a", 40, 100).unwrap();
        sent.promise(1, "b", 100, 100).unwrap();
        sent.promise(2, "a", 100, 100).unwrap();
        assert!(sent.promise(2, "a", 1, 100).is_err());
    }

    #[test]
    fn what_no_node_took_is_given_back_to_its_caller_on_the_same_day() {
        let mut sent = Sent::default();
        sent.promise(1, "a", 100, 100).unwrap();
        sent.give_back(1, "b", 100);
        assert!(sent.promise(1, "a", 1, 100).is_err());
        sent.give_back(1, "a", 100);
        sent.promise(1, "a", 100, 100).unwrap();
        sent.promise(2, "a", 100, 100).unwrap();
        sent.give_back(1, "a", 100);
        assert!(sent.promise(2, "a", 1, 100).is_err());
    }

    #[tokio::test]
    async fn who_finds_the_queue_full_is_told_so_at_once() {
        let node = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", node.local_addr().unwrap());
        let mut config = tollway_rpc::RpcConfig::new(vec![url.parse().unwrap()]);
        config.allow_plain_http = true;
        let rpc = tollway_rpc::RpcClient::new(config).unwrap();
        let network: Network = "starknet:SN_SEPOLIA".parse().unwrap();
        let key = crate::key::StarkKey::from_hex("0x5").unwrap();
        let new = NewAccount {
            class_hash: ACCOUNT_CLASS_HASH,
            salt: Felt::ONE,
            public_key: key.public(),
        };
        let address = felt::to_address(&network, &Felt::TWO).unwrap();
        let account = crate::account::StarknetAccount::new(address, key).unwrap();
        let sender = OwnerSender::new(&network, rpc, account, 1).unwrap();
        let clock = Arc::new(tollway_core::SystemClock);
        let sponsor = Sponsor::new(network, sender, SponsorRules::sessions(1), clock).unwrap();
        let asked = Sponsored::Deployment(new);
        // The node answers none of them.
        let mut waiting = Vec::new();
        for _ in 0..MAX_WAITING {
            let mut one = Box::pin(sponsor.send("a", &asked));
            let first = std::future::poll_fn(|cx| std::task::Poll::Ready(one.as_mut().poll(cx)));
            assert!(first.await.is_pending());
            waiting.push(one);
        }
        let full = sponsor.send("b", &asked).await.unwrap_err();
        assert!(full.to_string().contains("Too many"), "{full}");
        drop(waiting);
        assert!(sponsor.waiting.try_acquire().is_ok());
    }

    #[test]
    fn the_oldest_transactions_are_forgotten_first() {
        let mut sent = Sent::default();
        let id = |n: usize| (Felt::ONE, Felt::from(n));
        for n in 0..=REMEMBERED {
            sent.remember(id(n), TxHash::new("0x1"));
        }
        assert!(!sent.hashes.contains_key(&id(0)));
        assert!(sent.hashes.contains_key(&id(1)));
        assert_eq!(sent.hashes.len(), REMEMBERED);
    }
}
