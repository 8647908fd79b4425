//! Whatever is logged, printed or measured: no key, no signature, no passphrase.

use crate::harness::chaos::{Act, Chaos};
use crate::harness::program::{Program, run};
use crate::harness::raw;
use crate::harness::town::{BUYER, SIGNER, Town, strings};

#[tokio::test]
async fn no_output_holds_a_secret_even_at_the_most_talkative() {
    let town = Town::new().await;
    let passphrase = "correct-horse-battery-staple";
    let secret = town
        .write_private("passphrase", &format!("{passphrase}\n"))
        .display()
        .to_string();
    let talkative = |args: &[String]| {
        let mut command = town.command(args);
        command.env("TOLLWAY_LOG", "trace");
        command
    };
    let mut said = Vec::new();
    let import = strings(&[
        "wallet",
        "import",
        "agent",
        "--key-file",
        &town.arg("buyer.key"),
        "--passphrase-file",
        &secret,
    ]);
    said.push(("import", run(talkative(&import)).await.exits(0)));

    let (facilitator, facilitator_url) =
        Program::serve(talkative(&town.facilitator_args(&town.rpc()))).await;
    let before_facilitator = Chaos::before(&facilitator_url).await;
    let mut args = town.gate_args(&before_facilitator.url(), &town.rpc());
    crate::harness::town::set(&mut args, "--network", crate::harness::town::NETWORK);
    let (gate, gate_url) = Program::serve(talkative(&args)).await;
    let before_gate = Chaos::before(&gate_url).await;

    let url = format!(
        "{}/paid/weather?api_key=canary-in-the-query",
        before_gate.url()
    );
    let pay = strings(&[
        "pay",
        &url,
        "--max",
        "0.02",
        "--wallet",
        "agent",
        "--passphrase-file",
        &secret,
        "--ledger",
        &town.ledger("payer.db"),
        "-H",
        "authorization: Bearer canary-in-a-header",
    ]);
    said.push(("pay", run(talkative(&pay)).await.exits(0)));
    said.push((
        "pay --json",
        run(talkative(&[&pay[..], &strings(&["--json"])].concat()))
            .await
            .exits(0),
    ));
    let wrong = strings(&[
        "pay",
        &url,
        "--max",
        "0.001",
        "--key-file",
        &town.arg("buyer.key"),
        "--ledger",
        &town.ledger("payer.db"),
    ]);
    said.push(("pay too little", run(talkative(&wrong)).await.exits(4)));
    let id = town.payments("facilitator.db").await[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    for args in [
        strings(&[
            "ledger",
            "list",
            "--ledger",
            &town.ledger("facilitator.db"),
            "--json",
        ]),
        strings(&[
            "ledger",
            "show",
            &id,
            "--ledger",
            &town.ledger("facilitator.db"),
        ]),
        strings(&[
            "ledger",
            "show",
            &id,
            "--ledger",
            &town.ledger("facilitator.db"),
            "--json",
        ]),
        strings(&["wallet", "list", "--json"]),
        strings(&["inspect", &url]),
    ] {
        said.push(("looking", run(talkative(&args)).await.exits(0)));
    }
    for url in [&facilitator_url, &gate_url] {
        for path in ["/health", "/metrics", "/supported"] {
            let answer = raw::send(url, &raw::get(path, &[])).await;
            let text = format!("{path} {}", answer.text);
            said.push((
                "probe",
                crate::harness::program::Finished {
                    code: None,
                    stdout: text,
                    stderr: String::new(),
                },
            ));
        }
    }
    facilitator.signal("TERM").await;
    gate.signal("TERM").await;
    said.push(("facilitator", facilitator.end().await));
    said.push(("gate", gate.end().await));

    let mut secrets = vec![
        passphrase.to_owned(),
        "canary-in-a-header".to_owned(),
        BUYER.key.to_string()[2..].to_owned(),
        SIGNER.key.to_string()[2..].to_owned(),
    ];
    for seen in before_facilitator.seen(|seen| seen.target == "POST /settle") {
        let body: serde_json::Value = serde_json::from_str(&seen.body).unwrap();
        let signature = &body["paymentPayload"]["payload"]["signature"];
        secrets.push(signature.as_str().unwrap()[2..].to_owned());
    }
    for seen in before_gate.seen(|seen| seen.head.to_lowercase().contains("payment-signature: ")) {
        let line = seen
            .head
            .lines()
            .find(|l| l.to_lowercase().starts_with("payment-signature:"));
        let value = line.unwrap().split_once(": ").unwrap().1.to_owned();
        secrets.push(value[..40].to_owned());
        secrets.push(value[value.len() - 120..].to_owned());
    }
    assert!(
        secrets.len() >= 8,
        "signatures were seen: {}",
        secrets.len()
    );
    let talk: usize = said.iter().map(|(_, done)| done.stderr.len()).sum();
    assert!(talk > 20_000, "it was talkative: {talk} bytes");
    for (who, done) in &said {
        for text in [&done.stdout, &done.stderr] {
            let lower = text.to_lowercase();
            for secret in &secrets {
                if let Some(at) = lower.find(&secret.to_lowercase()) {
                    let from = at.saturating_sub(300);
                    panic!(
                        "{who} tells a secret after: {}",
                        &String::from_utf8_lossy(&text.as_bytes()[from..at])
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn the_secrets_in_a_nodes_url_are_never_told() {
    let town = Town::new().await;
    let chaos = Chaos::before(&town.rpc()).await;
    let secrets = [
        "canary-user",
        "canary-password",
        "canary-path",
        "canary-query",
    ];
    let node = chaos
        .url()
        .replace("http://", "http://canary-user:canary-password@");
    let node = format!("{node}/v2/canary-path?key=canary-query");
    let mut told = String::new();
    for down in [true, false] {
        chaos.obey(
            move |seen| match (down, seen.body.contains("eth_blockNumber")) {
                (true, _) => Act::Lose,
                (false, true) => Act::Answer(500, "text/html", "<html>".to_owned()),
                (false, false) => Act::Pass,
            },
        );
        let mut command = town.command(&town.facilitator_args(&node));
        command.env("TOLLWAY_LOG", "trace");
        let (program, url) = Program::serve(command).await;
        let health = raw::send(&url, &raw::get("/health", &[])).await;
        told.push_str(&health.text);
        program.signal("TERM").await;
        let done = program.end().await;
        told.push_str(&done.stdout);
        told.push_str(&done.stderr);
    }
    let sent = chaos.seen(|seen| seen.target.contains("canary-path"));
    assert!(!sent.is_empty(), "the node was asked with them");
    for secret in secrets {
        if let Some(at) = told.find(secret) {
            let from = at.saturating_sub(300);
            let before = String::from_utf8_lossy(&told.as_bytes()[from..at]).into_owned();
            panic!("{secret} is told after: {before}");
        }
    }
}

#[tokio::test]
async fn a_mistyped_setting_is_refused_without_the_secret_in_it() {
    let town = Town::new().await;
    for (flag, text) in [
        ("--ledger", "postgres:tollway:canary@db.example/x"),
        ("--ledger", "tollway:canary@db.example/x"),
        ("--network", "https://node.example/v2/canary"),
        ("--network", "node.example/v2/canary"),
        ("--facilitator", "https://me:canary@facilitator.example"),
        ("--facilitator", "https://facilitator.example/?key=canary"),
        ("--upstream", "http://me:canary@127.0.0.1:3000"),
        ("--upstream", "http://127.0.0.1:3000/?key=canary"),
        ("--public-url", "https://me:canary@api.example"),
    ] {
        let mut args = town.gate_args("local", &town.rpc());
        if args.iter().any(|arg| arg == flag) {
            args = crate::harness::town::without(&args, flag);
        }
        args.extend(strings(&[flag, text]));
        let done = town.run(&args).await.exits(2);
        assert!(!done.stderr.contains("canary"), "{text}: {}", done.stderr);
        assert_eq!(done.stdout, "");
    }
}

#[tokio::test]
async fn the_demo_tells_no_key() {
    let home = tempfile::tempdir().unwrap();
    let mut command = crate::harness::program::tollway(home.path(), &["demo", "--once"]);
    command.env("TOLLWAY_LOG", "trace");
    let done = run(command).await.exits(0);
    for account in [&BUYER, &SIGNER] {
        let key = account.key.to_string()[2..].to_owned();
        assert!(!done.stderr.contains(&key) && !done.stdout.contains(&key));
    }
}
