//! `tollway check --config`: what is wrong is red before the first customer meets it,
//! each with its own line and its cure; what is right is green; and nothing is paid.

use alloy_primitives::{Address, Bytes, U256};
use axum::Json;
use axum::routing::get;
use http::StatusCode;
use serde_json::{Value, json};
use tollway_devnet::{Contract, Devnet, Dollar, Preset};

use crate::harness::Program;
use crate::harness::program::Finished;
use crate::harness::town::{NETWORK, PAYEE, SIGNER, Town, TownOptions, set, strings};
use crate::harness::upstream::{GOODS, Upstream};

/// The dollar of the chain that the devnet poses as.
const USDC: &str = "0x036CbD53842c5426634e7929541eC2318f3dCF7e";
/// Nobody listens there.
const NOBODY: &str = "http://127.0.0.1:9";

/// A server as they are: it serves what it has, and knows that two names are one page.
fn shop(target: &str) -> (StatusCode, String) {
    match target.split('?').next().unwrap_or_default() {
        "/paid/weather" | "/report" | "/report.json" => (StatusCode::OK, GOODS.to_owned()),
        "/" => (StatusCode::OK, "welcome".to_owned()),
        _ => (StatusCode::NOT_FOUND, "no such page".to_owned()),
    }
}

async fn town() -> Town {
    Town::with(TownOptions {
        upstream: Some(Upstream::serving(shop).await),
        ..TownOptions::default()
    })
    .await
}

/// The arguments of a check of a gate that is as it should be.
fn good(town: &Town) -> Vec<String> {
    let mut args = town.gate_args("local", &town.rpc());
    args[0] = "check".to_owned();
    set(&mut args, "--route", "/paid/*=$0.01");
    args.extend(strings(&["--json", "--path", "/paid/weather"]));
    args
}

fn findings<'a>(told: &'a Value, level: &str) -> Vec<&'a Value> {
    let all = told["findings"].as_array().unwrap();
    all.iter().filter(|one| one["level"] == level).collect()
}

/// What is missing of a check that shall be red at this line, for this reason, with this cure.
fn fault(done: &Finished, name: &str, why: &str, cure: &str) -> Result<(), String> {
    let told = done.json();
    let says = |one: &&&Value| {
        one["name"] == name
            && one["message"].as_str().unwrap().contains(why)
            && one["cure"].as_str().is_some_and(|text| text.contains(cure))
    };
    let red = findings(&told, "red");
    let is_whole = red.iter().all(|one| one["cure"].is_string());
    let is_told = done.code == Some(1) && told["ok"] == false && is_whole;
    match is_told && red.iter().any(|one| says(&one)) && !done.stderr.contains("panicked") {
        true => Ok(()),
        false => Err(format!(
            "no red line {name} with {why:?} and {cure:?}: {told:#}"
        )),
    }
}

#[track_caller]
fn is_red(done: &Finished, name: &str, why: &str, cure: &str) {
    fault(done, name, why, cure).unwrap_or_else(|fault| panic!("{fault}"));
}

#[tokio::test]
async fn a_good_configuration_is_all_green_and_nothing_is_paid() {
    let town = town().await;
    let done = town.run(&good(&town)).await.exits(0);
    let told = done.json();
    let count = |level| told[level].as_u64().unwrap();
    assert_eq!((count("yellow"), count("red")), (0, 0), "{told:#}");
    assert_eq!(told["ok"], true);
    for name in [
        "config", "payee", "ledger", "node", "token", "gas", "listen", "upstream", "unpaid",
        "offer", "terms", "version", "header", "cache", "cors", "spelling",
    ] {
        let green = findings(&told, "green");
        assert!(
            green.iter().any(|one| one["name"] == name),
            "{name}: {told:#}"
        );
    }
    town.nothing_was_paid();
    assert_eq!(town.chain.nonce(SIGNER.address), 0);
    // In lines, and to no terminal: no colours.
    let lines: Vec<String> = good(&town)
        .into_iter()
        .filter(|arg| arg != "--json")
        .collect();
    let done = town.run(&lines).await.exits(0);
    assert!(done.stdout.contains("  ok   node"), "{}", done.stdout);
    assert!(done.stdout.trim_end().ends_with("lines.") && done.stdout.contains("All green"));
    assert!(!done.stdout.contains('\u{1b}'));
}

#[tokio::test]
async fn a_gate_that_runs_is_asked_itself() {
    let town = town().await;
    let (_gate, url) = town.gate(&["--route", "/report=$0.02"]).await;
    let listen = url.trim_start_matches("http://").to_owned();
    let mut args = good(&town);
    set(&mut args, "--listen", &listen);
    set(&mut args, "--route", "GET /paid/*=$0.01");
    // What it sells is not what is checked.
    let done = town.run(&args).await;
    assert!(done.stdout.contains("The gate runs"), "{}", done.stdout);
    let mut dearer = args.clone();
    set(&mut dearer, "--route", "GET /paid/*=$0.03");
    is_red(
        &town.run(&dearer).await,
        "terms",
        "10000 units",
        "Start the gate again",
    );
    town.run(&args).await.exits(0);
    town.nothing_was_paid();
}

#[tokio::test]
async fn money_that_would_go_wrong_is_red() {
    let town = town().await;
    let other = Devnet::builder().preset(Preset::Base).build().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = other.serve(listener).unwrap();
    let network = |url: &str| format!("{NETWORK}={url}");
    let lower = PAYEE.to_lowercase().replace("0x5e", "0x5E");
    let signer = SIGNER.address.to_string();
    let zero = Address::ZERO.to_string();
    town.write_private("junk.key", "not a key");
    let cases = [
        (
            "--network",
            network(&other.url()),
            "node",
            "serves eip155:8453",
            "Correct its RPC URL",
        ),
        (
            "--network",
            network(NOBODY),
            "node",
            "cannot be asked",
            "Correct its RPC URL, or start it",
        ),
        (
            "--pay-to",
            USDC.to_owned(),
            "payee",
            "contract of USDC itself",
            "your own address",
        ),
        (
            "--pay-to",
            zero,
            "payee",
            "zero address",
            "your own address",
        ),
        (
            "--pay-to",
            lower,
            "payee",
            "checksum",
            "Copy the address again",
        ),
        (
            "--pay-to",
            signer,
            "payee",
            "pays for gas",
            "whose key is elsewhere",
        ),
        (
            "--pay-to",
            "0x1234".to_owned(),
            "payee",
            "no address",
            "40 hex digits",
        ),
        (
            "--signer-key-file",
            town.arg("junk.key"),
            "signer",
            "private key",
            "64 hex digits",
        ),
        (
            "--signer-key-file",
            town.arg("none.key"),
            "signer",
            "cannot be read",
            "readable file",
        ),
        (
            "--ledger",
            "sqlite:/proc/gate.db".to_owned(),
            "ledger",
            "cannot be created",
            "writable",
        ),
        (
            "--upstream",
            NOBODY.to_owned(),
            "upstream",
            "does not answer",
            "Start it",
        ),
        (
            "--facilitator",
            NOBODY.to_owned(),
            "facilitator",
            "does not say what it supports",
            "facilitator = \"local\"",
        ),
        (
            "--listen",
            town.upstream.url().trim_start_matches("http://").to_owned(),
            "listen",
            "Somebody else",
            "elsewhere",
        ),
        (
            "--route",
            "/paid/*=$0.0000001".to_owned(),
            "route",
            "digits after the point",
            "Round it",
        ),
        (
            "--route",
            "/paid/*=free".to_owned(),
            "config",
            "costs nothing",
            "Leave the route out",
        ),
    ];
    let mut faults = Vec::new();
    for (flag, value, name, why, cure) in cases {
        let mut args = good(&town);
        set(&mut args, flag, &value);
        faults.extend(fault(&town.run(&args).await, name, why, cure).err());
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    town.chain.set_balance(SIGNER.address, U256::ZERO);
    is_red(
        &town.run(&good(&town)).await,
        "gas",
        "nothing to pay gas with",
        "Send it some",
    );
    town.chain
        .set_balance(SIGNER.address, U256::from(1_000_000_000));
    is_red(
        &town.run(&good(&town)).await,
        "gas",
        "less than one payment's gas",
        "Send it some",
    );
    town.nothing_was_paid();
}

#[tokio::test]
async fn a_token_that_is_not_the_one_of_the_table_is_red() {
    let town = town().await;
    let usdc: Address = USDC.parse().unwrap();
    // Answers 18 to everything.
    let eighteen = Bytes::from(vec![0x60, 18, 0x60, 0, 0x52, 0x60, 32, 0x60, 0, 0xf3]);
    town.chain.set_code(usdc, eighteen).unwrap();
    is_red(
        &town.run(&good(&town)).await,
        "token",
        "18 decimals on chain",
        "price would be wrong",
    );
    town.chain.set_code(usdc, Bytes::new()).unwrap();
    is_red(
        &town.run(&good(&town)).await,
        "token",
        "no contract",
        "Correct the asset",
    );
    let dollar = Dollar {
        address: usdc,
        name: "Fake".to_owned(),
        version: "7".to_owned(),
    };
    let fake = Devnet::builder()
        .preset(Preset::Local(84532))
        .extra_dollar(dollar)
        .build()
        .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let fake = fake.serve(listener).unwrap();
    let mut args = good(&town);
    set(&mut args, "--network", &format!("{NETWORK}={}", fake.url()));
    is_red(
        &town.run(&args).await,
        "token",
        "another EIP-712 domain",
        "sell for another asset",
    );
}

#[tokio::test]
async fn a_way_to_pay_whose_contract_is_missing_is_red() {
    let town = town().await;
    let mut args = good(&town);
    set(&mut args, "--route", "/paid/*=$0.01; methods=permit2");
    town.run(&args).await.exits(0);
    let proxy = tollway_evm::EXACT_PROXY;
    town.chain.set_code(proxy, Bytes::new()).unwrap();
    is_red(
        &town.run(&args).await,
        "contract",
        "is not on",
        "Take this way to pay",
    );
    set(&mut args, "--route", "/paid/*=up to $0.01");
    town.run(&args).await.exits(0);
    town.chain
        .set_code(tollway_evm::PERMIT2, Bytes::new())
        .unwrap();
    is_red(
        &town.run(&args).await,
        "contract",
        "Permit2 (",
        "Take this way to pay",
    );
}

/// Whoever looks may be another user than the one that will write it.
#[tokio::test]
async fn a_ledger_that_is_not_there_is_not_made() {
    let town = town().await;
    let args = good(&town);
    let done = town.run(&args).await.exits(0);
    assert!(
        done.stdout.contains("There is no ledger yet"),
        "{}",
        done.stdout
    );
    assert!(!town.path("gate.db").exists());
    let nowhere = format!("sqlite:{}", town.path("nowhere/gate.db").display());
    let mut args = args;
    set(&mut args, "--ledger", &nowhere);
    is_red(
        &town.run(&args).await,
        "ledger",
        "cannot be created",
        "Make a",
    );
}

/// An answer to an unpriced spelling shows that it was served; by then it was done.
#[tokio::test]
async fn a_route_that_changes_something_is_not_asked_by_other_names_unasked() {
    let town = town().await;
    let mut args = good(&town);
    set(&mut args, "--route", "POST /paid/*=$0.01");
    let done = town.run(&args).await.exits(0);
    let others = ["/PAID/WEATHER", "/index.php/paid/weather", "/Paid/weather"];
    let asked = || {
        others
            .iter()
            .map(|at| town.upstream.asked(at))
            .sum::<usize>()
    };
    assert!(done.stdout.contains("were not tried"), "{}", done.stdout);
    assert_eq!(asked(), 0);
    args.push("--try-changes".to_owned());
    let done = town.run(&args).await.exits(0);
    assert!(!done.stdout.contains("were not tried"), "{}", done.stdout);
    assert!(asked() > 0);
}

#[tokio::test]
async fn a_facilitator_that_does_not_list_what_is_offered_is_red() {
    let town = town().await;
    let kinds = |network: &str| {
        let kind = json!({ "x402Version": 2, "scheme": "exact", "network": network });
        let said = json!({ "kinds": [kind], "extensions": [], "signers": {} });
        let app = axum::Router::new().route("/supported", get(move || async move { Json(said) }));
        async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            tokio::spawn(async move { axum::serve(listener, app).await });
            url
        }
    };
    let mut args = good(&town);
    set(&mut args, "--facilitator", &kinds(NETWORK).await);
    let told = town.run(&args).await.exits(0).json();
    assert_eq!(told["yellow"], 0, "{told:#}");
    set(&mut args, "--facilitator", &kinds("eip155:8453").await);
    is_red(
        &town.run(&args).await,
        "facilitator",
        "does not list exact",
        "Choose a facilitator",
    );
}

#[tokio::test]
async fn another_spelling_that_the_server_behind_serves_is_red() {
    let town = town().await;
    let mut args = good(&town);
    set(&mut args, "--route", "/report=$0.01");
    set(&mut args, "--path", "/report");
    is_red(
        &town.run(&args).await,
        "spelling",
        "/report.json",
        "with a * in the route",
    );
    set(&mut args, "--route", "/report*=$0.01");
    town.run(&args).await.exits(0);
}

#[tokio::test]
async fn what_is_only_worth_a_look_is_yellow_and_not_red() {
    let town = town().await;
    let wallet = Contract::SmartWallet.runtime();
    town.chain.set_code(PAYEE.parse().unwrap(), wallet).unwrap();
    let mut args = good(&town);
    args.extend(strings(&[
        "--public-url",
        "http://api.example",
        "--route",
        "/paid/weather=$9",
    ]));
    let told = town.run(&args).await.exits(0).json();
    let yellow = findings(&told, "yellow");
    for (name, why) in [
        ("payee", "is a contract"),
        ("listen", "http://api.example was not asked"),
        ("route", "/paid/* comes before it"),
        ("transport", "plain HTTP"),
    ] {
        let says =
            |one: &&&Value| one["name"] == name && one["message"].as_str().unwrap().contains(why);
        assert!(yellow.iter().any(|one| says(&one)), "{name}: {told:#}");
    }
    assert!(yellow.iter().all(|one| one["cure"].is_string()), "{told:#}");
}

#[tokio::test]
async fn a_file_is_told_by_its_line_and_a_missing_one_by_the_exit_code() {
    let town = town().await;
    std::fs::write(
        town.path("typo.toml"),
        "[gate]\nlisten = \"127.0.0.1:0\"\nupstrem = \"http://x\"\n",
    )
    .unwrap();
    let done = town
        .run(&["check", "--json", "--config", &town.arg("typo.toml")])
        .await;
    is_red(&done, "config", "line 3", "Correct that line");
    for (args, cure) in [
        (
            vec!["check", "--config", "none.toml"],
            "readable --config file",
        ),
        (vec!["check"], "name a --config file"),
        (vec!["check", "--confg", "x"], "--config"),
        (
            vec!["check", "http://127.0.0.1:1/x", "--pay-to", PAYEE],
            "name one of them",
        ),
    ] {
        let done = town.run(&args).await.exits(2);
        assert!(
            done.stderr.contains(cure) && done.stdout.is_empty(),
            "{args:?}: {done:?}"
        );
    }
}

#[tokio::test]
async fn a_check_disturbs_no_gate_that_settles() {
    let town = town().await;
    let (gate, url) = town.gate(&[]).await;
    let listen = url.trim_start_matches("http://").to_owned();
    let mut args = good(&town);
    set(&mut args, "--listen", &listen);
    set(&mut args, "--route", "GET /paid/*=$0.01");
    let (checked, paid) = tokio::join!(town.run(&args), async {
        town.pay(&format!("{url}/paid/weather"), &[]).await
    });
    checked.exits(0);
    paid.exits(0);
    town.paid_exactly_once();
    gate.signal("TERM").await;
    let _ = Program::end(gate).await.exits(0);
}
