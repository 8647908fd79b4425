//! `tollway init` writes what `tollway gate` starts with.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::harness::Program;
use crate::harness::town::{NETWORK, PAYEE, Town, strings};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_fresh_configuration_is_one_that_the_gate_starts_with() {
    let town = Town::new().await;
    let done = town
        .run(&["init", "--upstream", town.upstream.url()])
        .await
        .exits(0);
    for word in [
        "tollway check --config tollway.toml",
        "tollway gate --config tollway.toml",
        "https://faucet.circle.com",
    ] {
        assert!(done.stdout.contains(word), "{word}: {}", done.stdout);
    }
    let text = std::fs::read_to_string(town.path("tollway.toml")).unwrap();
    let lines = text.lines().count();
    assert!((15..=30).contains(&lines), "{lines} lines:\n{text}");
    for word in [
        "base-sepolia",
        "testnet",
        "https://faucet.circle.com",
        "https://x402.org/facilitator",
    ] {
        assert!(text.contains(word), "{word}:\n{text}");
    }
    assert_eq!(mode(&town.path("tollway.toml")), 0o600);
    assert_eq!(mode(&town.path("payee.key")), 0o600);
    // Nothing beside it is asked here: node and facilitator are of this machine.
    let node = format!("{NETWORK}={}", town.rpc());
    let args = [
        "gate",
        "--config",
        "tollway.toml",
        "--listen",
        "127.0.0.1:0",
        "--network",
        &node,
        "--facilitator",
        "http://127.0.0.1:9",
    ];
    let (_gate, url) = Program::serve(town.command(&args)).await;
    let inspected = town
        .run(&["inspect", &format!("{url}/paid/x")])
        .await
        .exits(0);
    assert!(
        inspected.stdout.contains("0.01 USDC on Base Sepolia"),
        "{}",
        inspected.stdout
    );
}

#[tokio::test]
async fn other_networks_settle_here_with_a_key_of_their_own() {
    let town = Town::new().await;
    let args = [
        "init",
        "sei.toml",
        "--network",
        "sei-testnet",
        "--pay-to",
        PAYEE,
        "--price",
        "$0.05, 0.04 USDC",
    ];
    let done = town.run(&args).await.exits(0);
    assert!(
        done.stdout.contains("signer.key") && done.stdout.contains("for gas"),
        "{}",
        done.stdout
    );
    let text = std::fs::read_to_string(town.path("sei.toml")).unwrap();
    for word in [
        "facilitator = \"local\"",
        "signer_key_file = \"signer.key\"",
        "sei-testnet=https://",
        PAYEE,
    ] {
        assert!(text.contains(word), "{word}:\n{text}");
    }
    let key = std::fs::read_to_string(town.path("signer.key")).unwrap();
    assert_eq!(mode(&town.path("signer.key")), 0o600);
    assert!(!text.contains(key.trim_start_matches("0x")) && !done.stdout.contains(&key));
    assert!(!town.path("payee.key").exists());
    // Real money, where it is said.
    town.run(&["init", "real.toml", "--mainnet", "--pay-to", PAYEE])
        .await
        .exits(0);
    let text = std::fs::read_to_string(town.path("real.toml")).unwrap();
    assert!(
        text.contains("base=https://") && text.contains("real money"),
        "{text}"
    );
    assert_eq!(
        std::fs::read_to_string(town.path("signer.key")).unwrap(),
        key,
        "a key was replaced"
    );
}

#[tokio::test]
async fn nothing_is_overwritten_and_nothing_half_is_written() {
    let town = Town::new().await;
    std::fs::write(town.path("tollway.toml"), "precious").unwrap();
    let args = |more: &[&str]| strings(&[&["init", "--pay-to", PAYEE], more].concat());
    let done = town.run(&args(&[])).await.exits(2);
    assert!(done.stderr.contains("--force"), "{}", done.stderr);
    assert_eq!(
        std::fs::read_to_string(town.path("tollway.toml")).unwrap(),
        "precious"
    );
    town.run(&args(&["--force"])).await.exits(0);
    assert!(
        std::fs::read_to_string(town.path("tollway.toml"))
            .unwrap()
            .contains(PAYEE)
    );
    let usdc = "0x036CbD53842c5426634e7929541eC2318f3dCF7e";
    let before = std::fs::read_dir(town.home()).unwrap().count();
    for (wrong, cure) in [
        (vec!["init", "x.toml", "--mainnet"], "add --pay-to"),
        (vec!["init", "x.toml", "--pay-to", usdc], "your own address"),
        (vec!["init", "x.toml", "--pay-to", "0x12"], "40 hex digits"),
        (vec!["init", "x.toml", "--price", "dear"], "write it like"),
        (vec!["init", "x.toml", "--upstream", "here"], "https://"),
        (vec!["init", "x.toml", "--network", "nowhere"], "known name"),
        (vec!["init", "x.toml", "--network", "starknet"], "RPC_URL"),
        (
            vec!["init", "x.toml", "--mainnet", "--network", "base"],
            "cannot be used with",
        ),
        (
            vec!["init", "no/such/x.toml", "--pay-to", PAYEE],
            "check the directory",
        ),
    ] {
        let done = town.run(&wrong).await;
        assert!(
            done.code != Some(0) && done.stderr.contains(cure),
            "{wrong:?}: {done:?}"
        );
        assert!(!town.path("x.toml").exists(), "{wrong:?}");
    }
    assert_eq!(
        std::fs::read_dir(town.home()).unwrap().count(),
        before,
        "a refused init left something"
    );
}
