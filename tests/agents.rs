//! An owner gives an agent a budget, and the agent cannot pass it.

use serde_json::Value;

use crate::harness::town::{PAYEE, Town, strings};
use crate::harness::upstream::GOODS;

const AGENT: &[&str] = &["--agent", "researcher"];

async fn budget(town: &Town, verb: &str, flags: &[&str]) -> crate::harness::program::Finished {
    let mut args = vec!["budget", verb];
    args.extend(AGENT);
    args.extend(flags);
    town.run(&args).await
}

async fn shown(town: &Town) -> Value {
    let ledger = town.ledger("payer.db");
    budget(town, "show", &["--ledger", &ledger, "--json"])
        .await
        .exits(0)
        .json()
}

/// `pay` without the limits of the usual flags.
fn pay(town: &Town, url: &str, more: &[&str]) -> Vec<String> {
    let mut args = strings(&["pay", url, "--key-file", &town.arg("buyer.key")]);
    args.extend(strings(&["--ledger", &town.ledger("payer.db")]));
    args.extend(strings(AGENT));
    args.extend(strings(more));
    args
}

#[tokio::test]
async fn an_owner_sets_a_budget_and_the_agent_stops_at_it() {
    let town = Town::new().await;
    let (_gate, gate) = town.gate(&[]).await;
    let url = |n: u32| format!("{gate}/paid/weather?n={n}");
    // Nobody has said what it may spend.
    let done = town.run(&pay(&town, &url(0), &[])).await.exits(2);
    assert!(
        done.stderr
            .contains("tollway budget set --agent researcher"),
        "{}",
        done.stderr
    );
    let limits = [
        "--per-call",
        "0.05",
        "--total",
        "0.02",
        "--host",
        "127.0.0.1",
    ];
    budget(&town, "set", &limits).await.exits(0);

    let done = town
        .run(&pay(&town, &url(1), &["--dry-run"]))
        .await
        .exits(0);
    assert!(
        done.stderr.contains("would pay 0.01 USDC"),
        "{}",
        done.stderr
    );
    assert!(town.spends().await.is_empty(), "a dry run leaves no trace");

    for n in 1..=2 {
        let done = town.run(&pay(&town, &url(n), &[])).await.exits(0);
        assert_eq!(done.stdout, GOODS);
    }
    let done = town.run(&pay(&town, &url(3), &[])).await.exits(4);
    assert!(done.stderr.contains("[budget_exceeded]"), "{}", done.stderr);
    let done = town
        .run(&pay(&town, &url(3), &["--dry-run", "--json"]))
        .await
        .exits(4);
    assert_eq!(done.json()["refusal"]["code"], "budget_exceeded");
    // Nothing that an agent passes widens it.
    let wide = ["--max", "5", "--payee", PAYEE, "--allow-http"];
    town.run(&pay(&town, &url(3), &wide)).await.exits(4);

    let told = shown(&town).await;
    assert_eq!(told["budget"][0]["paid"], "0.02", "{told}");
    assert_eq!(told["budget"][0]["left"], "0", "{told}");
    let ledger = town.ledger("payer.db");
    let history = budget(&town, "history", &["--ledger", &ledger])
        .await
        .exits(0);
    assert_eq!(history.stdout.lines().count(), 2);
    assert!(
        history.stdout.contains("paid 0.01 USDC"),
        "{}",
        history.stdout
    );

    budget(&town, "set", &["--total", "0.03"]).await.exits(0);
    town.run(&pay(&town, &url(3), &[])).await.exits(0);
    let told = shown(&town).await;
    assert_eq!(
        told["policy"]["hosts"][0], "127.0.0.1",
        "what is not named stays"
    );
}

#[tokio::test]
async fn a_policy_that_others_may_write_or_that_says_nonsense_is_not_followed() {
    use std::os::unix::fs::PermissionsExt as _;
    let town = Town::new().await;
    let path = town.write_private("robot.toml", "[limits]\ntotal = '1'\n");
    let show = [
        "budget",
        "show",
        "--policy",
        path.to_str().unwrap(),
        "--ledger",
        &town.ledger("payer.db"),
    ];
    let done = town.run(&show).await.exits(0);
    assert!(done.stdout.starts_with("robot ("), "{}", done.stdout);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
    let done = town.run(&show).await.exits(2);
    assert!(
        done.stderr.contains("only its owner writes"),
        "{}",
        done.stderr
    );
    town.write_private("robot.toml", "[limits]\ntotal = '1'\nper_cal = '2'\n");
    let done = town.run(&show).await.exits(2);
    assert!(done.stderr.contains("line 3"), "{}", done.stderr);
    let done = budget(&town, "set", &["--per-day", "much"]).await.exits(2);
    assert!(done.stderr.contains("limits.per_day"), "{}", done.stderr);
    budget(&town, "show", &[]).await.exits(2);
}
