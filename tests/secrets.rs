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

/// What the other stories do not hold: API keys, passes, the keys that sign them and
/// webhooks, admin tokens, credentials of nodes. Everything that a server writes or
/// shows is looked through: both kinds of log, metrics, health, traces, both ledgers.
#[tokio::test]
async fn servers_at_trace_tell_no_api_key_pass_admin_token_or_credential() {
    for format in ["text", "json"] {
        let town = Town::new().await;
        let collector = crate::harness::collector::Collector::start().await;
        let api_key = "canary-api-key-0123456789abcdef0123456789";
        let admin = "canary-admin-token-0123456789abcdef01234";
        let webhook = "canary-webhook-key-0123456789abcdef";
        let token_key = "c0ffee00".repeat(8);
        let private = |name: &str, text: &str| town.write_private(name, text).display().to_string();
        let (key_file, admin_file) = (private("api.key", api_key), private("admin.token", admin));
        let token_file = private("token.keys", &format!("k1 {token_key}\n"));
        let webhook_file = private("webhook.key", webhook);
        let digest = <sha2::Sha256 as sha2::Digest>::digest(api_key);
        let callers = format!(
            "[[facilitator.callers]]\nname = \"shop\"\nkey_sha256 = \"{}\"\n",
            alloy_primitives::hex::encode(digest)
        );
        std::fs::write(town.path("tollway.toml"), callers).unwrap();
        let node = Chaos::before(&town.rpc()).await.url();
        let node = node.replace("http://", "http://canary-user:canary-password@");
        let node = format!("{node}/canary-path?key=canary-query");
        let talkative = |mut args: Vec<String>| {
            args.extend(strings(&["--log", "trace", "--log-format", format]));
            args.extend(strings(&[
                "--admin-listen",
                "127.0.0.1:0",
                "--admin-token-file",
                &admin_file,
            ]));
            args.extend(strings(&["--otlp-endpoint", collector.url()]));
            town.command(&args)
        };
        let mut args = town.facilitator_args(&node);
        args.extend(strings(&["--config", &town.arg("tollway.toml")]));
        let (facilitator, facilitator_url) = Program::serve(talkative(args)).await;
        let mut args = town.gate_args(&facilitator_url, &node);
        crate::harness::town::set(&mut args, "--route", "GET /paid/*=$0.01; pass=1h");
        args.extend(strings(&[
            "--facilitator-key-file",
            &key_file,
            "--token-key-file",
            &token_file,
        ]));
        args.extend(strings(&[
            "--webhook",
            town.upstream.url(),
            "--webhook-key-file",
            &webhook_file,
        ]));
        let (gate, url) = Program::serve(talkative(args)).await;

        let buyer = crate::harness::Buyer::new(&BUYER);
        let paid = format!("{url}/paid/weather");
        let payment = buyer.pays(&paid, true).await;
        let bought = buyer.get(&paid, std::slice::from_ref(&payment)).await;
        assert_eq!(bought.status, 200, "{}", bought.body);
        let pass = bought.headers["tollway-pass"].to_str().unwrap().to_owned();
        let bearer = format!("Bearer {pass}").parse().unwrap();
        let opened = buyer
            .get(&paid, &[(http::header::AUTHORIZATION, bearer)])
            .await;
        assert_eq!(opened.status, 200, "{}", opened.body);
        let mut shown = String::new();
        for (program, url) in [(&gate, &url), (&facilitator, &facilitator_url)] {
            let said = program.stdout();
            let admin_url = said
                .split("admin on ")
                .nth(1)
                .unwrap()
                .split_whitespace()
                .next();
            let admin_url = admin_url.unwrap().to_owned();
            let client = raw::client();
            let told = client
                .post(format!("{admin_url}/reload"))
                .bearer_auth(admin)
                .send();
            shown.push_str(&told.await.unwrap().text().await.unwrap());
            let wrong = client
                .post(format!("{admin_url}/reload"))
                .bearer_auth("canary-wrong")
                .send();
            shown.push_str(&wrong.await.unwrap().text().await.unwrap());
            for place in [
                &format!("{admin_url}/metrics"),
                &format!("{admin_url}/health"),
                &format!("{url}/health"),
            ] {
                shown.push_str(
                    &client
                        .get(place)
                        .send()
                        .await
                        .unwrap()
                        .text()
                        .await
                        .unwrap(),
                );
            }
        }
        let ledgers = [
            town.records("gate.db").await,
            town.records("facilitator.db").await,
        ];
        for (ledger, rows) in ["gate.db", "facilitator.db"].iter().zip(&ledgers) {
            for row in rows {
                shown.push_str(&row.to_string());
                let story = town.payment(ledger, row["id"].as_str().unwrap()).await;
                shown.push_str(&story.to_string());
            }
        }
        let mut talk = 0;
        for program in [gate, facilitator] {
            program.signal("TERM").await;
            let done = program.end().await.exits(0);
            talk += done.stderr.len();
            shown.push_str(&done.stdout);
            shown.push_str(&done.stderr);
        }
        assert!(talk > 2_000, "they were talkative: {talk}");
        assert!(!collector.spans().is_empty(), "there were traces");
        shown.push_str(&collector.text());
        let signature = payment.1.to_str().unwrap();
        let shown = shown.to_lowercase();
        for secret in [
            api_key,
            admin,
            webhook,
            &token_key,
            "canary-user",
            "canary-password",
            "canary-path",
            "canary-query",
            "canary-wrong",
            &pass,
            pass.rsplit('.').next().unwrap(),
            &signature[..40],
            &signature[signature.len() - 120..],
            &BUYER.key.to_string()[2..],
            &SIGNER.key.to_string()[2..],
        ] {
            if let Some(at) = shown.find(&secret.to_lowercase()) {
                let before = String::from_utf8_lossy(&shown.as_bytes()[at.saturating_sub(300)..at]);
                panic!("{secret:.24}… is told ({format}) after: {before}");
            }
        }
    }
}
