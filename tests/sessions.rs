//! Session keys as people use them: the commands of the README, on a real Starknet
//! node.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;
use tollway_core::{Amount, Clock, GasPurse as _};
use tollway_ledger::{DailyPurse, Store};
use tollway_starknet::{Call, Felt, OutsideExecution, SignedExecution, StarkKey, felt, selectors};
use tollway_test_starknet::{ETH, Funded, Node, World, address, network, number};

use crate::harness::program::{Finished, Program, run, tollway};
use crate::harness::raw;
use crate::harness::upstream::{GOODS, Upstream};

const README: &str = include_str!("../README.md");
const PAYEE: &str = "0x2dd1b492765c064eac4039e3841aa5f382773b598097a40073bd8b48170ab57";
/// The node has no dollars: its ether stands in for them.
const DIME: u128 = 100_000_000_000_000_000;
/// The node's gas is dearer than a public network's.
const MAX_FEE: &str = "40";

/// A node, a seller behind a gate, and an account with a file for its owner's key.
struct Place {
    dir: TempDir,
    world: World,
    gate: String,
    _programs: Vec<Program>,
    _upstream: Upstream,
}

impl Place {
    async fn new() -> Self {
        let dir = TempDir::with_prefix("tollway-session-").unwrap();
        let world = World::new().await;
        let upstream = Upstream::start().await;
        let mut place = Self {
            dir,
            world,
            gate: String::new(),
            _programs: Vec::new(),
            _upstream: upstream.clone(),
        };
        place.write("executor.key", &place.world.executor.key.clone());
        place.write("owner.key", &place.world.payer.key.clone());
        place.write("stranger.key", &place.world.stranger.key.clone());
        place.write("agent.pass", "correct horse battery staple");
        let gate = place.command(&[
            "gate",
            "--listen",
            "127.0.0.1:0",
            "--upstream",
            upstream.url(),
            "--route",
            "GET /paid/*=$0.10",
            "--route",
            "GET /sdk/*=$0.10; starknet-sdk",
            "--pay-to",
            PAYEE,
            "--network",
            &place.network(),
            "--facilitator",
            "local",
            "--starknet-account",
            &place.account_file(&place.world.executor.clone(), "executor.key"),
            "--starknet-max-fee",
            MAX_FEE,
            "--ledger",
            &place.ledger("gate.db"),
        ]);
        let (program, url) = Program::serve(gate).await;
        place.gate = url;
        place._programs.push(program);
        place
    }

    /// A file that only its owner may read.
    fn write(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn network(&self) -> String {
        format!("starknet-sepolia={}", self.world.node.url)
    }

    fn ledger(&self, name: &str) -> String {
        format!("sqlite:{}", self.dir.path().join(name).display())
    }

    fn account_file(&self, of: &Funded, file: &str) -> String {
        format!("{}={file}", of.address)
    }

    fn command(&self, args: &[&str]) -> tokio::process::Command {
        let mut command = tollway(self.dir.path(), args);
        command.env("TOLLWAY_PASSPHRASE_FILE", "agent.pass").env(
            "TOLLWAY_ADD_ASSET",
            format!("USDC={ETH},18,starknet-sepolia"),
        );
        command
    }

    async fn run(&self, args: &[&str]) -> Finished {
        run(self.command(args)).await
    }

    /// A session of the payer's account, made and registered.
    async fn session(&self, name: &str, max_calls: &str, lifetime: &str) {
        self.create(name, &self.world.payer.address.clone(), max_calls, lifetime)
            .await;
        self.run(&[
            "session",
            "register",
            name,
            "--owner-key-file",
            "owner.key",
            "--max-fee",
            MAX_FEE,
        ])
        .await
        .exits(0);
    }

    async fn create(&self, name: &str, account: &str, max_calls: &str, lifetime: &str) {
        self.run(&[
            "session",
            "create",
            name,
            "--network",
            &self.network(),
            "--account",
            account,
            "--lifetime",
            lifetime,
            "--max-calls",
            max_calls,
            "--max-per-call",
            "0.10",
        ])
        .await
        .exits(0);
    }

    async fn status(&self, name: &str) -> Value {
        let told = self.run(&["session", "status", name, "--json"]).await;
        told.exits(0).json()
    }

    fn goods(&self, n: u32) -> String {
        format!("{}/paid/{n}", self.gate)
    }

    /// What the payee has.
    async fn earned(&self) -> u128 {
        ether(&self.world.node, &self.world, PAYEE).await
    }
}

async fn ether(_node: &Node, world: &World, of: &str) -> u128 {
    use tollway_core::Wallet as _;
    let wallet = world.owner_wallet(&Funded {
        address: of.to_owned(),
        key: "0x1".to_owned(),
    });
    let balance = wallet.balance(&network(), &address(ETH)).await.unwrap();
    balance.unwrap().as_u128().unwrap()
}

/// The commands below a line of the README, each as words.
fn commands_below(line: &str) -> Vec<Vec<String>> {
    let (_, rest) = README.split_once(line).expect("the README has the line");
    let (_, block) = rest.split_once("```console\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let joined = block.replace("\\\n", " ");
    let command = |line: &str| {
        let (line, _) = line.split_once("  #").unwrap_or((line, ""));
        line.strip_prefix("$ tollway ")
            .map(|args| args.split_whitespace().map(str::to_owned).collect())
    };
    joined.lines().filter_map(command).collect()
}

#[tokio::test]
async fn the_three_commands_of_the_readme_let_an_agent_pay() {
    let place = Place::new().await;
    let commands =
        commands_below("let an agent pay for six hours, at most 100 calls of at most $0.10");
    assert_eq!(commands.len(), 3, "{commands:?}");
    let before = place.earned().await;
    let mut last = None;
    for command in &commands {
        let words: Vec<String> = command
            .iter()
            .map(|word| {
                word.replace("https://your.rpc", &place.world.node.url)
                    .replace("0xYourAccount", &place.world.payer.address)
                    .replace("https://api.example", &place.gate)
            })
            .collect();
        let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
        if words[1] == "register" {
            words.extend(["--max-fee", MAX_FEE]);
        }
        last = Some(place.run(&words).await.exits(0));
    }
    assert_eq!(last.unwrap().stdout, GOODS);
    assert_eq!(place.earned().await - before, DIME);
    let status = place.status("agent").await;
    assert_eq!(status["standing"], "active");
    assert_eq!(
        (&status["maxCalls"], &status["callsUsed"]),
        (&json!(100), &json!(1))
    );
    assert_eq!(status["entrypoints"], json!(["transfer"]));
    assert_eq!(status["policy"]["maxPerCall"], "0.1");
    assert_eq!(status["policy"]["maxPerWindow"], "10");
    let now = tollway_core::SystemClock.now().secs();
    let left = status["validUntil"].as_u64().unwrap() - now;
    assert!((6 * 3600 - 300..=6 * 3600).contains(&left), "{left}");
}

#[tokio::test]
async fn processes_that_share_a_session_never_pay_more_often_than_it_may() {
    let place = Place::new().await;
    place.session("agent", "3", "6h").await;
    let before = place.earned().await;
    let mut buyers = tokio::task::JoinSet::new();
    for n in 0..6 {
        let url = place.goods(n);
        let command = place.command(&["pay", &url, "--session", "agent", "--json"]);
        buyers.spawn(run(command));
    }
    let ended = buyers.join_all().await;
    let paid = ended.iter().filter(|one| one.code == Some(0)).count();
    assert_eq!(paid, 3, "{ended:#?}");
    for one in ended.iter().filter(|one| one.code != Some(0)) {
        assert_eq!(one.code, Some(4), "{one:?}");
        let code = one.json()["errorReason"].clone();
        assert_eq!(code, "session_max_calls_exceeded", "{one:?}");
    }
    assert_eq!(place.earned().await - before, DIME * 3);
    assert_eq!(place.status("agent").await["callsLeft"], 0);
    // With the owner's key at hand, the owner pays on.
    let owner = place.account_file(&place.world.payer.clone(), "owner.key");
    let url = place.goods(9);
    place
        .run(&[
            "pay",
            &url,
            "--session",
            "agent",
            "--starknet-account",
            &owner,
        ])
        .await
        .exits(0);
    assert_eq!(place.earned().await - before, DIME * 4);
}

#[tokio::test]
async fn what_a_limit_forbids_the_owner_does_not_pay_either() {
    let place = Place::new().await;
    place.session("agent", "5", "6h").await;
    let before = place.earned().await;
    let owner = place.account_file(&place.world.payer.clone(), "owner.key");
    let url = place.goods(1);
    let paying = [
        "pay",
        &url,
        "--session",
        "agent",
        "--starknet-account",
        &owner,
        "--json",
    ];
    let refused = async |more: &[&str], code: &str| {
        let told = place
            .run(&[&paying[..], more].concat())
            .await
            .exits(4)
            .json();
        assert_eq!(told["errorReason"], code);
    };
    refused(&["--max", "0.05"], "policy_amount").await;
    refused(&["--payee", "0x1234"], "policy_payee").await;
    place
        .run(&[
            "session",
            "policy",
            "set",
            "agent",
            "--max-per-call",
            "0.01",
            "--max-per-window",
            "0.02",
            "--owner-key-file",
            "owner.key",
            "--max-fee",
            MAX_FEE,
        ])
        .await
        .exits(0);
    refused(&[], "session_policy_exceeded").await;
    assert_eq!(place.earned().await, before);
    // Without its policy it would be bound by its calls alone: that is asked for.
    let remove = ["session", "policy", "remove", "agent"];
    let by_owner = ["--owner-key-file", "owner.key", "--max-fee", MAX_FEE];
    let told = place.run(&[&remove[..], &by_owner].concat()).await.exits(2);
    assert!(told.stderr.contains("--everything"), "{}", told.stderr);
    refused(&[], "session_policy_exceeded").await;
    place
        .run(&[&remove[..], &["--everything"], &by_owner].concat())
        .await
        .exits(0);
    // Whoever is paid is compared as a number.
    let padded = PAYEE.replace("0x", "0x0");
    place
        .run(&["pay", &url, "--session", "agent", "--payee", &padded])
        .await
        .exits(0);
    assert_eq!(place.earned().await - before, DIME);
}

#[tokio::test]
async fn a_session_that_is_over_is_paid_for_by_the_owner_and_renewed() {
    let place = Place::new().await;
    // Shorter than a payment of this seller lives.
    place.session("agent", "5", "60s").await;
    let url = place.goods(1);
    let told = place
        .run(&["pay", &url, "--session", "agent", "--json"])
        .await;
    assert_eq!(told.exits(4).json()["errorReason"], "session_expired");
    let owner = place.account_file(&place.world.payer.clone(), "owner.key");
    place
        .run(&[
            "pay",
            &url,
            "--session",
            "agent",
            "--starknet-account",
            &owner,
        ])
        .await
        .exits(0);
    let old = place.status("agent").await["publicKey"].clone();
    place
        .run(&[
            "session",
            "renew",
            "agent",
            "--lifetime",
            "2h",
            "--owner-key-file",
            "owner.key",
            "--max-fee",
            MAX_FEE,
        ])
        .await
        .exits(0);
    let status = place.status("agent").await;
    assert_ne!(status["publicKey"], old);
    let paid = place
        .run(&["pay", &place.goods(2), "--session", "agent"])
        .await
        .exits(0);
    assert!(paid.stderr.contains("4 calls left"), "{}", paid.stderr);
    place
        .run(&[
            "session",
            "revoke",
            "agent",
            "--owner-key-file",
            "owner.key",
            "--max-fee",
            MAX_FEE,
        ])
        .await
        .exits(0);
    let gone = place.run(&["session", "status", "agent"]).await.exits(2);
    assert!(gone.stderr.contains("no session agent"), "{}", gone.stderr);
}

#[tokio::test]
async fn a_renewal_whose_answer_was_lost_is_found_by_the_next_and_ended_with_the_session() {
    let place = Place::new().await;
    let sessions = place.dir.path().join("tollway-home/sessions");
    place.session("agent", "5", "6h").await;
    // Fresh keys that the account knows, as a renewal leaves them that never heard so.
    for (name, staged) in [("one", "0000000000000001"), ("two", "0000000000000002")] {
        place.session(name, "5", "6h").await;
        let kept = std::fs::read_to_string(sessions.join(format!("{name}.json"))).unwrap();
        place.write(&format!("tollway-home/sessions/.agent.{staged}.new"), &kept);
    }
    let by_owner = ["--owner-key-file", "owner.key", "--max-fee", MAX_FEE];
    let renew = ["session", "renew", "agent"];
    let renewed = place.run(&[&renew[..], &by_owner].concat()).await.exits(0);
    assert!(renewed.stderr.contains("after all"), "{}", renewed.stderr);
    let key = async |name: &str| place.status(name).await["publicKey"].clone();
    let (now, one, two) = (key("agent").await, key("one").await, key("two").await);
    assert!(now == one || now == two, "{now}");
    // The other one goes with the session.
    let revoke = ["session", "revoke", "agent"];
    place.run(&[&revoke[..], &by_owner].concat()).await.exits(0);
    for name in ["one", "two"] {
        assert_eq!(place.status(name).await["standing"], "revoked", "{name}");
    }
    let left = std::fs::read_dir(&sessions).unwrap();
    let left: Vec<_> = left.map(|file| file.unwrap().file_name()).collect();
    assert!(
        left.iter()
            .all(|name| !name.to_string_lossy().contains("agent")),
        "{left:?}"
    );
}

#[tokio::test]
async fn a_session_key_goes_to_the_other_format_and_back_and_never_lies_open() {
    let place = Place::new().await;
    let account = place.world.payer.address.clone();
    place.create("agent", &account, "5", "1h").await;
    place.write("sdk.pass", "their password");
    let exported = place
        .run(&[
            "session",
            "export",
            "agent",
            "--salted-password-file",
            "sdk.pass",
        ])
        .await
        .exits(0);
    assert!(
        exported.stdout.starts_with("U2FsdGVkX1"),
        "{}",
        exported.stdout
    );
    place.write("key.txt", &exported.stdout);
    let imported = place
        .run(&[
            "session",
            "import",
            "twin",
            "--salted-file",
            "key.txt",
            "--salted-password-file",
            "sdk.pass",
            "--network",
            &place.network(),
            "--account",
            &account,
        ])
        .await
        .exits(0);
    let listed = place
        .run(&["session", "list", "--json"])
        .await
        .exits(0)
        .json();
    assert_eq!(listed[0]["publicKey"], listed[1]["publicKey"]);
    assert_eq!(listed[1]["publicKey"], imported.stdout.trim());
    let kept = place.dir.path().join("tollway-home/sessions/agent.json");
    assert_eq!(mode(&kept), 0o600);
    place.write("other.pass", "something else");
    let wrong = place
        .run(&[
            "session",
            "export",
            "agent",
            "--passphrase-file",
            "other.pass",
            "--salted-password-file",
            "sdk.pass",
        ])
        .await
        .exits(4);
    assert!(
        wrong.stderr.contains("session_decryption_failed"),
        "{}",
        wrong.stderr
    );
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A facilitator that sponsors one caller.
async fn sponsor(place: &Place) -> (Program, String) {
    let key = place
        .run(&["api-key", "acme", "--output", "acme.key"])
        .await
        .exits(0);
    place.write("tollway.toml", &key.stdout);
    let facilitator = place.command(&[
        "facilitator",
        "--config",
        "tollway.toml",
        "--listen",
        "127.0.0.1:0",
        "--network",
        &place.network(),
        "--starknet-account",
        &place.account_file(&place.world.executor.clone(), "executor.key"),
        "--sponsor-account",
        &place.account_file(&place.world.stranger.clone(), "stranger.key"),
        "--starknet-max-fee",
        MAX_FEE,
        "--sponsor-fees-per-day",
        "1000",
        "--ledger",
        &place.ledger("facilitator.db"),
    ]);
    Program::serve(facilitator).await
}

#[tokio::test]
async fn a_sponsor_pays_every_fee_of_a_session_from_deployment_to_revocation() {
    let place = Place::new().await;
    let (_program, url) = sponsor(&place).await;
    let gasless = ["--sponsor", &url, "--sponsor-key-file", "acme.key"];
    let with = |args: &[&str]| -> Vec<String> {
        let all = [args, &gasless].concat();
        all.into_iter().map(str::to_owned).collect()
    };
    let run = async |args: &[&str]| {
        let all = with(args);
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        place.run(&all).await
    };
    let deployed = run(&[
        "session",
        "deploy",
        "--network",
        &place.network(),
        "--new-key",
        "--owner-key-file",
        "new.key",
    ])
    .await
    .exits(0);
    let account = deployed.stdout.trim().to_owned();
    // It has dollars, and nothing for fees.
    let params =
        json!({"address": account, "amount": 1_000_000_000_000_000_000_u64, "unit": "WEI"});
    place.world.node.ask("devnet_mint", params).await;
    place.create("agent", &account, "10", "6h").await;
    run(&[
        "session",
        "register",
        "agent",
        "--owner-key-file",
        "new.key",
    ])
    .await
    .exits(0);
    let before = place.earned().await;
    place
        .run(&["pay", &place.goods(1), "--session", "agent"])
        .await
        .exits(0);
    assert_eq!(place.earned().await - before, DIME);
    let call = format!("{ETH}:transfer:{PAYEE},100000000000000000,0");
    run(&["session", "execute", "agent", "--call", &call])
        .await
        .exits(0);
    assert_eq!(place.earned().await - before, DIME * 2);
    assert_eq!(place.status("agent").await["callsUsed"], 2);
    run(&["session", "renew", "agent", "--owner-key-file", "new.key"])
        .await
        .exits(0);
    run(&["session", "revoke", "agent", "--owner-key-file", "new.key"])
        .await
        .exits(0);
    assert_eq!(
        place.world.balance(&account).await,
        0,
        "it never had any STRK"
    );
}

#[tokio::test]
async fn a_sponsor_sends_for_known_callers_only_what_is_listed() {
    let place = Place::new().await;
    let (_program, url) = sponsor(&place).await;
    place.session("agent", "5", "6h").await;
    let execute = async |key: &str, call: &str| {
        place
            .run(&[
                "session",
                "execute",
                "agent",
                "--call",
                call,
                "--sponsor",
                &url,
                "--sponsor-key-file",
                key,
            ])
            .await
    };
    let transfer = format!("{ETH}:transfer:{PAYEE},1,0");
    place.write("other.key", "not-the-key");
    let stranger = execute("other.key", &transfer).await.exits(5);
    assert!(
        stranger.stderr.contains("invalid_api_key"),
        "{}",
        stranger.stderr
    );
    execute("acme.key", &transfer).await.exits(0);
    // The session may; the sponsor does not.
    place
        .run(&[
            "session",
            "create",
            "free",
            "--network",
            &place.network(),
            "--account",
            &place.world.payer.address,
            "--everything",
        ])
        .await
        .exits(0);
    place
        .run(&[
            "session",
            "register",
            "free",
            "--owner-key-file",
            "owner.key",
            "--max-fee",
            MAX_FEE,
        ])
        .await
        .exits(0);
    let approve = format!("{ETH}:approve:{PAYEE},1,0");
    let unlisted = place
        .run(&[
            "session",
            "execute",
            "free",
            "--call",
            &approve,
            "--sponsor",
            &url,
            "--sponsor-key-file",
            "acme.key",
        ])
        .await
        .exits(5);
    assert!(
        unlisted.stderr.contains("sponsor_not_allowed"),
        "{}",
        unlisted.stderr
    );
    // Another account pays for it all the same.
    let sender = place.account_file(&place.world.executor.clone(), "executor.key");
    place
        .run(&[
            "session",
            "execute",
            "free",
            "--call",
            &approve,
            "--sender",
            &sender,
            "--max-fee",
            MAX_FEE,
        ])
        .await
        .exits(0);
}

/// What the payer's owner lets the sponsor send: some dust, under a nonce.
fn dust(place: &Place, from: &str, nonce: u8, amount: u8) -> SignedExecution {
    let execution = OutsideExecution {
        caller: number(&place.world.stranger.address),
        nonce: Felt::from(nonce),
        execute_after: 1,
        execute_before: u128::from(tollway_core::SystemClock.now().secs() + 600),
        calls: vec![Call {
            to: number(ETH),
            selector: selectors::TRANSFER,
            calldata: vec![number(PAYEE), Felt::from(amount), Felt::ZERO],
        }],
    };
    let key = StarkKey::from_hex(&place.world.payer.key).unwrap();
    let chain_id = felt::chain_id(&network()).unwrap();
    let signature = key.sign(&execution.hash(&chain_id, &number(from))).unwrap();
    SignedExecution {
        from: number(from),
        execution,
        signature: signature.to_vec(),
    }
}

#[tokio::test]
async fn a_sponsor_sends_for_session_accounts_and_tells_each_execution_apart() {
    let place = Place::new().await;
    let (_program, url) = sponsor(&place).await;
    let key = std::fs::read_to_string(place.dir.path().join("acme.key")).unwrap();
    let chain_id = felt::chain_id(&network()).unwrap();
    let ask = async |signed: &SignedExecution| -> Value {
        let execution = signed.to_payload(&chain_id);
        let body = json!({ "network": network(), "execution": execution });
        let asked = raw::client().post(format!("{url}/sponsor"));
        let asked = asked.bearer_auth(key.trim()).body(body.to_string());
        let answer = asked.send().await.unwrap().bytes().await.unwrap();
        serde_json::from_slice(&answer).unwrap()
    };
    let payer = place.world.payer.address.clone();
    let before = place.earned().await;
    let first = dust(&place, &payer, 7, 1);
    let sent = ask(&first).await;
    assert_eq!(sent["success"], true, "{sent}");
    assert_eq!(ask(&first).await["transaction"], sent["transaction"]);
    // Another execution under the same nonce is not the one that was sent.
    let other = ask(&dust(&place, &payer, 7, 2)).await;
    assert_eq!(other["errorReason"], "simulation_failed", "{other}");
    assert_eq!(place.earned().await - before, 1);
    // A contract that is no such account may do anything with what it is called with.
    let foreign = ask(&dust(&place, ETH, 8, 1)).await;
    assert_eq!(foreign["errorReason"], "sponsor_not_allowed", "{foreign}");
}

#[tokio::test]
async fn what_a_session_executes_counts_against_its_limits_on_our_side_too() {
    let place = Place::new().await;
    let (_program, url) = sponsor(&place).await;
    place.session("agent", "9", "6h").await;
    // The same key, with less allowed here than the account would let it do.
    let sessions = place.dir.path().join("tollway-home/sessions");
    let kept = std::fs::read_to_string(sessions.join("agent.json")).unwrap();
    let mut kept: Value = serde_json::from_str(&kept).unwrap();
    kept["maxCalls"] = json!(3);
    place.write("tollway-home/sessions/twin.json", &kept.to_string());
    let execute = async |calls: &[&str]| {
        let calls = calls.iter().flat_map(|call| ["--call", call]);
        let gasless = ["--sponsor", &url, "--sponsor-key-file", "acme.key"];
        let words = ["session", "execute", "twin"].into_iter().chain(calls);
        let words: Vec<&str> = words.chain(gasless).collect();
        place.run(&words).await
    };
    let one = format!("{ETH}:transfer:{PAYEE},1,0");
    let dear = format!("{ETH}:transfer:{PAYEE},100000000000000001,0");
    let said = execute(&[&dear]).await.exits(4);
    assert!(
        said.stderr.contains("session_policy_exceeded"),
        "{}",
        said.stderr
    );
    // Four at once of two calls each: one fits, and nothing of the others is signed.
    let two = [one.as_str(), one.as_str()];
    let all = tokio::join!(execute(&two), execute(&two), execute(&two), execute(&two));
    let all = [all.0, all.1, all.2, all.3];
    let (made, refused): (Vec<_>, Vec<_>) = all.into_iter().partition(|d| d.code == Some(0));
    for refused in &refused {
        let said = &refused.stderr;
        assert!(said.contains("session_max_calls_exceeded"), "{said}");
    }
    assert_eq!((made.len(), refused.len()), (1, 3));
    assert_eq!(place.status("agent").await["callsUsed"], 2);
    // Payments are held to what is left of the same.
    let pay = async |n| {
        place
            .run(&["pay", &place.goods(n), "--session", "twin"])
            .await
    };
    pay(1).await.exits(0);
    pay(2).await.exits(4);
    execute(&[&one]).await.exits(4);
    assert_eq!(place.status("agent").await["callsUsed"], 3);
}

#[tokio::test]
async fn what_a_sponsor_paid_is_counted_in_its_ledger() {
    let place = Place::new().await;
    let (program, url) = sponsor(&place).await;
    let gasless = ["--sponsor", &url, "--sponsor-key-file", "acme.key"];
    place.session("agent", "5", "6h").await;
    let call = format!("{ETH}:transfer:{PAYEE},1,0");
    let execute = ["session", "execute", "agent", "--call", &call];
    place.run(&[&execute[..], &gasless].concat()).await.exits(0);
    program.crash().await;
    // Whoever takes the ledger over finds the caller's day begun.
    let ledger = Store::open(&place.ledger("facilitator.db")).await.unwrap();
    let (network, one) = (network(), Amount::from_atomic(1));
    let purse = |most| {
        let clock = std::sync::Arc::new(tollway_core::SystemClock);
        DailyPurse::of_callers(ledger.clone(), clock, most)
    };
    let strk = Amount::from_atomic(1_000_000_000_000_000);
    assert_eq!(purse(strk).take(&network, "acme", one).await.unwrap(), None);
    let stranger = purse(strk).take(&network, "other", one).await.unwrap();
    assert!(stranger.is_some());
    let all = purse(Amount::MAX)
        .take(&network, "acme", one)
        .await
        .unwrap();
    assert!(all.is_some());
}

#[tokio::test]
async fn a_route_for_the_published_sdk_settles_what_can_be_verified_and_nothing_else() {
    let place = Place::new().await;
    let (client, url) = (raw::client(), format!("{}/sdk/weather", place.gate));
    let before = place.earned().await;
    let asked = client.get(&url).send().await.unwrap();
    assert_eq!(asked.status(), 402);
    let told = asked.headers()["payment-required"]
        .to_str()
        .unwrap()
        .to_owned();
    let requirement: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(requirement["network"], "starknet-sepolia");
    let body: Value = serde_json::from_slice(&asked.bytes().await.unwrap()).unwrap();
    assert_eq!(body["paymentRequirement"], requirement);
    let show = async |change: &dyn Fn(&mut Value)| {
        let mut payment = json!({
            "x402Version": 1, "scheme": "exact", "network": "starknet-sepolia",
            "payload": {
                "signature": {"r": "0x1", "s": "0x2"}, "fromAddress": place.world.payer.address,
                "toAddress": PAYEE, "amount": requirement["maxAmountRequired"],
                "asset": requirement["asset"], "validUntil": 1, "nonce": "9f1c6a4e",
            },
        });
        change(&mut payment["payload"]);
        let shown = client.get(&url).header("x-payment", payment.to_string());
        let answer = shown.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    for (change, code) in [
        (json!({"r": "0x7", "s": "session"}), "unbound_transaction"),
        (json!({"r": "0x7", "s": "0x8"}), "unusable_signature"),
    ] {
        let (status, body) = show(&|payload| payload["signature"] = change.clone()).await;
        assert_eq!(status, 402);
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["error"], code);
    }
    let calldata = oe_calldata(&place, &requirement).await;
    let (status, body) = show(&|payload| {
        payload["shhh"] =
            json!({"walletType": "SHHH", "signerKind": "stark", "oeCalldata": calldata});
    })
    .await;
    assert_eq!((status, body.as_str()), (200, GOODS));
    assert_eq!(place.earned().await - before, DIME);
}

/// What the payer's owner signs, as `execute_from_outside_v2` takes it.
async fn oe_calldata(place: &Place, requirement: &Value) -> Vec<String> {
    use tollway_core::Wallet as _;
    let wire: tollway_core::wire::PaymentRequirements = serde_json::from_value(json!({
        "scheme": "exact", "network": network().as_str(),
        "amount": requirement["maxAmountRequired"], "asset": requirement["asset"],
        "payTo": requirement["payTo"], "maxTimeoutSeconds": requirement["maxTimeoutSeconds"],
        "extra": requirement["extra"],
    }))
    .unwrap();
    let terms = tollway_core::Terms::check(wire).unwrap();
    let limits = tollway_core::Limits {
        max_amount: terms.amount,
        max_lifetime: std::time::Duration::from_secs(900),
    };
    let wallet = place.world.owner_wallet(&place.world.payer);
    let prepared = wallet.prepare(&terms, &limits).await.unwrap();
    let chain_id = felt::chain_id(&network()).unwrap();
    let signed = SignedExecution::parse(&prepared.payload, &chain_id).unwrap();
    let calldata = signed.execution.calldata(&signed.signature);
    felt::texts(&calldata)
}
