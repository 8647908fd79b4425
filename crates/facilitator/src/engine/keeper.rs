//! Keeping the engine's place in the ledger: signs of life, leases of signers,
//! work that others left, and what the ledger holds open.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tollway_core::{Address, Network, PaymentId};
use tollway_ledger::{LedgerError, PaymentRecord, Replica};

use super::machine::Event;
use super::perform::{ask, open_records};
use super::shared::{Member, NetworkHandle, Shared};
use crate::telemetry;

/// Payments that are adopted or read in one step.
const AT_ONCE: u32 = 500;

pub(super) struct Keeper {
    pub(super) shared: Arc<Shared>,
    pub(super) networks: Arc<BTreeMap<Network, NetworkHandle>>,
}

impl Keeper {
    /// Runs until the engine stops.
    pub(super) async fn run(self) {
        let stop = self.shared.stop.clone();
        stop.run_until_cancelled(self.keep()).await;
    }

    async fn keep(&self) {
        loop {
            let Ok(replica) = self.join().await else {
                tokio::time::sleep(self.shared.config.ledger_retry).await;
                continue;
            };
            let member = Member {
                store: self.shared.base.acting_as(&replica.id),
                id: replica.id,
            };
            self.shared.member.send_replace(Some(member.clone()));
            self.take_part(&member).await;
            // Whoever thought us dead has our work now.
            tracing::error!("the ledger takes this process for dead; it takes part anew");
            self.shared.member.send_replace(None);
        }
    }

    async fn join(&self) -> Result<Replica, LedgerError> {
        let (shared, config) = (&self.shared, &self.shared.config);
        if let Some(replica) = &config.replica {
            let beat = shared.base.beat(&replica.id, config.replica_ttl).await;
            if beat.is_ok() {
                return Ok(replica.clone());
            }
        }
        let joined = shared
            .base
            .join(&config.replica_name, config.replica_ttl)
            .await;
        shared.note_ledger(&joined);
        joined
    }

    /// Until the ledger takes this process for dead.
    async fn take_part(&self, member: &Member) {
        let config = &self.shared.config;
        let mut leased = BTreeSet::new();
        self.lease(member, &mut leased).await;
        self.adopt(member, &leased).await;
        self.look_back(member).await;
        let mut beat = every(config.replica_ttl / 3);
        let mut adopt = every(config.adopt_interval);
        let mut recover = every(config.recover_interval);
        let mut signers = every(config.signer_interval);
        loop {
            tokio::select! {
                biased;
                _ = beat.tick() => {
                    let result = member.store.beat(&member.id, config.replica_ttl).await;
                    self.shared.note_ledger(&result);
                    if result.is_err_and(|e| !e.is_storage()) {
                        return;
                    }
                }
                _ = recover.tick() => self.recover(member).await,
                _ = adopt.tick() => {
                    let gained = self.lease(member, &mut leased).await;
                    let adopted = self.adopt(member, &leased).await;
                    if gained || adopted {
                        self.look_back(member).await;
                    }
                }
                _ = signers.tick() => {
                    self.look_at_signers();
                    self.look_at_heads();
                }
            }
        }
    }

    /// Takes the signers that are free, and says which are not ours. Whether one
    /// was taken.
    async fn lease(&self, member: &Member, leased: &mut BTreeSet<(Network, Address)>) -> bool {
        let mut gained = false;
        let lost = std::mem::take(
            &mut *self
                .shared
                .lost
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        for key in lost {
            leased.remove(&key);
        }
        for (network, handle) in self.networks.iter() {
            for signer in handle.chain.signers() {
                if leased.contains(&(network.clone(), signer.clone())) {
                    continue;
                }
                let lease = member
                    .store
                    .lease_signer(&member.id, network, &signer)
                    .await;
                let key = (network.clone(), signer);
                let event = match lease {
                    Ok(Some(lease)) => {
                        gained |= leased.insert(key);
                        Event::Leased { lease }
                    }
                    Ok(None) => {
                        leased.remove(&key);
                        Event::Unleased { signer: key.1 }
                    }
                    Err(error) => {
                        self.shared.note_ledger::<()>(&Err(error));
                        continue;
                    }
                };
                let _ = handle.events.send(event);
            }
        }
        gained
    }

    /// Takes over what others left, and goes on with it: where a signer is ours.
    /// Without one it would only be given up again, in the way of who has one.
    /// Whether anything was taken.
    async fn adopt(&self, member: &Member, leased: &BTreeSet<(Network, Address)>) -> bool {
        let mut adopted = false;
        for network in self.networks.keys() {
            if !leased.iter().any(|(ours, _)| ours == network) {
                continue;
            }
            loop {
                let taken = member.store.adopt(&member.id, network, AT_ONCE).await;
                self.shared.note_ledger(&taken);
                let taken = taken.map_or(0, |payments| payments.len());
                adopted |= taken > 0;
                if taken < usize::try_from(AT_ONCE).unwrap_or(usize::MAX) {
                    break;
                }
            }
        }
        if adopted {
            self.recover(member).await;
        }
        adopted
    }

    /// Compares what the ledger holds open with memory.
    async fn recover(&self, member: &Member) {
        let (payments, slots) = match open_records(member.store.as_ref()).await {
            Ok(records) => records,
            Err(error) => {
                tracing::error!(?error, "the ledger's open records were not read");
                return;
            }
        };
        for (network, handle) in self.networks.iter() {
            let ours = |p: &&PaymentRecord| p.payment.identity.network == *network;
            telemetry::by_age(network, payments.iter().filter(ours), self.shared.now());
            let event = Event::Recovered {
                payments: payments.iter().filter(ours).cloned().collect(),
                slots: slots
                    .iter()
                    .filter(|s| s.network == *network)
                    .cloned()
                    .collect(),
            };
            let _ = handle.events.send(event);
        }
    }

    /// What settled before and could still be reorganised away is watched again:
    /// ours, and what a machine that is gone settled.
    async fn look_back(&self, member: &Member) {
        for (network, handle) in self.networks.iter() {
            let mut after: Option<PaymentId> = None;
            loop {
                let read = member.store.settled_since(network, after.as_ref(), AT_ONCE);
                let payments = match read.await {
                    Ok(payments) => payments,
                    Err(error) => {
                        tracing::error!(?error, "settled payments were not read");
                        break;
                    }
                };
                after = payments.last().map(|p| p.id.clone());
                let last = payments.len() < usize::try_from(AT_ONCE).unwrap_or(usize::MAX);
                if !payments.is_empty() {
                    let _ = handle.events.send(Event::Settled { payments });
                }
                if last {
                    break;
                }
            }
        }
    }

    /// How the nodes are, and how far they have come.
    fn look_at_heads(&self) {
        for (network, handle) in self.networks.iter() {
            let (shared, network, handle) =
                (Arc::clone(&self.shared), network.clone(), handle.clone());
            tokio::spawn(async move {
                let patience = shared.config.chain_timeout;
                let asked = tokio::time::timeout(patience, handle.chain.health()).await;
                let health = asked.ok();
                let block = health.as_ref().and_then(|health| health.block_number);
                let is_ready = health.as_ref().is_some_and(|health| health.ready);
                telemetry::head(&network, is_ready, handle.gauge.head(block, shared.now()));
            });
        }
    }

    /// Which signers have gas. A signer that is low gets nothing new to do.
    fn look_at_signers(&self) {
        for (network, handle) in self.networks.iter() {
            let (shared, network, handle) =
                (Arc::clone(&self.shared), network.clone(), handle.clone());
            tokio::spawn(async move {
                let Ok(states) = ask(&shared, handle.chain.signer_states()).await else {
                    return;
                };
                for state in &states {
                    if state.low {
                        tracing::warn!(%network, signer = %state.signer, balance = %state.balance, "a settling account is low on gas and is not used until it is funded");
                    }
                    let _ = handle.events.send(Event::Funded {
                        signer: state.signer.clone(),
                        enough: !state.low,
                    });
                }
                telemetry::low_signers(&network, states.iter().filter(|s| s.low).count());
                let per_payment = handle.gas.per_payment();
                for state in &states {
                    telemetry::signer(&network, state, per_payment);
                }
                let signers = handle.chain.signers();
                let low = |signer: &Address| states.iter().any(|s| s.signer == *signer && s.low);
                let drained = !signers.is_empty() && signers.iter().all(low);
                handle.gauge.drained.store(drained, Ordering::Relaxed);
                *handle
                    .gauge
                    .signers
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner) = states;
            });
        }
    }
}

fn every(interval: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(interval.max(Duration::from_millis(10)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
