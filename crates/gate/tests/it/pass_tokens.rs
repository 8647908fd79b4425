//! Tokens at several gates over one database, and where the ledger falls silent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use http::StatusCode;
use tollway_core::{GrantId, Timestamp};
use tollway_gate::Passes;
use tollway_ledger::{
    ExposureCap, GrantRecord, Issue, LedgerError, NewGrant, NewPass, Notice, Outstanding, PassEnd,
    PassId, PassRecord, PassStore, ReplicaStore as _, Revocations, Store, TokenKeyName,
};
use tollway_test_postgres::Postgres;

use crate::passes::{
    SOON, hourly, keys, ledger, passes, permit, post, refusing, token_of, until, with,
};
use crate::support::{FakeChain, World};

const LONG: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_dies_within_a_second_on_every_gate_over_one_database() {
    let server = Postgres::start();
    let url = server.database().await;
    let chain: Arc<FakeChain> = Arc::default();
    let gate = async |name: &str| {
        let store = Arc::new(Store::open(&url).await.unwrap());
        let replica = store.join(name, LONG).await.unwrap();
        let world = World::on(Arc::clone(&store), Arc::clone(&chain), |gate| {
            gate.route(hourly())
                .passes(passes(&store))
                .owner(replica.id.as_str(), &[])
        });
        world.gate.start().await.unwrap();
        world
    };
    let (one, two) = (gate("one").await, gate("two").await);
    let payment = one.payment("/paid/x").await;
    let good = token_of(&one.send(post(&permit(&payment))).await);
    until("settled", SOON, async || one.released() == 1).await;
    one.facilitator.next(refusing("insufficient_funds"));
    let payment = one.payment("/paid/x").await;
    let dead = token_of(&one.send(post(&permit(&payment))).await);
    until("refused", SOON, async || one.kinds().contains(&"refused")).await;
    let failed = Instant::now();
    for world in [&one, &two] {
        until("dead", Duration::from_secs(1), async || {
            world.send(with(&dead, "/paid/x")).await.code() == "token_revoked"
        })
        .await;
        assert!(world.send(with(&good, "/paid/x")).await.has_secret());
    }
    assert!(failed.elapsed() < Duration::from_secs(1));
}

/// A ledger that does not tell of revocations, or not of passes either.
#[derive(Clone)]
struct Silent {
    ledger: Arc<dyn PassStore>,
    is_deaf: Arc<AtomicBool>,
    is_dumb: Arc<AtomicBool>,
    /// Passes that were read.
    read: Arc<AtomicUsize>,
}

fn silence() -> LedgerError {
    LedgerError::Unavailable {
        message: "The ledger does not answer; wait.".to_owned(),
        detail: "silent".to_owned(),
    }
}

#[tokio::test]
async fn when_revocations_are_heard_no_more_passes_are_read_and_then_refused() {
    let ledger = ledger().await;
    let silent = Silent {
        ledger: ledger.clone(),
        is_deaf: Arc::default(),
        is_dumb: Arc::default(),
        read: Arc::default(),
    };
    let sells = Passes::new(Arc::new(silent.clone()), keys())
        .in_background("1".parse().unwrap(), "5".parse().unwrap());
    let world = World::on(ledger, Arc::default(), |gate| {
        gate.route(hourly()).passes(sells)
    });
    world.gate.start().await.unwrap();
    let payment = world.payment("/paid/x").await;
    let token = token_of(&world.send(post(&permit(&payment))).await);
    until("settled", SOON, async || world.released() == 1).await;
    let opens = async || world.send(with(&token, "/paid/x")).await.has_secret();
    let reads = || silent.read.load(SeqCst);
    until("it is trusted unread", SOON, async || {
        let before = reads();
        opens().await && reads() == before
    })
    .await;

    silent.is_deaf.store(true, SeqCst);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    for _ in 0..3 {
        let before = reads();
        assert!(opens().await, "what is read is good");
        assert_eq!(reads(), before + 1, "each use is read");
    }
    silent.is_dumb.store(true, SeqCst);
    let refused = world.send(with(&token, "/paid/x")).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!refused.has_secret() && !refused.has_terms());

    silent.is_deaf.store(false, SeqCst);
    silent.is_dumb.store(false, SeqCst);
    until("it is trusted again", SOON, async || {
        let before = reads();
        opens().await && reads() == before
    })
    .await;
}

#[async_trait]
impl PassStore for Silent {
    fn passes_of_owner(&self, owner: &str) -> Arc<dyn PassStore> {
        Arc::new(Self {
            ledger: self.ledger.passes_of_owner(owner),
            ..self.clone()
        })
    }

    async fn issue(
        &self,
        new: NewGrant,
        pass: NewPass,
        outstanding: Outstanding,
        cap: ExposureCap,
        now: Timestamp,
    ) -> Result<Issue, LedgerError> {
        self.ledger.issue(new, pass, outstanding, cap, now).await
    }

    async fn pass(&self, id: &PassId) -> Result<Option<PassRecord>, LedgerError> {
        self.read.fetch_add(1, SeqCst);
        match self.is_dumb.load(SeqCst) {
            true => Err(silence()),
            false => self.ledger.pass(id).await,
        }
    }

    async fn pass_of(&self, grant: &GrantId) -> Result<Option<PassRecord>, LedgerError> {
        self.ledger.pass_of(grant).await
    }

    async fn grant(&self, id: &GrantId) -> Result<Option<GrantRecord>, LedgerError> {
        self.ledger.grant(id).await
    }

    async fn use_pass(
        &self,
        id: &PassId,
        now: Timestamp,
    ) -> Result<Result<PassRecord, PassEnd>, LedgerError> {
        self.ledger.use_pass(id, now).await
    }

    async fn give_use_back(&self, id: &PassId) -> Result<(), LedgerError> {
        self.ledger.give_use_back(id).await
    }

    async fn revoke(&self, id: &PassId, now: Timestamp) -> Result<(), LedgerError> {
        self.ledger.revoke(id, now).await
    }

    async fn revocations(&self, after: u64) -> Result<Revocations, LedgerError> {
        match self.is_deaf.load(SeqCst) {
            true => Err(silence()),
            false => self.ledger.revocations(after).await,
        }
    }

    async fn latest_revocation(&self) -> Result<u64, LedgerError> {
        self.ledger.latest_revocation().await
    }

    async fn forget_passes(&self, before: Timestamp, now: Timestamp) -> Result<u64, LedgerError> {
        self.ledger.forget_passes(before, now).await
    }

    async fn sign_with(
        &self,
        keys: &[TokenKeyName],
        whatever_is_out: bool,
        now: Timestamp,
    ) -> Result<Option<String>, LedgerError> {
        self.ledger.sign_with(keys, whatever_is_out, now).await
    }

    async fn take_notices(
        &self,
        limit: u32,
        again: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<Notice>, LedgerError> {
        self.ledger.take_notices(limit, again, now).await
    }

    async fn told(&self, id: &str) -> Result<(), LedgerError> {
        self.ledger.told(id).await
    }
}
