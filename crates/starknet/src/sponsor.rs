//! Sending for others: what accounts allow our own one to send, with the fee paid
//! by it.
//!
//! A sponsored execution names our account as its caller, so that nobody else
//! spends what was signed, and its nonce makes it happen once. What is asked for is
//! tried before it is sent, and each caller's fees are bounded, by transaction and
//! by day: what may be spent is taken out of a budget that outlives the process
//! before anything leaves.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use starknet_crypto::Felt;
use tokio::sync::{Mutex, Semaphore};
use tollway_core::{Address, Amount, ChainError, Clock, GasPurse, Network, Refusal, TxHash, codes};

use crate::chain::STRK;
use crate::class::ACCOUNT_CLASS_HASH;
use crate::deploy::NewAccount;
use crate::felt;
use crate::outside::Call;
use crate::payload::SignedExecution;
use crate::refusal::refuse;
use crate::selectors;
use crate::sender::OwnerSender;
use crate::session::SESSION_CLASSES;

/// What an account is told about its sessions.
const OF_SESSIONS: [Felt; 4] = [
    selectors::ADD_SESSION,
    selectors::REVOKE_SESSION,
    selectors::SET_POLICY,
    selectors::REMOVE_POLICY,
];
/// Longest time that an execution may still be sent.
const LONGEST: u64 = 900;
/// Shortest: less is not in a block in time.
const SHORTEST: u64 = 10;
/// Executions whose transactions are remembered, so that a repeat is the same one.
const REMEMBERED: usize = 4_096;
/// How long one transaction may keep the next one waiting.
const IN_A_BLOCK: Duration = Duration::from_secs(60);
/// Most that are sent or wait for their turn at once.
const MAX_WAITING: usize = 16;

/// What is sent for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SponsorRules {
    /// Entry points that executions may call: those of sessions on their own account
    /// only, `transfer` on these tokens only, others on whatever contract.
    pub entrypoints: Vec<Felt>,
    /// Tokens that may be paid in.
    pub tokens: Vec<Felt>,
    /// Classes of which accounts are deployed, and sent for beside the published ones.
    pub classes: Vec<Felt>,
}

impl SponsorRules {
    /// What sessions need: to be allowed, limited and ended, to pay in these tokens or
    /// in STRK, and accounts of our class to begin with.
    #[must_use]
    pub fn sessions(tokens: &[Felt]) -> Self {
        Self {
            entrypoints: [&OF_SESSIONS[..], &[selectors::TRANSFER]].concat(),
            tokens: [tokens, &[STRK]].concat(),
            classes: vec![ACCOUNT_CLASS_HASH],
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
    /// What the transactions of each caller may cost.
    purse: Arc<dyn GasPurse>,
    clock: Arc<dyn Clock>,
    /// One transaction at a time: the next one's nonce is known when it is in a block.
    sent: Mutex<Sent>,
    waiting: Semaphore,
}

/// By account and what it allowed.
#[derive(Default)]
struct Sent {
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
    /// nothing else; `sender` bounds what one transaction may cost, and `purse` (in
    /// fri) what those of one caller may in a day.
    #[must_use]
    pub fn new(
        network: Network,
        sender: OwnerSender,
        rules: SponsorRules,
        purse: Arc<dyn GasPurse>,
        clock: Arc<dyn Clock>,
    ) -> Option<Self> {
        Some(Self {
            address: felt::to_address(&network, &sender.number())?,
            network,
            sender,
            rules,
            purse,
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
                let hash = signed.execution.hash(self.sender.chain_id(), &signed.from);
                ((signed.from, hash), signed.call())
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
        let class = self.sender.class_of(&id.0).await?;
        match asked {
            Sponsored::Deployment(_) if class.is_some() => {
                return Err(not_allowed("the account is there already").into());
            }
            // Another contract may do anything with what it is called with.
            Sponsored::Execution(_) if !class.is_some_and(|class| self.keeps_its_word(&class)) => {
                return Err(not_allowed("ask for an account of a session class").into());
            }
            _ => {}
        }
        let sealed = self.sender.seal(&[call]).await?;
        let most = Amount::from_atomic(sealed.most);
        let taken = self.purse.take(&self.network, caller, most).await?;
        let taken = taken.ok_or_else(used_up)?;
        let hash = match self.sender.submit_sealed(&sealed).await {
            Err(error @ ChainError::Refused(_)) => {
                // No node took it: it costs nothing.
                self.purse.give_back(taken).await?;
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
        execution
            .calls
            .iter()
            .try_for_each(|call| self.check_call(&signed.from, call))
    }

    /// A contract of somebody's own may do anything when it is called.
    fn check_call(&self, account: &Felt, call: &Call) -> Result<(), Refusal> {
        let (to, entry) = (felt::text(&call.to), felt::text(&call.selector));
        if !self.rules.entrypoints.contains(&call.selector) {
            let remedy = format!("the entry point {entry} is none that is sent here");
            return Err(not_allowed(&remedy));
        }
        if OF_SESSIONS.contains(&call.selector) && call.to != *account {
            let remedy = format!("{entry} is sent to the account itself only, and {to} is another");
            return Err(not_allowed(&remedy));
        }
        if call.selector == selectors::TRANSFER && !self.rules.tokens.contains(&call.to) {
            let remedy = format!("{to} is no token that is sent here; pay in one that is settled");
            return Err(not_allowed(&remedy));
        }
        Ok(())
    }

    /// Whether accounts of a class make the calls that their executions list.
    fn keeps_its_word(&self, class: &Felt) -> bool {
        let published = SESSION_CLASSES.iter();
        let mut published = published.filter_map(|(_, hash)| felt::parse(hash).ok());
        self.rules.classes.contains(class) || published.any(|known| known == *class)
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

fn used_up() -> Refusal {
    refuse(
        codes::SPONSOR_QUOTA_EXCEEDED,
        "ask again tomorrow, or let the account pay its own fee",
    )
}

fn not_allowed(remedy: &str) -> Refusal {
    refuse(codes::SPONSOR_NOT_ALLOWED, remedy)
}

#[cfg(test)]
mod tests {
    use tollway_core::Taken;

    use super::*;

    /// Never asked here.
    struct NoPurse;

    #[async_trait::async_trait]
    impl GasPurse for NoPurse {
        async fn take(&self, _: &Network, _: &str, _: Amount) -> Result<Option<Taken>, ChainError> {
            Ok(None)
        }

        async fn give_back(&self, _: Taken) -> Result<(), ChainError> {
            Ok(())
        }
    }

    const TOKEN: Felt = Felt::from_hex_unchecked("0x70ce");

    /// One of account 2, whose node answers nothing.
    async fn sponsor() -> (Sponsor, tokio::net::TcpListener) {
        let node = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", node.local_addr().unwrap());
        let mut config = tollway_rpc::RpcConfig::new(vec![url.parse().unwrap()]);
        config.allow_plain_http = true;
        let rpc = tollway_rpc::RpcClient::new(config).unwrap();
        let network: Network = "starknet:SN_SEPOLIA".parse().unwrap();
        let key = crate::key::StarkKey::from_hex("0x5").unwrap();
        let address = felt::to_address(&network, &Felt::TWO).unwrap();
        let account = crate::account::StarknetAccount::new(address, key).unwrap();
        let sender = OwnerSender::new(&network, rpc, account, 1).unwrap();
        let clock = Arc::new(tollway_core::SystemClock);
        let (rules, purse) = (SponsorRules::sessions(&[TOKEN]), Arc::new(NoPurse));
        let sponsor = Sponsor::new(network, sender, rules, purse, clock).unwrap();
        (sponsor, node)
    }

    #[tokio::test]
    async fn a_contract_of_somebodys_own_is_not_called_at_our_expense() {
        let (sponsor, _node) = sponsor().await;
        let account = Felt::from(0xacc_u16);
        let calling = |calls: &[(Felt, Felt)]| SignedExecution {
            from: account,
            execution: crate::outside::OutsideExecution {
                caller: Felt::TWO,
                nonce: Felt::ONE,
                execute_after: 1,
                execute_before: u128::from(tollway_core::SystemClock.now().secs() + 60),
                calls: calls
                    .iter()
                    .map(|(to, selector)| Call {
                        to: *to,
                        selector: *selector,
                        calldata: vec![],
                    })
                    .collect(),
            },
            signature: vec![],
        };
        let own = Felt::from(0xbad_u16);
        for selector in OF_SESSIONS {
            assert!(sponsor.check(&calling(&[(account, selector)])).is_ok());
            let refused = sponsor.check(&calling(&[(account, selector), (own, selector)]));
            assert_eq!(refused.unwrap_err().code(), codes::SPONSOR_NOT_ALLOWED);
        }
        let transfer = selectors::TRANSFER;
        for token in [TOKEN, STRK] {
            assert!(sponsor.check(&calling(&[(token, transfer)])).is_ok());
        }
        for (to, selector) in [(own, transfer), (account, transfer), (TOKEN, Felt::ONE)] {
            let refused = sponsor.check(&calling(&[(to, selector)]));
            assert_eq!(refused.unwrap_err().code(), codes::SPONSOR_NOT_ALLOWED);
        }
    }

    #[tokio::test]
    async fn who_finds_the_queue_full_is_told_so_at_once() {
        let (sponsor, _node) = sponsor().await;
        let key = crate::key::StarkKey::from_hex("0x5").unwrap();
        let new = NewAccount {
            class_hash: ACCOUNT_CLASS_HASH,
            salt: Felt::ONE,
            public_key: key.public(),
        };
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
