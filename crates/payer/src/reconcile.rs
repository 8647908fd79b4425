//! Finding out what became of payments that were left open.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tollway_core::{
    Address, Chain, ChainError, Expected, Finality, Identity, Lookup, Raw, SpendId, Terms,
};
use tollway_ledger::{SignedSpend, SpendRecord, SpendState};

use crate::engine::Engine;
use crate::error::PayError;
use crate::note::Note;

/// How long after its validity an authorization is taken to be dead once the
/// chain shows it unused: clocks differ, and blocks come late.
pub const EXPIRY_MARGIN: Duration = Duration::from_secs(120);

/// How long a reservation may stay unsigned before it is given back. Signing
/// takes seconds; whoever signs later finds the reservation gone and stops.
const UNSIGNED_FOR: Duration = Duration::from_secs(600);

/// Asks the chain what became of an authorization. Without one, an open payment
/// counts against the budget for ever: nobody can prove that it is dead.
#[async_trait]
pub trait Reconciler: Send + Sync {
    /// What the chain says about an authorization.
    ///
    /// # Errors
    /// [`ChainError`] where it cannot be asked; that is taken as unknown.
    async fn lookup(&self, identity: &Identity, expected: &Expected) -> Result<Lookup, ChainError>;

    /// Whether a transaction that was signed for an identity can never be included,
    /// since another one has its nonce, finally. Default: nobody can say.
    ///
    /// # Errors
    /// [`ChainError`] where the chain cannot be asked; that is taken as no.
    async fn is_overtaken(&self, identity: &Identity, raw: &Raw) -> Result<bool, ChainError> {
        let _ = (identity, raw);
        Ok(false)
    }
}

/// A [`Reconciler`] over the networks of a facilitator's side.
pub struct ChainReconciler {
    chains: Vec<Arc<dyn Chain>>,
    finality: Finality,
}

impl ChainReconciler {
    /// Looks up at a stated depth.
    #[must_use]
    pub fn new(chains: Vec<Arc<dyn Chain>>, finality: Finality) -> Self {
        Self { chains, finality }
    }
}

#[async_trait]
impl Reconciler for ChainReconciler {
    async fn lookup(&self, identity: &Identity, expected: &Expected) -> Result<Lookup, ChainError> {
        let chain = self
            .chains
            .iter()
            .find(|c| *c.network() == identity.network);
        match chain {
            Some(chain) => {
                let finality = self.finality;
                chain.lookup_at_most(identity, expected, finality).await
            }
            None => Ok(Lookup::Unknown),
        }
    }

    async fn is_overtaken(&self, identity: &Identity, raw: &Raw) -> Result<bool, ChainError> {
        let mut chains = self.chains.iter();
        match chains.find(|chain| *chain.network() == identity.network) {
            Some(chain) => chain.is_overtaken(identity, raw).await,
            None => Ok(false),
        }
    }
}

/// What became of open payments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Reconciled {
    /// The chain shows that they were paid.
    pub paid: u64,
    /// Proved dead; the budget has them back.
    pub released: u64,
    /// Still open: undecided, or paid and still to be delivered.
    pub held: u64,
}

/// What became of one.
pub(crate) enum Fate {
    Paid,
    Released,
    Held,
}

impl Engine {
    /// Decides open payments as far as the chain can tell.
    pub(crate) async fn reconcile(&self) -> Result<Reconciled, PayError> {
        let spends = self.spends()?;
        let mut done = Reconciled::default();
        for account in self.accounts() {
            for id in spends.open_ids(&account).await? {
                match self.look_at(&id).await {
                    Ok(Some(Fate::Paid)) => done.paid += 1,
                    Ok(Some(Fate::Released)) => done.released += 1,
                    Ok(Some(Fate::Held)) => done.held += 1,
                    Ok(None) => {}
                    // It keeps nobody's else money.
                    Err(error) => {
                        tracing::warn!(spend = %id, %error, "an open payment could not be decided");
                        done.held += 1;
                    }
                }
            }
        }
        Ok(done)
    }

    /// Decides one of many, if it is open still. Those before it took their time: it
    /// may be signed anew by now.
    pub(crate) async fn look_at(&self, id: &SpendId) -> Result<Option<Fate>, PayError> {
        let record = self.spends()?.spend(id).await?.filter(is_open);
        match record {
            Some(record) => self.decide(&record).await.map(Some),
            None => Ok(None),
        }
    }

    /// The wallet's accounts, each once.
    pub(crate) fn accounts(&self) -> Vec<Address> {
        let Some(wallet) = &self.wallet else {
            return Vec::new();
        };
        let networks = self.policy.assets.iter().map(|asset| &asset.network);
        let mut accounts: Vec<Address> = networks
            .chain(&self.policy.networks)
            .filter_map(|network| wallet.address(network))
            .collect();
        accounts.sort();
        accounts.dedup();
        accounts
    }

    /// Decides one open payment as far as the chain can tell.
    pub(crate) async fn decide(&self, record: &SpendRecord) -> Result<Fate, PayError> {
        let (spends, now) = (self.spends()?, self.clock.now());
        let Some(signed) = &record.signed else {
            let abandoned =
                record.state == SpendState::Reserved && now.since(record.updated_at) > UNSIGNED_FOR;
            if !abandoned {
                return Ok(Fate::Held);
            }
            spends.release(&record.id, "never_signed", now).await?;
            return Ok(Fate::Released);
        };
        let dead = is_dead(signed, now);
        let note = Note::read(record);
        match self.lookup(signed).await {
            // An execution was sent by whoever was named, and nothing is to be had for
            // it. What used its nonce, it or the owner's own, is taken for it.
            Lookup::Settled(_) | Lookup::Spent if record.spend.calls.is_some() => {
                let amount = record.spend.amount;
                spends.paid(&record.id, amount, None, now).await?;
                Ok(Fate::Paid)
            }
            // A transaction of the account's own that failed moved nothing.
            Lookup::Spent if signed.transaction.is_some() => {
                spends.release(&record.id, "failed_on_chain", now).await?;
                Ok(Fate::Released)
            }
            // The goods are still to be had with it: closed, the next equal
            // request would not find it and pay again.
            Lookup::Settled(_) | Lookup::Spent
                if !dead && !matches!(note, Some(Note::Delivered(_) | Note::Accepted(_))) =>
            {
                Ok(Fate::Held)
            }
            Lookup::Settled(settled) => {
                let tx = Some(&settled.transaction);
                spends.paid(&record.id, settled.amount, tx, now).await?;
                Ok(Fate::Paid)
            }
            // What was signed was used, by whomever it was handed to: that could be a
            // contract which moves the money so that nobody recognises it.
            Lookup::Spent => {
                let amount = record.spend.amount;
                spends.paid(&record.id, amount, None, now).await?;
                Ok(Fate::Paid)
            }
            // By the chain's time, which is what the authorization is compared
            // with: a chain that stands still may yet take it.
            Lookup::Unused { as_of } if dead && as_of >= signed.valid_until => {
                spends.release(&record.id, "expired_unused", now).await?;
                Ok(Fate::Released)
            }
            // Long after its offer was over: a node that lags shows it by then.
            Lookup::Unknown if dead && self.is_overtaken(signed).await => {
                spends.release(&record.id, "overtaken", now).await?;
                Ok(Fate::Released)
            }
            Lookup::Unused { .. } | Lookup::Unknown => {
                self.on_the_servers_word(record, note, dead).await
            }
        }
    }

    /// Without a chain to ask, what the server said is all that will ever be
    /// known about a payment that can no longer be shown.
    async fn on_the_servers_word(
        &self,
        record: &SpendRecord,
        note: Option<Note>,
        dead: bool,
    ) -> Result<Fate, PayError> {
        let Some(Note::Undelivered { transaction, .. }) =
            note.filter(|_| dead && self.reconciler.is_none())
        else {
            return Ok(Fate::Held);
        };
        let (spends, now) = (self.spends()?, self.clock.now());
        // A server's word does not make it less than what was signed for.
        let amount = record.spend.amount;
        spends
            .paid(&record.id, amount, transaction.as_ref(), now)
            .await?;
        Ok(Fate::Paid)
    }

    /// Whether another transaction of the account took the place of this payment's.
    async fn is_overtaken(&self, signed: &SignedSpend) -> bool {
        let (Some(reconciler), Some(raw)) = (&self.reconciler, &signed.transaction) else {
            return false;
        };
        let said = reconciler.is_overtaken(&signed.identity, raw).await;
        matches!(said, Ok(true))
    }

    /// What the chain says; a chain that cannot be asked says nothing.
    pub(crate) async fn lookup(&self, signed: &SignedSpend) -> Lookup {
        let (Some(reconciler), Some(expected)) = (&self.reconciler, expected(signed)) else {
            return Lookup::Unknown;
        };
        match reconciler.lookup(&signed.identity, &expected).await {
            Ok(lookup) => lookup,
            Err(error) => {
                tracing::warn!(network = %signed.identity.network, %error, "the chain cannot be asked about a payment");
                Lookup::Unknown
            }
        }
    }
}

pub(crate) fn is_open(record: &SpendRecord) -> bool {
    !matches!(record.state, SpendState::Paid | SpendState::Released)
}

/// Whether an authorization is past its validity by our clock, with a margin: not
/// worth showing any more. That alone proves nothing.
pub(crate) fn is_dead(signed: &SignedSpend, now: tollway_core::Timestamp) -> bool {
    now > signed.valid_until.plus(EXPIRY_MARGIN)
}

/// The transfer that would be seen.
fn expected(signed: &SignedSpend) -> Option<Expected> {
    let terms = Terms::check(signed.payload.accepted.clone()).ok()?;
    Some(Expected {
        asset: terms.asset,
        from: signed.identity.payer.clone(),
        to: terms.pay_to,
        amount: terms.amount,
    })
}
