//! Several machines over one PostgreSQL database, some of which stop.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use sqlx::Executor as _;
use tokio::task::JoinSet;
use tollway_ledger::{
    Acceptance, Claim, GrantState, GrantStore as _, LedgerError, NewGrant, PaymentState,
    ReplicaStore as _, SettlementStore as _, Store, StoryStore as _,
};
use tollway_test_postgres::Postgres;

use crate::processes::worker;
use crate::replicas::{accepted_by, joined, lease, submitted};
use tollway_test_records::{LONG, at, grant, network, payment, raw};

/// A process and what it says, line by line.
struct Machine {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl Machine {
    fn start(url: &str, ttl: Duration, first: u64, count: u64) -> Self {
        let mut command = worker();
        let ttl = ttl.as_millis().to_string();
        command.args(["engine", url, &ttl, &first.to_string(), &count.to_string()]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (tell, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        let said = Vec::new();
        Self { child, lines, said }
    }

    /// Listens until a line that begins so comes.
    fn until(&mut self, beginning: &str, patience: Duration) -> String {
        let end = Instant::now() + patience;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.said.push(line.clone());
                    if line.starts_with(beginning) {
                        return line;
                    }
                }
                Err(error) => panic!("no {beginning:?} ({error}) after {:#?}", self.said),
            }
        }
    }

    /// Listens for a while.
    fn during(&mut self, time: Duration) {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.said.push(line),
                Err(RecvTimeoutError::Timeout) => return,
                Err(RecvTimeoutError::Disconnected) => panic!("it ended: {:#?}", self.said),
            }
        }
    }

    fn lines_of(&self, beginning: &str) -> Vec<Vec<String>> {
        let lines = self.said.iter().filter(|line| line.starts_with(beginning));
        let words = |line: &String| line.split(' ').skip(1).map(str::to_owned).collect();
        lines.map(words).collect()
    }

    fn signal(&self, signal: &str) {
        let mut kill = Command::new("kill");
        let kill = kill.arg(signal).arg(self.child.id().to_string());
        assert!(kill.status().unwrap().success());
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const SOON: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn machines_share_the_work_and_take_over_from_the_dead() {
    const COUNT: u64 = 60;
    let ttl = Duration::from_secs(3);
    let server = Postgres::start();
    let url = server.database().await;
    let ledger = Store::open(&url).await.unwrap();
    let mut one = Machine::start(&url, ttl, 0, COUNT);
    let mut two = Machine::start(&url, ttl, 0, COUNT);
    one.until("joined", SOON);
    two.until("joined", SOON);
    let accepted = |machine: &Machine| machine.lines_of("accepted").len() as u64;
    let start = Instant::now();
    while accepted(&one) + accepted(&two) < COUNT {
        one.during(Duration::from_millis(50));
        two.during(Duration::from_millis(50));
        assert!(start.elapsed() < SOON, "{:#?} {:#?}", one.said, two.said);
    }
    // Nobody works on what the dead one has before its time is over.
    let (mut dead, mut heir) = if one.lines_of("leased").is_empty() {
        (two, one)
    } else {
        (one, two)
    };
    dead.signal("-KILL");
    let died = Instant::now();
    let held: Vec<_> = dead.lines_of("leased");
    dead.until_end();
    heir.until("leased", SOON);
    let waited = died.elapsed();
    assert!(
        waited + Duration::from_millis(500) >= ttl - BEAT,
        "{waited:?} for {held:?}"
    );

    let start = Instant::now();
    loop {
        let open = ledger.open_payments().await.unwrap();
        let unsent = open.iter().filter(|p| p.state == PaymentState::Accepted);
        if open.len() as u64 == COUNT && unsent.count() == 0 {
            break;
        }
        assert!(start.elapsed() < SOON, "{:#?}", heir.said);
        heir.during(Duration::from_millis(50));
    }
    assert_one_acceptance_each([&dead, &heir], COUNT);
    assert_no_nonce_twice(&ledger, [&dead, &heir]).await;
    for payment in ledger.open_payments().await.unwrap() {
        assert_eq!(payment.attempts, 1, "{}", payment.id);
    }
    crate::assert_sound(&ledger).await;
}

/// A worker beats at each turn; a busy machine's turns may be this long.
const BEAT: Duration = Duration::from_millis(1_500);

impl Machine {
    /// Hears what it had still said.
    fn until_end(&mut self) {
        while let Ok(line) = self.lines.recv_timeout(SOON) {
            self.said.push(line);
        }
    }
}

fn assert_one_acceptance_each(machines: [&Machine; 2], count: u64) {
    let mut by_number: BTreeMap<u64, u32> = BTreeMap::new();
    for words in machines.iter().flat_map(|m| m.lines_of("accepted")) {
        *by_number.entry(words[0].parse().unwrap()).or_default() += 1;
    }
    // What a killed one had accepted it may not have said.
    assert!(by_number.values().all(|times| *times == 1), "{by_number:?}");
    assert!(by_number.len() as u64 + 1 >= count, "{by_number:?}");
}

async fn assert_no_nonce_twice(ledger: &Store, machines: [&Machine; 2]) {
    let mut nonces = BTreeSet::new();
    for words in machines.iter().flat_map(|m| m.lines_of("stored")) {
        let signer_and_nonce = (words[0].clone(), words[1].clone());
        assert!(nonces.insert(signer_and_nonce), "{words:?} twice");
    }
    let mut carried = BTreeSet::new();
    for slot in ledger.open_slots().await.unwrap() {
        assert!(slot.raws.len() <= 1, "{slot:?}");
        for id in slot.payments {
            assert!(carried.insert(id.clone()), "{id} in two slots");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_slept_too_long_stores_nothing_when_it_wakes() {
    let ttl = Duration::from_secs(2);
    let server = Postgres::start();
    let url = server.database().await;
    let ledger = Store::open(&url).await.unwrap();
    let mut sleeper = Machine::start(&url, ttl, 0, 1_000_000);
    sleeper.until("stored", SOON);
    sleeper.signal("-STOP");
    sleeper.during(Duration::from_millis(100));
    // It may have stopped within a transaction, which the database ends.
    let mut heir = Machine::start(&url, ttl, 2_000_000, 0);
    heir.until("leased", SOON);
    heir.until("leased", SOON);
    heir.during(Duration::from_millis(300));
    let before = sleeper.lines_of("stored").len();
    sleeper.signal("-CONT");
    sleeper.until("lost", SOON);
    sleeper.during(Duration::from_millis(300));
    let stored = sleeper.lines_of("stored").len();
    // At most the one whose commit it slept in.
    assert!(stored <= before + 1, "{:#?}", sleeper.said);
    assert_no_nonce_twice(&ledger, [&sleeper, &heir]).await;
    drop(sleeper);
    crate::assert_sound(&ledger).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_lasts_by_the_databases_clock() {
    let server = Postgres::start();
    let url = server.database().await;
    let (one, two) = (
        Store::open(&url).await.unwrap(),
        Store::open(&url).await.unwrap(),
    );
    let ttl = Duration::from_millis(1_500);
    let first = one.join("one", ttl).await.unwrap().id;
    let second = joined(&two).await;
    let nine = lease(&one, &first, 9).await.unwrap();
    let acting = one.acting_as(&first);
    let ids = [
        accepted_by(&*acting, 1).await,
        accepted_by(&*acting, 2).await,
    ];
    let slot = submitted(&*acting, &nine, &ids[0], 1).await;
    assert_eq!(lease(&two, &second, 9).await, None, "its holder is alive");
    assert_eq!(two.adopt(&second, &network(), 10).await.unwrap(), []);
    for _ in 0..3 {
        tokio::time::sleep(ttl / 2).await;
        one.beat(&first, ttl).await.unwrap();
    }
    assert_eq!(lease(&two, &second, 9).await, None, "it beat");
    tokio::time::sleep(ttl + Duration::from_millis(200)).await;
    // It is late, and nobody has taken its place yet: then it still has it.
    let ours = std::slice::from_ref(&ids[0]);
    acting
        .store_raw(&slot, &raw(2), ours, &nine, at(3))
        .await
        .unwrap();
    let newer = lease(&two, &second, 9).await.unwrap();
    assert_eq!(newer.epoch, nine.epoch + 1);
    let late = acting.store_raw(&slot, &raw(3), ours, &nine, at(4)).await;
    assert!(
        matches!(late, Err(LedgerError::LeaseLost { .. })),
        "{late:?}"
    );
    one.beat(&first, LONG).await.unwrap();
    assert_eq!(lease(&one, &first, 9).await, None, "it is the other's now");
    // What it had not sent stays its own, since it beats again.
    let adopted = two.adopt(&second, &network(), 10).await.unwrap();
    assert_eq!(adopted.iter().map(|p| &p.id).collect::<Vec<_>>(), [&ids[0]]);
    crate::assert_sound(&one).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_identical_accepts_over_two_machines_make_one_payment() {
    let server = Postgres::start();
    let url = server.database().await;
    let stores = [
        Store::open(&url).await.unwrap(),
        Store::open(&url).await.unwrap(),
    ];
    let mut calls = JoinSet::new();
    for n in 0..1_000 {
        let store = stores[n % 2].clone();
        calls.spawn(async move {
            let accepted = store.accept(payment(n as u64 % 10), at(1)).await.unwrap();
            matches!(accepted, Acceptance::New(_))
        });
    }
    let won = calls.join_all().await;
    assert_eq!(won.into_iter().filter(|won| *won).count(), 10);
    assert_eq!(stores[0].open_payments().await.unwrap().len(), 10);
    crate::assert_sound(&stores[1]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_may_open_a_new_database_at_the_same_moment() {
    let server = Postgres::start();
    let url = server.database().await;
    let mut openings = JoinSet::new();
    for n in 0..6 {
        let url = url.clone();
        openings.spawn(async move {
            let store = Store::open(&url).await.unwrap();
            store.accept(payment(n), at(1)).await.unwrap();
            store.close().await;
        });
    }
    openings.join_all().await;
    let store = Store::open(&url).await.unwrap();
    assert!(store.is_shared());
    assert_eq!(store.open_payments().await.unwrap().len(), 6);
    assert_eq!(store.verify_chain().await.unwrap(), None);
    let engines = (store.lock_engine(), store.lock_engine());
    assert!(matches!(engines, (Ok(_), Ok(_))), "each leases its signers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gates_claims_are_orphans_when_its_replica_is_dead() {
    let server = Postgres::start();
    let url = server.database().await;
    let (one, two) = (
        Store::open(&url).await.unwrap(),
        Store::open(&url).await.unwrap(),
    );
    let (alive, dead) = (joined(&one).await, joined(&one).await);
    let mut ids = Vec::new();
    for (n, owner) in [(1, &alive), (2, &dead)] {
        let new = NewGrant {
            owner: owner.to_string(),
            ..grant(n)
        };
        let Claim::New(record) = one.claim(new, at(1)).await.unwrap() else {
            panic!("it was claimed before");
        };
        ids.push(record.id);
    }
    assert_eq!(
        two.refuse_orphans(&[], at(2)).await.unwrap(),
        0,
        "both live"
    );
    one.leave(&dead).await.unwrap();
    assert_eq!(two.refuse_orphans(&[], at(2)).await.unwrap(), 1);
    let refused = two.grant(&ids[1]).await.unwrap().unwrap();
    assert_eq!(
        (refused.state, refused.reclaimable),
        (GrantState::Refused, true)
    );
}

async fn refusal(url: &str) -> String {
    match Store::open(url).await {
        Ok(_) => panic!("{url} was opened"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn a_database_that_is_no_ledger_of_ours_is_left_alone() {
    let server = Postgres::start();
    let missing = refusal(&server.url("nowhere")).await;
    assert!(missing.contains("check the ledger's URL"), "{missing}");
    let unreadable = refusal("postgres://db:port/tollway").await;
    assert!(
        unreadable.contains("write for example postgres://"),
        "{unreadable}"
    );

    let theirs = server.database().await;
    let mut session = server.session("t0").await;
    session
        .execute("CREATE TABLE theirs (x INT)")
        .await
        .unwrap();
    let said = refusal(&theirs).await;
    assert!(said.contains("holds other tables, but no ledger"), "{said}");

    let ours = server.database().await;
    let ledger = Store::open(&ours).await.unwrap();
    ledger.accept(payment(1), at(1)).await.unwrap();
    ledger.close().await;
    let mut session = server.session("t1").await;
    for forbidden in ["DELETE FROM events", "UPDATE events SET kind = 'x'"] {
        let refused = session.execute(forbidden).await.unwrap_err();
        assert!(refused.to_string().contains("append-only"), "{refused}");
    }
    for (tamper, expected) in [
        (
            "UPDATE meta SET value = value + 1 WHERE name = 'schema_fingerprint'",
            "another build",
        ),
        (
            "UPDATE meta SET value = value + 1 WHERE name = 'schema'",
            "A newer Tollway",
        ),
    ] {
        session.execute(tamper).await.unwrap();
        let said = refusal(&ours).await;
        assert!(
            said.contains(expected) && said.ends_with("name another database."),
            "{said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_is_taken_over_once_and_only_when_its_owner_is_silent() {
    let server = Postgres::start();
    let url = server.database().await;
    let stores = [
        Store::open(&url).await.unwrap(),
        Store::open(&url).await.unwrap(),
    ];
    let owner = stores[0].join("one", LONG).await.unwrap().id;
    let upfront = NewGrant {
        owner: owner.to_string(),
        flow: "upfront".to_owned(),
        ..grant(1)
    };
    let Claim::New(record) = stores[0].claim(upfront, at(1)).await.unwrap() else {
        panic!("a claim of its own");
    };
    stores[0].settling(&record.id, at(1)).await.unwrap();
    let early = stores[1].take_over(&record.id, "two", &[], at(2)).await;
    assert_eq!(early.unwrap(), None);
    stores[0].leave(&owner).await.unwrap();
    let heirs = [
        stores[0].join("a", LONG).await.unwrap().id,
        stores[1].join("b", LONG).await.unwrap().id,
    ];
    let mut heir_calls = JoinSet::new();
    for n in 0..20 {
        let (store, heir, id) = (
            stores[n % 2].clone(),
            heirs[n % 2].clone(),
            record.id.clone(),
        );
        heir_calls.spawn(async move {
            let taken = store.take_over(&id, heir.as_str(), &[], at(3)).await;
            taken.unwrap().map(|grant| grant.grant.owner)
        });
    }
    let owners: BTreeSet<String> = heir_calls.join_all().await.into_iter().flatten().collect();
    assert_eq!(owners.len(), 1, "{owners:?}");
    crate::assert_sound(&stores[1]).await;
}

/// Of the first version's statements as PostgreSQL got them.
fn number_of_the_first_format() -> i64 {
    let mut first = include_str!("../../migrations/0001_first.sql").to_owned();
    for (common, own) in [
        (
            " INTEGER PRIMARY KEY",
            " BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY",
        ),
        (" INTEGER", " BIGINT"),
        (" BLOB", " BYTEA"),
        (") STRICT, WITHOUT ROWID;", ");"),
        (") STRICT;", ");"),
    ] {
        first = first.replace(common, own);
    }
    first.push_str(include_str!("../../migrations/0001_guards.postgres.sql"));
    let digest = <sha2::Sha256 as sha2::Digest>::digest(first);
    let bytes = digest[..7].iter();
    bytes.fold(0, |number, byte| number << 8 | i64::from(*byte))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_the_first_format_is_brought_up_to_date() {
    let server = Postgres::start();
    let url = server.database().await;
    let store = Store::open(&url).await.unwrap();
    store.accept(payment(1), at(1)).await.unwrap();
    store.close().await;
    // As the first version left it: its tables, and their number.
    let first = "ALTER TABLE spends DROP COLUMN limited_key; ALTER TABLE spends DROP COLUMN decimals; ALTER TABLE spends DROP COLUMN calls;
         DROP INDEX spends_of_agent; DROP INDEX spends_at_host; DROP INDEX spends_at_url;
         DROP TABLE passes; DROP TABLE meters; DROP TABLE exposures; DROP TABLE revocations; DROP TABLE notices;
         DROP TABLE transfers; DROP TABLE losses; DROP TABLE token_keys;
         ALTER TABLE grants DROP COLUMN pass;
         ALTER TABLE writers DROP COLUMN checkpoints; DROP INDEX grants_newest; DROP INDEX spends_newest;
         DROP INDEX payments_settled; DROP INDEX payments_of_payer; DROP INDEX grants_released; DROP INDEX grants_refused;
         DROP INDEX grants_of_payer; DROP INDEX grants_of_route; DROP TABLE tallies; DROP TABLE sign_ins;
         DELETE FROM meta WHERE name = 'revocations';
         UPDATE meta SET value = 1 WHERE name = 'schema';
         UPDATE meta SET value = value + 1 WHERE name = 'schema_fingerprint'";
    let mut conn = <sqlx::PgConnection as sqlx::Connection>::connect(&url)
        .await
        .unwrap();
    conn.execute(sqlx::raw_sql(first)).await.unwrap();
    let refused = Store::open(&url).await.err().unwrap();
    assert!(refused.to_string().contains("another build"), "{refused}");
    let known = format!(
        "UPDATE meta SET value = {} WHERE name = 'schema_fingerprint'",
        number_of_the_first_format()
    );
    conn.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(known)))
        .await
        .unwrap();
    // Who reads for long keeps the new tables waiting, and nobody else behind them.
    let reads = "BEGIN; SELECT COUNT(*) FROM spends";
    conn.execute(sqlx::raw_sql(reads)).await.unwrap();
    let mut openings = JoinSet::new();
    for _ in 0..3 {
        let url = url.clone();
        openings.spawn(async move { Store::open(&url).await.unwrap().close().await });
    }
    let mut other = <sqlx::PgConnection as sqlx::Connection>::connect(&url)
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let reads = other.execute(sqlx::raw_sql("SELECT COUNT(*) FROM spends"));
    let read = tokio::time::timeout(Duration::from_secs(30), reads).await;
    read.expect("nobody waits for a change that waits").unwrap();
    conn.execute(sqlx::raw_sql("COMMIT")).await.unwrap();
    openings.join_all().await;
    let store = Store::open(&url).await.unwrap();
    assert_eq!(store.open_payments().await.unwrap().len(), 1);
    assert_eq!(
        tollway_ledger::PassStore::latest_revocation(&store)
            .await
            .unwrap(),
        0
    );
}
