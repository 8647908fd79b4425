//! Nonsense at the command line, in a file or in the environment gets exit code 2
//! and a sentence that names the cure; never a panic, and never a start.

use std::os::unix::fs::PermissionsExt;

use crate::harness::program::{Finished, Program, run};
use crate::harness::seconds;
use crate::harness::town::{NETWORK, PAYEE, Town, set, strings, without};

/// What is wrong with a refusal at the command line, if anything is.
fn fault(done: &Finished, cure: &str) -> Result<(), String> {
    let told = &done.stderr;
    let ugly = [
        "panicked",
        "RUST_BACKTRACE",
        "stack backtrace",
        "Err(",
        "unwrap",
    ];
    let why = if done.code != Some(2) {
        format!("exit code {:?}", done.code)
    } else if !told.contains(cure) {
        format!("the cure {cure:?} is not named")
    } else if !done.stdout.is_empty() {
        format!("it wrote to stdout: {}", done.stdout)
    } else if let Some(ugly) = ugly.iter().find(|ugly| told.contains(*ugly)) {
        format!("{ugly:?} is nobody's business")
    } else if !told.ends_with('\n') || told.len() > 4000 {
        "it is no short text".to_owned()
    } else {
        return Ok(());
    };
    Err(format!("{why}: {told}"))
}

/// Asserts what every refusal at the command line keeps to.
#[track_caller]
fn refused(done: &Finished, what: &str, cure: &str) {
    fault(done, cure).unwrap_or_else(|why| panic!("{what}: {why}"));
}

/// What we say ourselves takes one line.
fn fault_in_one_line(done: &Finished, cure: &str) -> Result<(), String> {
    fault(done, cure)?;
    match done.stderr.lines().count() == 1 && done.stderr.starts_with("tollway: ") {
        true => Ok(()),
        false => Err(format!("not one line of ours: {}", done.stderr)),
    }
}

/// The same, for what we say ourselves: one line.
#[track_caller]
fn refused_in_one_line(done: &Finished, what: &str, cure: &str) {
    fault_in_one_line(done, cure).unwrap_or_else(|why| panic!("{what}: {why}"));
}

/// Changes one flag at a time, and tells of all that are not refused as they should be.
async fn refuses_each(town: &Town, good: &[String], wrongs: &[(&str, &str, &str)]) {
    let changed = |(flag, value, cure): &(&str, &str, &str)| {
        let mut args = good.to_vec();
        match args.iter().any(|arg| arg == flag) {
            true => set(&mut args, flag, value),
            false => args.extend(strings(&[flag, value])),
        }
        (format!("{flag} {value:?}"), args, (*cure).to_owned())
    };
    refuse_all(town, wrongs.iter().map(changed)).await;
}

async fn refuse_all(town: &Town, cases: impl Iterator<Item = (String, Vec<String>, String)>) {
    let mut faults = Vec::new();
    for (what, args, cure) in cases {
        let fault = match tokio::time::timeout(seconds(10), town.run(&args)).await {
            Ok(done) => fault_in_one_line(&done, &cure),
            Err(_) => Err("it was taken".to_owned()),
        };
        faults.extend(fault.err().map(|why| format!("{what}: {why}")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[tokio::test]
async fn a_gate_with_a_bad_flag_does_not_start() {
    let town = Town::new().await;
    let good = town.gate_args("local", &town.rpc());
    let ftp = format!("{NETWORK}=ftp://127.0.0.1");
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
        ("--route", "/paid=", "write for example"),
        ("--route", "/paid=free", "leave the route out"),
        ("--route", "/paid=$0", ""),
        ("--route", "/paid=$-1", ""),
        ("--route", "/paid=$1e3", ""),
        ("--route", "/paid=$0.0000001", "round it"),
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
        ("--network", "starknet:SN_MAIN", "--starknet-account"),
        ("--network", "solana", "base"),
        ("--network", &ftp, "http"),
        ("--network", &no_url, "https://"),
        ("--network", &remote, "--allow-http"),
        ("--facilitator", "nonsense", "--facilitator"),
        ("--facilitator", "http://192.0.2.1", "http"),
        ("--facilitator", "ftp://127.0.0.1", "http"),
        ("--signer-key-file", "/no/such/file", "name a readable file"),
        ("--ledger", "nonsense", "sqlite:"),
        ("--ledger", "mysql://me:secret@127.0.0.1/x", "sqlite:"),
        ("--ledger", "postgres://", "postgres://user@"),
        ("--ledger", "sqlite:", "sqlite:"),
        ("--ledger", "sqlite:/no/such/folder/gate.db", "/no/such/folder"),
        ("--finality", "soon", "--finality"),
        ("--public-url", "nonsense", "http"),
        ("--public-url", "ftp://x", "http"),
    ])
    .await;
    let twice = [
        &good[..],
        &strings(&["--network", &format!("base-sepolia={}", town.rpc())]),
    ]
    .concat();
    refused_in_one_line(&town.run(&twice).await, "the same network twice", "once");
    let flags = [
        "--listen",
        "--upstream",
        "--route",
        "--pay-to",
        "--network",
        "--facilitator",
        "--signer-key-file",
    ];
    let lacking = |flag: &&str| {
        (
            format!("without {flag}"),
            without(&good, flag),
            (*flag).to_owned(),
        )
    };
    refuse_all(&town, flags.iter().map(lacking)).await;
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
            ("--max", "-1", "--max"),
            ("--max", "", "--max"),
            ("--max", "1e3", "--max"),
            ("--max", "0x10", "--max"),
            ("--max", "1,5", "--max"),
            ("--key-file", "/no/such/file", "name a readable file"),
            ("--ledger", "nonsense", "sqlite:"),
            ("-H", "nonsense", "Name: value"),
            ("-H", "bad name: x", "Name: value"),
            ("-X", "BAD METHOD", "POST"),
            ("-d", "@/no/such/file", "-d @"),
            ("--network", "nowhere", "nowhere"),
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
        PAYEE,
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
        refused_in_one_line(&run(command).await, name, told);
    }
    let mut command = town.command(&["wallet", "list"]);
    command.env("TOLLWAY_HOME", "/proc/nowhere");
    refused_in_one_line(&run(command).await, "home", "TOLLWAY_HOME");
    let dotenv = town.write_private(".env", "TOLLWAY_LOG=info\nTOLLWAY_LEDGER\n");
    refused_in_one_line(&town.run(&args).await, "line of .env", ".env:2");
    std::fs::write(&dotenv, "TOLLWAY_LOG=info\n").unwrap();
    std::fs::set_permissions(&dotenv, std::fs::Permissions::from_mode(0o644)).unwrap();
    refused_in_one_line(&town.run(&args).await, "open .env", "chmod 600");
    // What speaks of others only is none of our business, whoever may read it.
    std::fs::write(&dotenv, "DATABASE_URL=x\nnonsense\n").unwrap();
    town.run(&["wallet", "list"]).await.exits(0);
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
            ("--block-time", "-1", "--block-time"),
            ("--block-time", "soon", "--block-time"),
            ("--block-time", "99999", "--block-time"),
        ],
    )
    .await;
}
