//! Nonsense gets a clear answer: a sentence and exit code 2 at the command
//! line, a 4xx with a stable code over HTTP; never a panic, never a hang, and
//! never a call for what cannot be valid.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};
use tollway_core::header;

use crate::harness::chaos::Chaos;
use crate::harness::program::{Finished, Program};
use crate::harness::town::{BUYER, NETWORK, Town, set, strings, without};
use crate::harness::upstream::GOODS;
use crate::harness::{Buyer, raw};

/// Asserts what every refusal at the command line keeps to.
#[track_caller]
fn refused(done: &Finished, what: &str, cure: &str) {
    let told = &done.stderr;
    assert_eq!(done.code, Some(2), "{what}: {told}{}", done.stdout);
    assert!(
        told.contains(cure),
        "{what}: does not name the cure {cure:?}: {told}"
    );
    assert_eq!(done.stdout, "", "{what}");
    for ugly in [
        "panicked",
        "RUST_BACKTRACE",
        "stack backtrace",
        "Err(",
        "unwrap",
    ] {
        assert!(!told.contains(ugly), "{what}: {told}");
    }
    assert!(told.ends_with('\n') && told.len() < 2000, "{what}: {told}");
}

/// The same, for what we say ourselves: one line.
#[track_caller]
fn refused_in_one_line(done: &Finished, what: &str, cure: &str) {
    refused(done, what, cure);
    assert_eq!(done.stderr.lines().count(), 1, "{what}: {}", done.stderr);
    assert!(
        done.stderr.starts_with("tollway: "),
        "{what}: {}",
        done.stderr
    );
}

async fn refuses_each(town: &Town, good: &[String], wrongs: &[(&str, &str, &str)]) {
    for (flag, value, cure) in wrongs {
        let mut args = good.to_vec();
        set(&mut args, flag, value);
        refused_in_one_line(&town.run(&args).await, &format!("{flag} {value:?}"), cure);
    }
}

#[tokio::test]
async fn a_gate_with_a_bad_flag_does_not_start() {
    let town = Town::new().await;
    let good = town.gate_args("local", &town.rpc());
    let rpc = town.rpc();
    let twice = format!("{NETWORK}=ftp://127.0.0.1");
    let remote = format!("{NETWORK}=http://192.0.2.1:8545");
    let no_url = format!("{NETWORK}=nonsense");
    refuses_each(&town, &good, &[
        ("--listen", "nonsense", "--listen"),
        ("--listen", "127.0.0.1:99999", "--listen"),
        ("--listen", "192.0.2.1:0", "--listen"),
        ("--upstream", "nonsense", "https://"),
        ("--upstream", "ftp://127.0.0.1/", "http"),
        ("--upstream", "http://", "http"),
        ("--route", "/paid", "--route"),
        ("--route", "paid=$1", "/"),
        ("--route", "/paid=", "$0.10"),
        ("--route", "/paid=free", "leave the route out"),
        ("--route", "/paid=$0", ""),
        ("--route", "/paid=$-1", ""),
        ("--route", "/paid=$1e3", ""),
        ("--route", "/paid=$0.0000001", "0.0000001"),
        ("--route", "/paid=$1,5", ""),
        ("--route", "/paid=1 DOGE", "DOGE"),
        ("--route", "/paid=$1 on nowhere", "nowhere"),
        ("--route", "/paid=$1 on base", "--network"),
        ("--route", "BAD VERB /paid=$1", ""),
        ("--route", "/paid=$99999999999999999999999999999999999999999999999999999999999999999999999999999", ""),
        ("--pay-to", "0x123", "0x123"),
        ("--pay-to", "nonsense", "nonsense"),
        ("--pay-to", "0x0000000000000000000000000000000000000000", "zero"),
        ("--network", "nowhere", "nowhere"),
        ("--network", "eip155:0", "eip155:0"),
        ("--network", "eip155:", ""),
        ("--network", "starknet:SN_MAIN", "EVM"),
        ("--network", &twice, "http"),
        ("--network", &no_url, "https://"),
        ("--network", &remote, "--allow-http"),
        ("--facilitator", "nonsense", "--facilitator"),
        ("--facilitator", "http://192.0.2.1", "http"),
        ("--facilitator", "ftp://127.0.0.1", "http"),
        ("--signer-key-file", "/no/such/file", "name a readable file"),
        ("--ledger", "nonsense", "sqlite:"),
        ("--ledger", "postgres://127.0.0.1/x", "sqlite:"),
        ("--ledger", "sqlite:", "sqlite:"),
        ("--ledger", "sqlite:/no/such/folder/gate.db", "create it"),
    ])
    .await;
    let network = format!("base-sepolia={rpc}");
    for (more, cure) in [
        (["--network", network.as_str()], "once"),
        (["--finality", "soon"], "--finality"),
        (["--public-url", "nonsense"], "http"),
        (["--public-url", "ftp://x"], "http"),
    ] {
        let args = [&good[..], &strings(&more)].concat();
        refused_in_one_line(&town.run(&args).await, &more.join(" "), cure);
    }
    for flag in [
        "--listen",
        "--upstream",
        "--route",
        "--pay-to",
        "--network",
        "--facilitator",
        "--signer-key-file",
    ] {
        let done = town.run(&without(&good, flag)).await;
        refused_in_one_line(&done, &format!("without {flag}"), flag);
    }
}

#[tokio::test]
async fn flags_that_do_not_exist_are_named() {
    let town = Town::new().await;
    for (args, told) in [
        (vec!["frobnicate"], "frobnicate"),
        (vec!["gate", "--frobnicate"], "--frobnicate"),
        (vec!["gate", "--settle", "later"], "before"),
        (
            vec!["facilitator", "--min-validity", "soon"],
            "--min-validity",
        ),
        (vec!["pay"], "<URL>"),
        (vec!["pay", "http://127.0.0.1/"], "--max"),
        (
            vec![
                "pay",
                "http://127.0.0.1/",
                "--max",
                "1",
                "--wallet",
                "a",
                "--key-file",
                "b",
            ],
            "cannot be used with",
        ),
        (vec!["devnet", "--chain-id", "x"], "--chain-id"),
        (vec!["ledger", "list", "--limit=-1"], "--limit"),
        (vec!["devnet", "--block-time=-1"], "--block-time"),
        (vec!["pay", "http://127.0.0.1/", "--max=-1"], "--max"),
        (vec!["wallet"], "Usage"),
        (vec![], "Usage"),
    ] {
        refused(&town.run(&args).await, &args.join(" "), told);
    }
}

#[tokio::test]
async fn a_facilitator_with_a_bad_flag_does_not_start() {
    let town = Town::new().await;
    let good = town.facilitator_args(&town.rpc());
    refuses_each(
        &town,
        &good,
        &[
            ("--listen", "nonsense", "--listen"),
            ("--network", "nowhere", "nowhere"),
            ("--network", "eip155:31337", "--network"),
            ("--signer-key-file", "/no/such/file", "name a readable file"),
            ("--ledger", "nonsense", "sqlite:"),
        ],
    )
    .await;
    for flag in ["--listen", "--network", "--signer-key-file"] {
        let done = town.run(&without(&good, flag)).await;
        refused_in_one_line(&done, &format!("without {flag}"), flag);
    }
}

#[tokio::test]
async fn a_key_file_that_others_can_read_or_that_holds_no_key_is_refused() {
    let town = Town::new().await;
    let good = town.facilitator_args(&town.rpc());
    let order = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
    for (content, cure) in [
        (String::new(), "64 hex digits"),
        ("nonsense".to_owned(), "64 hex digits"),
        ("0x12".to_owned(), "64 hex digits"),
        ("00".repeat(32), "64 hex digits"),
        (order.to_owned(), "64 hex digits"),
        (
            format!("{}\n{}", "51".repeat(32), "52".repeat(32)),
            "64 hex digits",
        ),
        ("\u{0}".repeat(64), "64 hex digits"),
    ] {
        town.write_private("signer.key", &content);
        let done = town.run(&good).await;
        refused_in_one_line(&done, &format!("key {content:?}"), cure);
        assert!(
            content.is_empty() || !done.stderr.contains(&content),
            "{}",
            done.stderr
        );
    }
    let path = town.write_private("signer.key", &"51".repeat(32));
    for mode in [0o644, 0o640, 0o604, 0o622] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        refused_in_one_line(&town.run(&good).await, "open key file", "chmod 600");
    }
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    refused_in_one_line(&town.run(&good).await, "a directory", "signer.key");
}

#[tokio::test]
async fn a_payment_with_a_bad_flag_is_not_made() {
    let town = Town::new().await;
    let good = town.pay_args("http://127.0.0.1:9/", &[]);
    refuses_each(
        &town,
        &good,
        &[
            ("pay", "nonsense", "https://"),
            ("pay", "ftp://127.0.0.1/", "http"),
            ("pay", "file:///etc/passwd", "http"),
            ("--max", "lots", "--max"),
            ("--max", "", "--max"),
            ("--max", "1e3", "--max"),
            ("--max", "0x10", "--max"),
            ("--max", "1,5", "--max"),
            ("--key-file", "/no/such/file", "name a readable file"),
            ("--ledger", "nonsense", "sqlite:"),
        ],
    )
    .await;
    let no_key = without(&good, "--key-file");
    refused_in_one_line(&town.run(&no_key).await, "no key", "--key-file");
    let missing = [
        &no_key[..],
        &strings(&[
            "--wallet",
            "nobody",
            "--passphrase-file",
            &town.arg("buyer.key"),
        ]),
    ]
    .concat();
    refused_in_one_line(&town.run(&missing).await, "no wallet", "tollway wallet");
    for (more, cure) in [
        (["-H", "nonsense"], "Name: value"),
        (["-H", "bad name: x"], "Name: value"),
        (["-X", "BAD METHOD"], "POST"),
        (["-d", "@/no/such/file"], "-d @"),
        (["--network", "nowhere"], "nowhere"),
    ] {
        let args = [&good[..], &strings(&more)].concat();
        refused_in_one_line(&town.run(&args).await, &more.join(" "), cure);
    }
}

#[tokio::test]
async fn a_bad_wallet_name_or_passphrase_is_refused() {
    let town = Town::new().await;
    let secret = town
        .write_private("secret", "correct horse\n")
        .display()
        .to_string();
    let make = |name: &str| strings(&["wallet", "new", name, "--passphrase-file", &secret]);
    let address = town.run(&make("agent")).await.exits(0).stdout;
    assert!(
        address.starts_with("0x") && address.trim().len() == 42,
        "{address}"
    );
    refused_in_one_line(
        &town.run(&make("agent")).await,
        "twice",
        "choose another name",
    );
    for name in [
        "",
        "../x",
        "a/b",
        "a.json",
        "x y",
        "\u{e4}",
        &"x".repeat(65),
    ] {
        refused_in_one_line(&town.run(&make(name)).await, name, "letters, digits");
    }
    let wrong = town
        .write_private("wrong", "wrong horse\n")
        .display()
        .to_string();
    let url = "http://127.0.0.1:9/";
    let pay = |file: &str| {
        strings(&[
            "pay",
            url,
            "--max",
            "1",
            "--wallet",
            "agent",
            "--passphrase-file",
            file,
        ])
    };
    refused_in_one_line(
        &town.run(&pay(&wrong)).await,
        "wrong passphrase",
        "check the passphrase",
    );
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o644)).unwrap();
    refused_in_one_line(
        &town.run(&pay(&secret)).await,
        "open passphrase",
        "chmod 600",
    );
    let listed = town.run(&["wallet", "list"]).await.exits(0);
    assert!(listed.stdout.contains("agent"), "{}", listed.stdout);
    let file = town.path("tollway-home/wallets/agent.json");
    assert_eq!(
        std::fs::metadata(file).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[tokio::test]
async fn a_bad_line_of_the_configuration_is_named() {
    let town = Town::new().await;
    let config = town.path("tollway.toml");
    let args = strings(&["gate", "--config", &town.arg("tollway.toml")]);
    for (text, told) in [
        (
            "[gate]\nlisten = \"127.0.0.1:0\"\nupstraem = \"http://127.0.0.1:9\"\n",
            vec!["line 3", "upstraem"],
        ),
        ("[gate]\n\nlisten = 4021\n", vec!["line 3", "listen"]),
        ("[gate]\nlisten = \"x\n", vec!["line 2"]),
        ("[gaet]\n", vec!["line 1", "gaet"]),
        ("[gate]\nsettle = \"later\"\n", vec!["line 2", "later"]),
        ("[gate]\nroutes = \"/paid=$1\"\n", vec!["line 2"]),
        (
            "[gate]\nlisten = \"a\"\nlisten = \"b\"\n",
            vec!["line 3", "listen"],
        ),
        ("\u{0}", vec!["line 1"]),
    ] {
        std::fs::write(&config, text).unwrap();
        let done = town.run(&args).await;
        for part in told {
            refused(&done, text, part);
        }
    }
    std::fs::write(&config, b"[gate]\nlisten = \"\xff\"\n").unwrap();
    refused(&town.run(&args).await, "not text", "tollway.toml");
    std::fs::remove_file(&config).unwrap();
    refused_in_one_line(&town.run(&args).await, "no file", "--config");
}

#[tokio::test]
async fn a_good_configuration_stands_behind_the_flags() {
    let town = Town::new().await;
    let text = format!(
        "[gate]\nlisten = \"127.0.0.1:0\"\nupstream = \"{}\"\nroutes = [\"/paid/*=$0.01\"]\n\
         pay-to = \"{}\"\nnetworks = [\"base-sepolia={}\"]\nfacilitator = \"local\"\n",
        town.upstream.url(),
        crate::harness::town::PAYEE,
        town.rpc()
    );
    // Keys are the flags' names, in either spelling that TOML users expect.
    let text = text.replace("pay-to", "pay_to");
    std::fs::write(town.path("tollway.toml"), text).unwrap();
    let mut command = town.command(&["gate", "--config", &town.arg("tollway.toml")]);
    command.env("TOLLWAY_SIGNER_KEY_FILE", town.path("signer.key"));
    let (_gate, gate) = Program::serve(command).await;
    town.pay(&format!("{gate}/paid/x"), &[]).await.exits(0);
    assert!(
        town.path("tollway-home/gate.db").is_file(),
        "the default ledger is in the home"
    );
    town.paid_exactly_once();
}

#[tokio::test]
async fn a_bad_environment_is_named() {
    let town = Town::new().await;
    let args = town.facilitator_args(&town.rpc());
    let bare = without(&args, "--network");
    let args_without_rpc = [&bare[..], &strings(&["--network", NETWORK])].concat();
    for (name, value, told) in [
        ("TOLLWAY_LOG", "[[[", "TOLLWAY_LOG"),
        ("TOLLWAY_RPC_BASE_SEPOLIA", "nonsense", "URL"),
        ("TOLLWAY_RPC_EIP155_84532", "ftp://x", "http"),
    ] {
        let mut command = town.command(&args_without_rpc);
        command.env(name, value);
        refused_in_one_line(&crate::harness::program::run(command).await, name, told);
    }
    let mut command = town.command(&["wallet", "list"]);
    command.env("TOLLWAY_HOME", "/proc/nowhere");
    refused_in_one_line(
        &crate::harness::program::run(command).await,
        "home",
        "TOLLWAY_HOME",
    );
    let dotenv = town.write_private(".env", "TOLLWAY_LOG=info\nnonsense\n");
    refused_in_one_line(&town.run(&args).await, "line of .env", ".env:2");
    std::fs::write(&dotenv, "TOLLWAY_LOG=info\n").unwrap();
    std::fs::set_permissions(&dotenv, std::fs::Permissions::from_mode(0o644)).unwrap();
    refused_in_one_line(&town.run(&args).await, "open .env", "chmod 600");
}

#[tokio::test]
async fn looking_at_a_ledger_that_is_not_there_makes_none() {
    let town = Town::new().await;
    let missing = town.ledger("missing.db");
    refused_in_one_line(
        &town.run(&["ledger", "list", "--ledger", &missing]).await,
        "missing",
        "--ledger",
    );
    assert!(!town.path("missing.db").exists());
    let (_gate, _) = town.gate(&[]).await;
    let ledger = town.ledger("gate.db");
    let done = town
        .run(&["ledger", "list", "--ledger", &ledger, "--state", "lost"])
        .await;
    refused_in_one_line(&done, "state", "settled");
    let done = town
        .run(&["ledger", "show", "nobody", "--ledger", &ledger])
        .await
        .exits(1);
    assert!(done.stderr.contains("ledger list"), "{}", done.stderr);
    town.write_private(
        "text.db",
        &"this is no database, and never was one".repeat(40),
    );
    let done = town
        .run(&["ledger", "list", "--ledger", &town.ledger("text.db")])
        .await;
    assert!(
        matches!(done.code, Some(1 | 2)) && !done.stderr.contains("panicked"),
        "{done:?}"
    );
    assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
}

#[tokio::test]
async fn a_devnet_with_a_bad_flag_does_not_start() {
    let town = Town::new().await;
    let good = strings(&["devnet", "--listen", "127.0.0.1:0", "--block-time", "1"]);
    refuses_each(
        &town,
        &good,
        &[
            ("--listen", "nonsense", "--listen"),
            ("--block-time", "0", "--block-time"),
            ("--block-time", "soon", "--block-time"),
            ("--block-time", "99999", "--block-time"),
        ],
    )
    .await;
}

/// Header values that are no payment.
async fn malformed_payments(buyer: &Buyer, url: &str) -> Vec<Vec<u8>> {
    let good = buyer.sign(&buyer.terms(url).await, false).await;
    let good = serde_json::to_value(&good).unwrap();
    let whole = header::encode(&good);
    let mut texts: Vec<String> = [
        "",
        " ",
        "x",
        "%%%",
        "=",
        "null",
        "{}",
        "bnVsbA==",
        "MQ==",
        "W10=",
        "e30=",
        "InMi",
        "eyJ4",
        "\u{e4}",
        "\u{1f4b8}",
    ]
    .map(str::to_owned)
    .to_vec();
    texts.push(whole[..whole.len() / 2].to_owned());
    texts.push(format!("{whole}{whole}"));
    texts.push(format!("{whole}, {whole}"));
    texts.push(whole.replace('A', " "));
    texts.push("A".repeat(17 * 1024));
    let raw = |text: &str| header_of(text.as_bytes());
    texts.push(raw(&format!("{}1{}", "[".repeat(4000), "]".repeat(4000))));
    texts.push(raw(&format!(
        "{}1{}",
        "{\"a\":".repeat(100),
        "}".repeat(100)
    )));
    texts.push(raw("{\"x402Version\":2,\"x402Version\":2}"));
    texts.push(header_of(b"{\"x402Version\":2,\"\xff\":1}"));
    for (pointer, value) in [
        ("/x402Version", json!(1)),
        ("/x402Version", json!(3)),
        ("/x402Version", json!("2")),
        ("/x402Version", json!(-2)),
        ("/x402Version", json!(2.5)),
        ("/accepted", json!(null)),
        ("/accepted", json!([])),
        ("/accepted/amount", json!(10000)),
        ("/accepted/amount", json!("-1")),
        ("/payload", json!("text")),
        ("/payload", json!({})),
        ("/payload/signature", json!("0x")),
        ("/payload/signature", json!("0xzz")),
        ("/payload/signature", json!(7)),
        ("/payload/authorization", json!(null)),
        ("/payload/authorization/value", json!("1e4")),
        ("/payload/authorization/value", json!("+10000")),
        ("/payload/authorization/nonce", json!("0x01")),
        ("/payload/authorization/from", json!("0x1")),
        ("/payload/authorization/validBefore", json!("never")),
        ("/payload/authorization/validBefore", json!("1".repeat(200))),
        ("/extensions", json!([])),
    ] {
        let mut bad: Value = good.clone();
        *bad.pointer_mut(pointer).unwrap() = value;
        texts.push(header::encode(&bad));
    }
    let mut values: Vec<Vec<u8>> = texts.into_iter().map(String::into_bytes).collect();
    values.push(vec![0xff, 0xfe, 0x80]);
    values
}

/// Base64, as every x402 header has it.
fn header_of(json: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in json.chunks(3) {
        let bits = chunk
            .iter()
            .fold(0u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place > chunk.len() {
                '='
            } else {
                char::from(digit)
            });
        }
    }
    text
}

#[tokio::test]
async fn malformed_payments_are_refused_without_asking_the_facilitator() {
    let town = Town::new().await;
    let (_facilitator, facilitator) = town.facilitator().await;
    let chaos = Chaos::before(&facilitator).await;
    let (gate_process, gate) = town.trusting_gate(&chaos.url(), &[]).await;
    let buyer = Buyer::new(&BUYER);
    let url = format!("{gate}/paid/weather");
    let expected = [400, 402, 413, 431];
    for value in malformed_payments(&buyer, &url).await {
        for name in ["payment-signature", "x-payment"] {
            let mut bytes =
                format!("GET /paid/weather HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{name}: ")
                    .into_bytes();
            bytes.extend(&value);
            bytes.extend(b"\r\n\r\n");
            let answer = raw::send(&gate, &bytes).await;
            let shown = String::from_utf8_lossy(&value);
            assert!(
                expected.contains(&answer.status),
                "{name}: {shown:.300}: {}",
                answer.text
            );
        }
    }
    let (_, good) = buyer.pays(&url, false).await;
    let good = good.to_str().unwrap();
    let long = "x".repeat(100 * 1024);
    let many: Vec<(String, String)> = (0..200)
        .map(|n| (format!("x-{n}"), n.to_string()))
        .collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    for (what, headers) in [
        (
            "twice",
            vec![("payment-signature", good), ("payment-signature", good)],
        ),
        (
            "both",
            vec![("payment-signature", good), ("x-payment", good)],
        ),
        ("long", vec![("payment-signature", long.as_str())]),
        ("long and other", vec![("cookie", long.as_str())]),
        ("many", many),
    ] {
        let answer = raw::send(&gate, &raw::get("/paid/weather", &headers)).await;
        assert!(expected.contains(&answer.status), "{what}: {}", answer.text);
        assert!(!answer.text.contains(GOODS));
    }
    let asked = chaos.seen(|seen| seen.target.starts_with("POST"));
    assert!(
        asked.is_empty(),
        "the facilitator was asked about what cannot be valid: {asked:?}"
    );
    assert_eq!(town.upstream.asked("/paid/weather"), 0);
    assert!(
        !gate_process.stderr().contains("panicked"),
        "{}",
        gate_process.stderr()
    );
    let honest = buyer.get(&url, &[buyer.pays(&url, false).await]).await;
    assert_eq!(
        honest.status, 200,
        "after all that, an honest buyer is served: {honest:?}"
    );
    assert_eq!(chaos.asked("POST /verify"), 1);
    town.paid_exactly_once();
}

#[tokio::test]
async fn bytes_that_are_no_http_do_not_hang_or_break_a_server() {
    let town = Town::new().await;
    let (gate_process, gate) = town.gate(&[]).await;
    let (facilitator_process, facilitator) = town.facilitator().await;
    for url in [&gate, &facilitator] {
        for bytes in [
            &b"\r\n\r\n"[..],
            b"nonsense\r\n\r\n",
            b"GET /paid/x HTTP/9.9\r\n\r\n",
            b"GET  /paid/x HTTP/1.1\r\n\r\n",
            b"GET /paid/x HTTP/1.1\r\nhost: x\r\nbad header\r\n\r\n",
            b"GET /paid/x HTTP/1.1\r\nhost: x\r\n a: b\r\n\r\n",
            b"POST /paid/x HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
            b"POST /paid/x HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
            b"POST /paid/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: nonsense\r\n\r\n",
            b"CONNECT example.com:443 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
            b"GET /paid/\x00 HTTP/1.1\r\nhost: x\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnonsense",
        ] {
            let answer = raw::send(url, bytes).await;
            assert!(
                answer.status < 500,
                "{:?}: {}",
                String::from_utf8_lossy(bytes),
                answer.text
            );
            assert!(!answer.text.contains(GOODS));
        }
    }
    for (program, url) in [(&gate_process, &gate), (&facilitator_process, &facilitator)] {
        assert!(
            !program.stderr().contains("panicked"),
            "{}",
            program.stderr()
        );
        assert_eq!(raw::send(url, &raw::get("/health", &[])).await.status, 200);
    }
}

#[tokio::test]
async fn malformed_bodies_get_a_clear_answer_from_a_facilitator() {
    let town = Town::new().await;
    let (process, facilitator) = town.facilitator().await;
    let (_gate, gate) = town.gate(&[]).await;
    let buyer = Buyer::new(&BUYER);
    let payment = buyer
        .sign(&buyer.terms(&format!("{gate}/paid/x")).await, false)
        .await;
    let good = json!({ "x402Version": 2, "paymentPayload": payment, "paymentRequirements": payment.accepted });
    let mut bodies: Vec<Vec<u8>> = [
        "",
        "null",
        "1",
        "[]",
        "{}",
        "{",
        "\"s\"",
        "{\"x402Version\":2}",
        "{\"a\":1,\"a\":2}",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    bodies.push(vec![0xff, 0xfe]);
    bodies.push(format!("{}1{}", "[".repeat(20_000), "]".repeat(20_000)).into_bytes());
    bodies.push(vec![b' '; 70 * 1024]);
    bodies.push(
        good.to_string()
            .replace("{\"x402Version\":2", "{\"x402Version\":2,\"x402Version\":2")
            .into_bytes(),
    );
    for (pointer, value) in [
        ("/x402Version", json!(3)),
        ("/x402Version", json!("2")),
        ("/x402Version", json!(null)),
        ("/paymentPayload", json!(null)),
        ("/paymentPayload/payload", json!([])),
        ("/paymentPayload/accepted", json!("x")),
        ("/paymentPayload/payload/authorization/value", json!(-1)),
        ("/paymentPayload/payload/authorization/value", json!("1.5")),
        ("/paymentRequirements", json!(null)),
        ("/paymentRequirements/amount", json!(10000)),
        ("/paymentRequirements/amount", json!("-1")),
        ("/paymentRequirements/asset", json!("nonsense")),
        ("/paymentRequirements/payTo", json!("0x1")),
        ("/paymentRequirements/network", json!("nowhere")),
        ("/paymentRequirements/network", json!("eip155:1")),
        ("/paymentRequirements/scheme", json!("steal")),
        ("/paymentRequirements/maxTimeoutSeconds", json!("soon")),
        ("/paymentRequirements/extra", json!([])),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).unwrap() = value;
        bodies.push(bad.to_string().into_bytes());
    }
    for body in &bodies {
        for path in ["/verify", "/settle"] {
            let answer = raw::send(&facilitator, &raw::post(path, body)).await;
            let shown = String::from_utf8_lossy(body);
            let refused = answer.status == 200
                && (answer.text.contains("\"isValid\":false")
                    || answer.text.contains("\"success\":false"));
            assert!(
                refused || (400..500).contains(&answer.status),
                "{path} {shown:.300}: {}",
                answer.text
            );
            assert!(
                answer.text.contains("Reason\"") || answer.text.contains("\"error\""),
                "no code: {}",
                answer.text
            );
        }
    }
    for (bytes, status) in [
        (raw::get("/verify", &[]), 405),
        (raw::get("/nowhere", &[]), 404),
        (raw::get("/settlements/%ff", &[]), 404),
        (raw::get("/settlements/nobody", &[]), 404),
        (raw::get("/supported", &[("x-long", &"x".repeat(100 * 1024))]), 431),
        (b"POST /settle HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: text/html\r\ncontent-length: 2\r\n\r\n{}".to_vec(), 400),
        (b"POST /settle HTTP/1.1\r\nhost: x\r\nconnection: close\r\nidempotency-key: \xff\r\ncontent-length: 2\r\n\r\n{}".to_vec(), 400),
        (b"POST /settle HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 999999999\r\n\r\n{}".to_vec(), 413),
        // The body never comes: answered within the body's time.
        (b"POST /settle HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 100\r\n\r\n{}".to_vec(), 408),
    ] {
        let answer = raw::send(&facilitator, &bytes).await;
        assert_eq!(answer.status, status, "{:.100}: {}", String::from_utf8_lossy(&bytes), answer.text);
    }
    assert!(
        !process.stderr().contains("panicked"),
        "{}",
        process.stderr()
    );
    town.nothing_was_paid();
    let verified = raw::send(
        &facilitator,
        &raw::post("/verify", good.to_string().as_bytes()),
    )
    .await;
    assert!(
        verified.text.contains("\"isValid\":true"),
        "the good one is good: {}",
        verified.text
    );
}
