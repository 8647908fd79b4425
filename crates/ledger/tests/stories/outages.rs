//! A database that goes away: nothing is lost, nothing is done twice, and no
//! step is called failed that stands.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tollway_ledger::{Acceptance, LedgerError, SettlementStore as _, Store, StoryStore as _};
use tollway_test_postgres::Postgres;

use crate::settlements::accepted;
use tollway_test_records::{at, payment};

/// Lets everything through.
const PASS: u8 = 0;
/// Cuts the next connection that commits, before the server hears of it.
const CUT_BEFORE_COMMIT: u8 = 1;
/// Cuts the next connection that commits, before its answer comes back.
const CUT_AFTER_COMMIT: u8 = 2;
/// Cuts the next connection that commits, as the one before, and every later one.
const CUT_AND_STAY_AWAY: u8 = 3;
/// Lets nobody in.
const AWAY: u8 = 4;

/// The way to a server, which can be cut.
struct Wire {
    url: String,
    mode: Arc<AtomicU8>,
}

impl Wire {
    async fn to(server: &Postgres) -> Self {
        let direct = server.database().await;
        let (database, _) = direct.rsplit_once('?').unwrap();
        let database = database.rsplit('/').next().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mode = Arc::new(AtomicU8::new(PASS));
        let (socket, shared) = (server.socket(), Arc::clone(&mode));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if shared.load(Ordering::SeqCst) == AWAY {
                    continue;
                }
                let server = UnixStream::connect(&socket).await.unwrap();
                tokio::spawn(carry(client, server, Arc::clone(&shared)));
            }
        });
        Self {
            url: format!("postgres://tollway@127.0.0.1:{port}/{database}?sslmode=disable"),
            mode,
        }
    }

    fn set(&self, mode: u8) {
        self.mode.store(mode, Ordering::SeqCst);
    }
}

/// Carries bytes both ways until one side ends or the wire is cut.
async fn carry(client: TcpStream, server: UnixStream, mode: Arc<AtomicU8>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let back = tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
    });
    let mut bytes = vec![0; 65_536];
    while let Ok(count @ 1..) = from_client.read(&mut bytes).await {
        let is_commit = bytes[..count].windows(7).any(|word| word == b"COMMIT\0");
        let cut = mode.load(Ordering::SeqCst);
        if is_commit && (CUT_BEFORE_COMMIT..=CUT_AND_STAY_AWAY).contains(&cut) {
            let next = if cut == CUT_AND_STAY_AWAY { AWAY } else { PASS };
            mode.store(next, Ordering::SeqCst);
            back.abort();
            if cut != CUT_BEFORE_COMMIT {
                to_server.write_all(&bytes[..count]).await.unwrap();
                // The server commits, and says so to nobody.
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            return;
        }
        if to_server.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
    back.abort();
}

async fn assert_one(ledger: &Store, expected: usize) {
    assert_eq!(ledger.open_payments().await.unwrap().len(), expected);
    assert_eq!(ledger.verify_chain().await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_the_connection_broke_in_is_done_once() {
    let server = Postgres::start();
    let wire = Wire::to(&server).await;
    let ledger = Store::open(&wire.url).await.unwrap();
    accepted(&ledger, 1).await;
    for (n, cut) in [(2, CUT_BEFORE_COMMIT), (3, CUT_AFTER_COMMIT)] {
        wire.set(cut);
        // New, not known already: it was not run again where it stood.
        let acceptance = ledger.accept(payment(n), at(n)).await.unwrap();
        assert!(
            matches!(acceptance, Acceptance::New(_)),
            "{cut}: {acceptance:?}"
        );
        assert_eq!(wire.mode.load(Ordering::SeqCst), PASS, "it was cut");
    }
    accepted(&ledger, 4).await;
    assert!(ledger.is_writable());
    assert_one(&ledger, 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_nobody_can_be_asked_about_is_in_doubt() {
    let server = Postgres::start();
    let wire = Wire::to(&server).await;
    let ledger = Store::open(&wire.url).await.unwrap();
    let first = accepted(&ledger, 1).await;
    wire.set(CUT_AND_STAY_AWAY);
    let doubt = ledger.accept(payment(2), at(2)).await.unwrap_err();
    assert!(matches!(doubt, LedgerError::InDoubt { .. }), "{doubt:?}");
    assert!(doubt.is_storage() && !ledger.is_writable());
    let said = doubt.to_string();
    assert!(said.contains("it is not known whether it stands"), "{said}");
    wire.set(PASS);
    let healed = async {
        while !ledger.is_writable() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let healed = tokio::time::timeout(Duration::from_secs(20), healed).await;
    assert!(healed.is_ok(), "nobody wrote, and it noticed");
    // It stood all the while; to repeat it is safe.
    let again = ledger.accept(payment(2), at(2)).await.unwrap();
    assert!(matches!(again, Acceptance::Existing(_)), "{again:?}");
    assert_eq!(accepted(&ledger, 3).await.attempts, first.attempts);
    assert_one(&ledger, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_crashes_and_returns_loses_nothing_told() {
    let mut server = Postgres::start();
    let url = server.database().await;
    let ledger = Store::open(&url).await.unwrap();
    let writing = {
        let ledger = ledger.clone();
        tokio::spawn(async move {
            for n in 0..300 {
                let acceptance = ledger.accept(payment(n), at(n)).await.unwrap();
                assert!(
                    matches!(acceptance, Acceptance::New(_)),
                    "{n}: {acceptance:?}"
                );
            }
        })
    };
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        server.stop();
        server.run();
    }
    writing.await.unwrap();
    assert_one(&ledger, 300).await;
}

/// Lets the first commit that accepts a payment fail with this code; the next
/// ones pass.
async fn fails_once_at_commit(url: &str, code: &str) {
    use sqlx::{Connection as _, Executor as _};
    let mut conn = sqlx::PgConnection::connect(url).await.unwrap();
    let script = format!(
        "CREATE SEQUENCE attempts;
         CREATE FUNCTION fail_once() RETURNS trigger AS $$
         BEGIN
             IF nextval('attempts') = 1 THEN
                 RAISE EXCEPTION 'a row of somebody' USING ERRCODE = '{code}';
             END IF;
             RETURN NULL;
         END
         $$ LANGUAGE plpgsql;
         CREATE CONSTRAINT TRIGGER failing AFTER INSERT ON payments
             DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fail_once();"
    );
    let script = sqlx::raw_sql(sqlx::AssertSqlSafe(script));
    conn.execute(script).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_was_cancelled_or_answered_vaguely_is_asked_about_and_done() {
    let server = Postgres::start();
    for code in ["57014", "40003"] {
        let url = server.database().await;
        let ledger = Store::open(&url).await.unwrap();
        fails_once_at_commit(&url, code).await;
        let acceptance = ledger.accept(payment(1), at(1)).await;
        assert!(
            matches!(acceptance, Ok(Acceptance::New(_))),
            "{code}: {acceptance:?}"
        );
        assert_one(&ledger, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_constraint_guards_is_not_told_to_callers() {
    let server = Postgres::start();
    let url = server.database().await;
    let ledger = Store::open(&url).await.unwrap();
    fails_once_at_commit(&url, "23514").await;
    let refused = ledger.accept(payment(1), at(1)).await.unwrap_err();
    assert!(
        matches!(refused, LedgerError::Conflict { .. }),
        "{refused:?}"
    );
    assert!(!refused.to_string().contains("somebody"), "{refused}");
    assert_one(&ledger, 0).await;
}
