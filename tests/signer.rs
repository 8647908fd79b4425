//! A signer in a process of its own: agents pay without a key.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use tollway_core::assets::AssetTable;
use tollway_core::wire::PaymentRequirements;
use tollway_core::{Amount, Limits, Network, Offered, Purchase, SpendId, Terms, Wallet as _};
use tollway_ledger::{SpendRecord, SpendStore as _, SqliteLedger};
use tollway_payer::RemoteWallet;

use crate::harness::chaos::Chaos;
use crate::harness::mcp::Agent;
use crate::harness::program::{Program, run};
use crate::harness::town::{BUYER, NETWORK, PAYEE, PRICE, Town, set, strings, without};
use crate::harness::upstream::GOODS;

/// What the owner lets the agent spend.
async fn policy(town: &Town, flags: &[&str]) {
    let mut args = strings(&["budget", "set", "--agent", "robot"]);
    args.extend(strings(flags));
    town.run(&args).await.exits(0);
}

/// A signer's arguments; it has the buyer's key.
fn serve_args(town: &Town) -> Vec<String> {
    strings(&[
        "signer",
        "serve",
        "--socket",
        &town.arg("run/signer.sock"),
        "--agent",
        "robot",
        "--key-file",
        &town.arg("buyer.key"),
        "--ledger",
        &town.ledger("signer.db"),
        "--network",
        &format!("{NETWORK}={}", town.rpc()),
    ])
}

async fn signer(town: &Town) -> Program {
    let (program, place) = Program::serve(town.command(&serve_args(town))).await;
    assert_eq!(place, at(town));
    program
}

/// Where the signer is.
fn at(town: &Town) -> String {
    format!("unix:{}", town.arg("run/signer.sock"))
}

/// An agent that pays up to two cents, by the signer.
fn pay_args(town: &Town, url: &str, more: &[&str]) -> Vec<String> {
    let mut args = without(&town.pay_args(url, more), "--key-file");
    args.extend(strings(&["--signer", &at(town)]));
    args
}

async fn signed_for(town: &Town) -> Vec<SpendRecord> {
    let ledger = SqliteLedger::open(&town.ledger("signer.db")).await.unwrap();
    let spends = ledger.spends(100).await.unwrap();
    ledger.close().await;
    spends
}

#[tokio::test]
async fn an_agent_without_a_key_pays_by_a_signer_and_stops_at_its_budget() {
    let town = Town::new().await;
    policy(&town, &["--total", "0.02", "--payee", PAYEE]).await;
    let signer = signer(&town).await;
    // Nobody but the signer has the key any more.
    std::fs::remove_file(town.path("buyer.key")).unwrap();
    let mode = |path| {
        std::fs::metadata(town.path(path))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!((mode("run"), mode("run/signer.sock")), (0o700, 0o600));
    let (_gate, gate) = town.gate(&[]).await;
    let url = |n: u32| format!("{gate}/paid/weather?n={n}");
    for n in 1..=2 {
        let done = town.run(&pay_args(&town, &url(n), &[])).await.exits(0);
        assert_eq!(done.stdout, GOODS);
    }
    // Its own limits are wider, and do not count.
    let wide = ["--payee", PAYEE];
    let done = town.run(&pay_args(&town, &url(3), &wide)).await.exits(4);
    assert!(done.stderr.contains("[budget_exceeded]"), "{}", done.stderr);
    assert!(
        done.stderr.contains("The signer refuses"),
        "{}",
        done.stderr
    );
    assert_eq!((town.earned(), town.transfers().len()), (2 * PRICE, 2));
    assert_eq!(signed_for(&town).await.len(), 2);

    let shown = ["signer", "accounts", &at(&town), "--json"];
    let shown = town.run(&shown).await.exits(0).json();
    assert_eq!(shown["agent"], "robot");
    let account = shown["accounts"][NETWORK].as_str().unwrap().to_lowercase();
    assert_eq!(account, BUYER.address.to_string().to_lowercase());

    signer.signal("INT").await;
    signer.end().await.exits(0);
    assert!(!town.path("run/signer.sock").exists());
    let done = town.run(&pay_args(&town, &url(4), &[])).await.exits(1);
    assert!(
        done.stderr.contains("tollway signer serve"),
        "{}",
        done.stderr
    );
}

#[tokio::test]
async fn every_way_to_pay_goes_through_a_signer_and_what_costs_gas_only_if_it_is_named() {
    let town = Town::new().await;
    policy(&town, &["--total", "1", "--per-call", "0.05"]).await;
    let node = format!("{NETWORK}={}", town.rpc());
    let approve = [
        "wallet",
        "approve",
        "--key-file",
        "buyer.key",
        "--network",
        &node,
    ];
    town.run(&approve).await.exits(0);
    let (_gate, gate) = town
        .gate(&[
            "--route",
            "GET /permit2/*=$0.01; methods=permit2",
            "--route",
            "GET /permit/*=$0.01; methods=eip2612",
            "--route",
            "GET /metered/*=up to $0.01",
            "--route",
            "GET /proof/*=$0.01; methods=txid",
        ])
        .await;
    let _first = signer(&town).await;
    town.upstream.charge("50%");
    let mut earned = 0;
    for (way, price) in [
        ("paid", PRICE),
        ("permit2", PRICE),
        ("permit", PRICE),
        ("metered", PRICE / 2),
    ] {
        let url = format!("{gate}/{way}/x");
        let done = town.run(&pay_args(&town, &url, &[])).await.exits(0);
        assert_eq!(done.stdout, GOODS, "{way}");
        earned += price;
        assert_eq!(town.earned(), earned, "{way}");
    }
    let url = format!("{gate}/proof/x");
    let done = town.run(&pay_args(&town, &url, &[])).await.exits(4);
    assert!(done.stderr.contains("[policy_method]"), "{}", done.stderr);
    _first.signal("TERM").await;
    _first.end().await.exits(0);
    policy(&town, &["--method", "txid"]).await;
    let _second = signer(&town).await;
    let done = town.run(&pay_args(&town, &url, &[])).await.exits(0);
    assert_eq!(done.stdout, GOODS);
    assert_eq!(town.earned(), earned + PRICE);
}

#[tokio::test]
async fn a_signer_that_dies_after_it_signed_gives_the_same_payment_when_it_is_back() {
    let town = Town::new().await;
    policy(&town, &["--total", "0.02"]).await;
    let (_gate, gate) = town.gate(&[]).await;
    for place in [
        "signer::signed::after_write",
        "signer::reserved::after_write",
    ] {
        let before = town.transfers().len();
        let mut command = town.command(&serve_args(&town));
        command.env("TOLLWAY_CRASH_AT", format!("{place}=1"));
        let (dying, _) = Program::serve(command).await;
        let paying = pay_args(&town, &format!("{gate}/paid/{before}"), &[]);
        let paying = Program::spawn(town.command(&paying));
        let died = dying.end().await;
        assert!(died.stderr.contains(place), "{}", died.stderr);
        assert!(town.path("run/signer.sock").exists(), "it was left behind");
        let back = signer(&town).await;
        let done = paying.end().await.exits(0);
        assert_eq!(done.stdout, GOODS);
        assert_eq!(town.transfers().len(), before + 1, "one payment");
        back.signal("TERM").await;
        back.end().await.exits(0);
    }
    let signed = signed_for(&town).await;
    let signed = signed.iter().filter(|spend| spend.signed.is_some());
    assert_eq!(signed.count(), 2, "nothing was signed twice");
}

#[tokio::test]
async fn of_two_signers_at_one_socket_the_second_does_not_start() {
    let town = Town::new().await;
    policy(&town, &["--total", "0.02"]).await;
    let first = signer(&town).await;
    let second = town.run(&serve_args(&town)).await.exits(2);
    assert!(second.stderr.contains("answers at"), "{}", second.stderr);
    let shown = ["signer", "accounts", &at(&town)];
    town.run(&shown).await.exits(0);
    first.crash().await;
    assert!(town.path("run/signer.sock").exists());
    signer(&town).await;
}

#[tokio::test]
async fn an_agents_tools_pay_by_a_signer() {
    let town = Town::new().await;
    policy(&town, &["--total", "0.02", "--host", "127.0.0.1"]).await;
    let mut trusting = serve_args(&town);
    trusting.push("--trust-hosts".to_owned());
    let (_signer, _) = Program::serve(town.command(&trusting)).await;
    let (_gate, gate) = town.gate(&[]).await;
    let mut args = strings(&["mcp", "--agent", "robot", "--signer", &at(&town)]);
    args.extend(strings(&["--ledger", &town.ledger("payer.db")]));
    let agent = Agent::of(town.command(&args)).await;
    let url = serde_json::json!({ "url": format!("{gate}/paid/x") });
    let (is_error, said) = agent.told("pay_and_fetch", url).await;
    assert!(!is_error, "{said}");
    town.paid_exactly_once();
}

#[tokio::test]
async fn a_signer_does_not_start_with_rules_by_host_unless_its_owner_says_so() {
    let town = Town::new().await;
    for (n, (flags, rule)) in [
        (["--host", "127.0.0.1"], "`hosts`"),
        (["--per-host", "0.05"], "`limits.per_host`"),
        (["--per-host-day", "0.05"], "`limits.per_host_day`"),
        (["--max-price-rise", "1.5"], "`max_price_rise`"),
        (["--consent", &format!("127.0.0.1={PAYEE}")], "`consents`"),
    ]
    .into_iter()
    .enumerate()
    {
        let agent = format!("robot{n}");
        let set_up = ["budget", "set", "--agent", &agent, "--total", "1"];
        town.run(&[&set_up[..], &flags].concat()).await.exits(0);
        let mut args = serve_args(&town);
        set(&mut args, "--agent", &agent);
        let done = town.run(&args).await.exits(2);
        for word in [rule, "--trust-hosts"] {
            assert!(done.stderr.contains(word), "{rule}: {}", done.stderr);
        }
        args.push("--trust-hosts".to_owned());
        let (signer, _) = Program::serve(town.command(&args)).await;
        signer.signal("TERM").await;
        signer.end().await.exits(0);
    }
}

#[tokio::test]
async fn who_names_a_host_for_one_unit_pins_nobody_to_it_behind_a_signer() {
    let town = Town::new().await;
    policy(&town, &["--total", "1"]).await;
    let (_gate, gate) = town.gate(&["--route", "GET /dear/*=$0.02"]).await;
    let url = format!("{gate}/dear/x");
    for (trusts, code) in [(true, 4), (false, 0)] {
        let ledger = town.ledger(&format!("signer-{trusts}.db"));
        let mut args = serve_args(&town);
        set(&mut args, "--ledger", &ledger);
        args.extend(trusts.then(|| "--trust-hosts".to_owned()));
        let (signer, _) = Program::serve(town.command(&args)).await;
        let socket = town.path("run/signer.sock");
        let wallet = RemoteWallet::connect(&socket).await.unwrap();
        pay_stranger(&wallet, &url).await;
        let done = town.run(&pay_args(&town, &url, &[])).await.exits(code);
        let told = done.stderr.contains("[policy_payee_changed]");
        assert_eq!(told, trusts, "{}", done.stderr);
        signer.signal("TERM").await;
        signer.end().await.exits(0);
    }
    assert_eq!(town.earned(), 2 * PRICE);
}

/// One unit to the attacker's account, for what it calls the URL of somebody else.
async fn pay_stranger(wallet: &RemoteWallet, url: &str) {
    let asset = AssetTable::builtin();
    let network: Network = NETWORK.parse().unwrap();
    let asset = asset.iter().find(|asset| asset.network == network).unwrap();
    let terms = PaymentRequirements {
        scheme: "exact".to_owned(),
        network: NETWORK.to_owned(),
        amount: "1".to_owned(),
        asset: asset.address.to_string(),
        pay_to: "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC".to_owned(),
        max_timeout_seconds: 60,
        extra: None,
    };
    let limits = Limits {
        max_amount: Amount::MAX,
        max_lifetime: Duration::from_secs(60),
    };
    let (id, terms) = (SpendId::random().unwrap(), Terms::check(terms).unwrap());
    let offered = Offered {
        purchase: Some(Purchase { id: &id, url }),
        ..Offered::default()
    };
    wallet
        .prepare_offered(&terms, &limits, offered)
        .await
        .unwrap();
}

#[tokio::test]
async fn neither_the_signer_nor_whoever_asks_it_tells_a_key_or_a_signature() {
    let town = Town::new().await;
    policy(&town, &["--total", "0.02"]).await;
    let talkative = |args: &[String]| {
        let mut command = town.command(args);
        command.env("TOLLWAY_LOG", "trace");
        command
    };
    let (signer, _) = Program::serve(talkative(&serve_args(&town))).await;
    let (_gate, gate) = town.gate(&[]).await;
    let before = Chaos::before(&gate).await;
    let url = format!("{}/paid/x?key=canary-in-the-query", before.url());
    let mut said = vec![run(talkative(&pay_args(&town, &url, &[]))).await.exits(0)];
    said.push(
        run(talkative(&pay_args(&town, &url, &["--json"])))
            .await
            .exits(0),
    );
    said.push(run(talkative(&pay_args(&town, &url, &[]))).await.exits(4));
    signer.signal("TERM").await;
    said.push(signer.end().await.exits(0));

    let mut secrets = vec![BUYER.key.to_string()[2..].to_owned()];
    for spend in signed_for(&town).await {
        let signature = &spend.signed.unwrap().payload.payload["signature"];
        secrets.push(signature.as_str().unwrap()[2..].to_owned());
    }
    assert_eq!(secrets.len(), 3);
    let signer = said.last().unwrap();
    assert!(signer.stderr.contains("a payment was signed"));
    assert!(!signer.stderr.contains("canary-in-the-query"));
    for done in &said {
        for text in [&done.stdout, &done.stderr] {
            let lower = text.to_lowercase();
            for secret in &secrets {
                assert!(!lower.contains(&secret.to_lowercase()), "{secret}");
            }
        }
    }
}

/// The commands below a heading of the page, each as words.
fn commands_below(heading: &str) -> Vec<Vec<String>> {
    let page = include_str!("../docs/agents.md");
    let (_, rest) = page.split_once(heading).expect("the page has the heading");
    let (_, block) = rest.split_once("```console\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
    let commands = block.lines().filter_map(|l| l.strip_prefix("$ tollway "));
    commands.map(words).collect()
}

#[tokio::test]
async fn the_commands_of_the_page_let_an_agent_pay_without_a_key() {
    let town = Town::new().await;
    let (_gate, gate) = town.gate(&[]).await;
    let gate = format!("{gate}/");
    town.write_private("agent.key", &BUYER.key.to_string());
    town.write_private("agent.pass", "correct horse battery staple");
    let here = town.home().display().to_string();
    let node = format!("{NETWORK}={}", town.rpc());
    let mut signer = None;
    let mut last = None;
    for words in commands_below("## A signer of its own") {
        let meant = |word: &String| {
            word.replace("https://api.example.com/", &gate)
                .replace("/home/me", &here)
                .replace("base=https://your.rpc", &node)
        };
        let args: Vec<String> = words.iter().map(meant).collect();
        let mut command = town.command(&args);
        command.env("TOLLWAY_PASSPHRASE_FILE", town.arg("agent.pass"));
        if args[..2] == ["signer", "serve"] {
            signer = Some(Program::serve(command).await);
            std::fs::remove_file(town.path("agent.key")).unwrap();
        } else {
            last = Some(run(command).await.exits(0));
        }
    }
    assert_eq!(last.unwrap().stdout, GOODS);
    assert!(signer.is_some());
    town.paid_exactly_once();
}

#[tokio::test]
async fn a_signer_or_a_payer_with_a_bad_flag_does_not_start() {
    let town = Town::new().await;
    policy(&town, &["--total", "0.02"]).await;
    let good = serve_args(&town);
    let open = town.path("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o755)).unwrap();
    let long = town.arg(&format!("run/{}", "x".repeat(120)));
    let changed = |flag: &str, value: &str| {
        let mut args = good.clone();
        match args.iter().any(|arg| arg == flag) {
            true => set(&mut args, flag, value),
            false => args.extend(strings(&[flag, value])),
        }
        args
    };
    let paying = |place: &str| {
        strings(&[
            "pay",
            "http://127.0.0.1:1/",
            "--max",
            "1",
            "--signer",
            place,
        ])
    };
    let key = town.arg("buyer.key");
    town.write_private("notes.txt", "precious");
    let no_budget = ["budget", "set", "--agent", "poor", "--per-call", "1"];
    town.run(&no_budget).await.exits(0);
    let both = [&paying("unix:/x")[..], &strings(&["--key-file", &key])].concat();
    let cases = [
        (
            changed("--socket", &town.arg("open/signer.sock")),
            2,
            "0700",
        ),
        (changed("--socket", &long), 2, "100 bytes"),
        (changed("--agent", "nobody"), 2, "tollway budget set"),
        (changed("--agent", "poor"), 2, "--per-day 1"),
        (
            changed("--key-file", "/no/such/file"),
            2,
            "name a readable file",
        ),
        (changed("--serve-user", "root"), 2, "--serve-user"),
        #[cfg(feature = "aws-kms")]
        (
            changed("--key-file", "aws-kms:"),
            2,
            "aws-kms:alias/tollway",
        ),
        #[cfg(not(feature = "aws-kms"))]
        (
            changed("--key-file", "aws-kms:alias/x"),
            2,
            "--features aws-kms",
        ),
        #[cfg(not(feature = "gcp-kms"))]
        (changed("--key-file", "gcp-kms:x"), 2, "--features gcp-kms"),
        (changed("--max-per-hour", "0"), 2, "--max-per-hour"),
        (changed("--wallet", "agent"), 2, "cannot be used with"),
        (without(&good, "--socket"), 2, "--socket"),
        (without(&good, "--agent"), 2, "--agent"),
        (without(&good, "--key-file"), 2, "--wallet"),
        (paying("/tmp/signer.sock"), 2, "unix:/home/me"),
        (paying("unix:signer.sock"), 2, "unix:/home/me"),
        (paying("tcp:127.0.0.1:1"), 2, "unix:/home/me"),
        (
            paying("unix:/no/such/signer.sock"),
            1,
            "tollway signer serve",
        ),
        (
            paying(&format!("unix:{}", town.arg("notes.txt"))),
            1,
            "tollway signer serve",
        ),
        (both, 2, "cannot be used with"),
    ];
    for (args, code, cure) in cases {
        let done = town.run(&args).await.exits(code);
        assert!(done.stderr.contains(cure), "{args:?}: {}", done.stderr);
        assert!(!done.stderr.contains("panicked"), "{}", done.stderr);
    }
    assert_eq!(
        std::fs::read_to_string(town.path("notes.txt")).unwrap(),
        "precious"
    );
}
