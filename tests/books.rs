//! The record as an accountant takes it away, and the proof that nobody changed it.

use std::path::Path;

use rusqlite::Connection;
use serde_json::Value;

use crate::harness::program::Finished;
use crate::harness::town::{NETWORK, PAYEE, Town, strings};

/// A gate that sold a report twice and refused it once, and has stopped.
async fn after_two_sales(routes: &[&str]) -> Town {
    let town = Town::new().await;
    let (gate, url) = town.gate(routes).await;
    for path in ["/paid/weather", "/paid/news"] {
        town.pay(&format!("{url}{path}"), &[]).await.exits(0);
    }
    gate.signal("TERM").await;
    gate.end().await.exits(0);
    town
}

async fn ledger(town: &Town, verb: &str, more: &[&str]) -> Finished {
    let mut args = strings(&["ledger", verb, "--ledger", &town.ledger("gate.db")]);
    args.extend(strings(more));
    town.run(&args).await
}

fn lines_of_json(done: &Finished) -> Vec<Value> {
    let lines = done.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn an_export_has_every_payment_once_with_its_money_exact() {
    let town = after_two_sales(&[]).await;
    let exported = ledger(&town, "export", &["--json"]).await.exits(0);
    let rows = lines_of_json(&exported);
    let mut listed = town.records("gate.db").await;
    listed.reverse();
    let ids = |rows: &[Value]| -> Vec<Value> { rows.iter().map(|r| r["id"].clone()).collect() };
    assert_eq!(ids(&rows), ids(&listed));
    for row in &rows {
        assert_eq!(row["amount"], "0.01");
        assert_eq!(row["amountAtomic"], "10000");
        assert_eq!(row["place"], "GET /paid/*");
        assert_eq!(row["state"], "settled");
        assert_eq!(row["payee"], PAYEE.to_lowercase());
        assert!(row["block"].as_u64().is_some());
    }
    let csv = ledger(&town, "export", &["--csv"]).await.exits(0).stdout;
    let lines: Vec<&str> = csv.split("\r\n").collect();
    assert_eq!(lines.len(), 4, "{csv}");
    assert!(lines[0].starts_with("id,kind,state,began_at"));
    assert!(lines[1].contains(",GET /paid/*,") && lines[1].contains(",USDC,6,0.01,10000,"));
    let none = ledger(&town, "export", &["--json", "--state", "refused"]).await;
    assert_eq!(none.exits(0).stdout, "");
    let none = ledger(&town, "export", &["--json", "--until", "2001-01-01"]).await;
    assert_eq!(none.exits(0).stdout, "");
    let all = ledger(&town, "export", &["--json", "--since", "1h"]).await;
    assert_eq!(lines_of_json(&all.exits(0)).len(), 2);
}

#[tokio::test]
async fn an_export_says_what_is_wrong_with_its_flags() {
    let town = after_two_sales(&[]).await;
    for (more, hint) in [
        (&["--csv", "--since", "soon"][..], "write a day"),
        (&["--csv", "--state", "paid"], "use one of accepted"),
        (
            &["--json", "--since", "1d", "--until", "2d"],
            "correct one of them",
        ),
        (&[], "--csv"),
    ] {
        let refused = ledger(&town, "export", more).await.exits(2);
        assert!(refused.stderr.contains(hint), "{}", refused.stderr);
    }
}

/// What a spreadsheet would run is a text there.
#[tokio::test]
async fn no_cell_of_an_export_is_a_formula() {
    let town = after_two_sales(&[]).await;
    let conn = Connection::open(town.path("gate.db")).unwrap();
    let formula = r#"=HYPERLINK("http://evil.example","ok")"#;
    conn.execute("UPDATE grants SET route = ?1", [formula])
        .unwrap();
    let csv = ledger(&town, "export", &["--csv"]).await.exits(0).stdout;
    assert!(
        csv.contains(r#","'=HYPERLINK(""http://evil.example"",""ok"")","#),
        "{csv}"
    );
    assert!(!csv.contains(",=") && !csv.contains(",\"="), "{csv}");
}

/// What each check came to.
fn results(done: &Finished) -> Vec<(String, String)> {
    let report = done.json();
    let checks = report["checks"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    checks
        .map(|check| (text(&check["check"]), text(&check["result"])))
        .collect()
}

#[tokio::test]
async fn an_honest_ledger_is_green_down_to_the_chain() {
    let town = after_two_sales(&[]).await;
    let node = format!("{NETWORK}={}", town.rpc());
    let green = ledger(&town, "verify", &["--network", &node, "--json"]).await;
    let green = green.exits(0);
    let chain = format!("chain {NETWORK}");
    let ok = |check: &str| (check.to_owned(), "ok".to_owned());
    assert_eq!(results(&green), [ok("history"), ok("records"), ok(&chain)]);
    assert!(green.stdout.contains("2 transfers found exactly"));
    let head = green.json()["head"].as_str().unwrap().to_owned();
    let said = ledger(&town, "verify", &["--head", &head]).await.exits(0);
    assert!(said.stdout.contains("ok     history"), "{}", said.stdout);
    let rolled = ledger(&town, "verify", &["--head", &"ab".repeat(32)]).await;
    assert!(rolled.exits(1).stdout.contains("rolled back"));
    let typo = ledger(&town, "verify", &["--head", "0x12"]).await.exits(2);
    assert!(typo.stderr.contains("64 digits"));
}

/// A ledger that is written to is looked at, and nobody is disturbed.
#[tokio::test]
async fn a_ledger_is_verified_beside_the_gate_that_writes_to_it() {
    let town = Town::new().await;
    let (_gate, url) = town.gate(&[]).await;
    let url = format!("{url}/paid/weather");
    town.pay(&url, &[]).await.exits(0);
    ledger(&town, "verify", &[]).await.exits(0);
    town.pay(&format!("{url}?again"), &[]).await.exits(0);
    ledger(&town, "verify", &[]).await.exits(0);
    assert_eq!(town.transfers().len(), 2);
}

fn tamper(path: &Path, statement: &str) {
    let conn = Connection::open(path).unwrap();
    for trigger in ["events_are_never_changed", "events_are_never_deleted"] {
        conn.execute(&format!("DROP TRIGGER {trigger}"), [])
            .unwrap();
    }
    assert!(conn.execute(statement, []).unwrap() > 0);
}

#[tokio::test]
async fn a_ledger_that_somebody_changed_is_red_with_a_cure() {
    for (statement, check, hint) in [
        (
            "UPDATE events SET data = replace(data, '10000', '90000')",
            "history",
            "not as it was written",
        ),
        ("DELETE FROM events WHERE id = 3", "history", "is gone"),
        ("DELETE FROM checkpoints", "history", "0 are there"),
        (
            "UPDATE payments SET amount = '90000'",
            "records",
            "its events say 10000",
        ),
    ] {
        let town = after_two_sales(&[]).await;
        tamper(&town.path("gate.db"), statement);
        let red = ledger(&town, "verify", &["--json"]).await.exits(1);
        let wrong = (check.to_owned(), "wrong".to_owned());
        assert!(results(&red).contains(&wrong), "{}", red.stdout);
        assert!(red.stdout.contains(hint), "{}", red.stdout);
        assert!(red.stdout.contains("backup"), "{}", red.stdout);
    }
}

/// The record may agree with itself; the chain has the last word.
#[tokio::test]
async fn a_settled_payment_that_the_chain_does_not_have_is_red() {
    let town = after_two_sales(&[]).await;
    let node = format!("{NETWORK}={}", town.rpc());
    // Both rows name the transaction of one of them.
    tamper(
        &town.path("gate.db"),
        "UPDATE payments SET transaction_id = (SELECT transaction_id FROM payments WHERE seq = 1)
         WHERE seq = 2",
    );
    let red = ledger(&town, "verify", &["--network", &node])
        .await
        .exits(1);
    assert!(
        red.stdout
            .contains("1 transfers found exactly, 1 not there"),
        "{}",
        red.stdout
    );
    assert!(
        red.stdout.contains("does not hold that Transfer"),
        "{}",
        red.stdout
    );
}

#[tokio::test]
async fn a_payment_that_nobody_can_look_up_is_not_called_good() {
    let town = after_two_sales(&[]).await;
    let other = ledger(
        &town,
        "verify",
        &["--network", "sei-testnet=http://127.0.0.1:9/"],
    )
    .await;
    let other = other.exits(6);
    assert!(other.stdout.contains("2 not looked at"), "{}", other.stdout);
    assert!(other.stdout.contains("--network NETWORK=RPC_URL"));
}
