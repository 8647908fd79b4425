//! Gate and facilitator speak https with certificates from files.

use std::time::{Duration, Instant};

use reqwest::Version;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::certificates::{Authority, Wanted};
use crate::harness::town::{Town, strings};
use crate::harness::upstream::GOODS;
use crate::harness::{Program, raw, seconds, until};

fn with_tls(mut args: Vec<String>, town: &Town) -> Vec<String> {
    let (certificate, key) = (town.arg("server.pem"), town.arg("server.key"));
    args.extend(strings(&["--tls-cert", &certificate, "--tls-key", &key]));
    args
}

#[tokio::test]
async fn goods_are_bought_over_tls_in_both_versions_of_http() {
    let town = Town::new().await;
    let authority = Authority::new();
    authority.write(&town);
    let roots = town.path("roots.pem");
    std::fs::write(&roots, &authority.pem).unwrap();
    let facilitator = with_tls(town.facilitator_args(&town.rpc()), &town);
    let (_facilitator, facilitator) = Program::serve(town.command(&facilitator)).await;
    assert!(
        facilitator.starts_with("https://127.0.0.1:"),
        "{facilitator}"
    );
    let gate = with_tls(town.gate_args(&facilitator, &town.rpc()), &town);
    let mut command = town.command(&gate);
    command.env("SSL_CERT_FILE", &roots);
    let (_gate, gate) = Program::serve(command).await;
    assert!(gate.starts_with("https://127.0.0.1:"), "{gate}");

    let url = format!("{gate}/paid/weather");
    for (client, version) in [
        (authority.client(), Version::HTTP_2),
        (authority.client().http1_only(), Version::HTTP_11),
    ] {
        let answer = client.build().unwrap().get(&url).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.version()), (402, version));
        let terms = answer.text().await.unwrap();
        assert!(
            terms.contains(&url),
            "the resource is the https one: {terms}"
        );
    }
    let mut command = town.command(&town.pay_args(&url, &[]));
    command.env("SSL_CERT_FILE", &roots);
    let done = crate::harness::program::run(command).await.exits(0);
    assert_eq!(done.stdout, GOODS);
    town.paid_exactly_once();

    let plain = raw::send(&gate, &raw::get("/paid/weather", &[])).await;
    assert!(
        !plain.text.contains("402"),
        "nothing is said in the clear: {}",
        plain.text
    );
}

#[tokio::test]
async fn whoever_is_slow_to_shake_hands_keeps_nobody_waiting_and_is_let_go() {
    let town = Town::new().await;
    let authority = Authority::new();
    authority.write(&town);
    let gate = with_tls(town.gate_args("local", &town.rpc()), &town);
    let (gate, url) = Program::serve(town.command(&gate)).await;
    let begun = Instant::now();
    let mut silent = Vec::new();
    for number in 0..200 {
        let mut stream = TcpStream::connect(raw::address(&url)).await.unwrap();
        match number % 3 {
            0 => {}
            1 => stream.write_all(b"\x16\x03\x01\x02\x00\x01").await.unwrap(),
            _ => stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap(),
        }
        silent.push(stream);
    }
    let client = authority.client().timeout(seconds(5)).build().unwrap();
    let answer = client.get(format!("{url}/health")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    for (number, mut stream) in silent.into_iter().enumerate() {
        let mut rest = Vec::new();
        let left = seconds(15).saturating_sub(begun.elapsed());
        let ended = tokio::time::timeout(
            left.max(Duration::from_secs(1)),
            stream.read_to_end(&mut rest),
        );
        assert!(ended.await.is_ok(), "connection {number} stays open");
    }
    gate.signal("TERM").await;
    gate.end().await.exits(0);
}

#[tokio::test]
async fn files_that_make_no_certificate_are_named_before_anything_is_opened() {
    let town = Town::new().await;
    let authority = Authority::new();
    authority.write(&town);
    let usual = |name: &str| town.arg(name);
    let (certificate, key) = (usual("server.pem"), usual("server.key"));
    let written = |name: &str, text: &str| town.write_private(name, text).display().to_string();
    let other = authority.issue(&Wanted::default());
    let expired = authority.issue(&Wanted {
        until: 2021,
        ..Wanted::default()
    });
    let early = authority.issue(&Wanted {
        from: 2080,
        ..Wanted::default()
    });
    let client = authority.issue(&Wanted {
        purpose: rcgen::ExtendedKeyUsagePurpose::ClientAuth,
        ..Wanted::default()
    });
    let other_key = written("other.key", &other.1);
    let text_of_key = std::fs::read_to_string(&key).unwrap();
    let locked = text_of_key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let torn: String = text_of_key
        .lines()
        .take(2)
        .map(|l| format!("{l}\n"))
        .collect();
    let open = written("open.key", &text_of_key);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&open, mode).unwrap();
    for (certificate, key, says, cure) in [
        (&certificate, &other_key, "is not that of", "of one pair"),
        (
            &key,
            &certificate,
            "holds a private key and no certificate",
            "name a file with the certificate",
        ),
        (
            &certificate,
            &written("cert-as.key", &other.0),
            "holds a certificate and no private key",
            "name a file with the private key",
        ),
        (
            &certificate,
            &written("locked.key", &locked),
            "a key under a passphrase",
            "without a passphrase",
        ),
        (
            &certificate,
            &written("torn.key", &torn),
            "has no end",
            "name a file with the private key",
        ),
        (&certificate, &open, "can be read by others", "chmod 600"),
        (
            &certificate,
            &usual("none.key"),
            "cannot be read",
            "name a readable file",
        ),
        (
            &usual("none.pem"),
            &key,
            "cannot be read",
            "name a file with the certificate",
        ),
        (
            &written("expired.pem", &expired.0),
            &written("expired.key", &expired.1),
            "expired",
            "renew it",
        ),
        (
            &written("early.pem", &early.0),
            &written("early.key", &early.1),
            "not valid yet",
            "clock",
        ),
        (
            &written("client.pem", &client.0),
            &written("client.key", &client.1),
            "not for servers",
            "have one issued",
        ),
    ] {
        let mut args = town.gate_args("local", &town.rpc());
        args.extend(strings(&["--tls-cert", certificate, "--tls-key", key]));
        let done = town.run(&args).await.exits(2);
        let said = done.stderr.replace('\n', " ");
        assert!(
            said.contains(says) && said.contains(cure),
            "{says}, {cure}: {said}"
        );
        assert!(!said.contains("MIG") && !said.contains("BEGIN"), "{said}");
    }
    let mut args = town.facilitator_args(&town.rpc());
    args.extend(strings(&["--tls-cert", &certificate]));
    let done = town.run(&args).await.exits(2);
    assert!(
        done.stderr.contains("--tls-key is missing"),
        "{}",
        done.stderr
    );
    assert!(!town.path("gate.db").exists() && !town.path("facilitator.db").exists());
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_without_a_restart() {
    let town = Town::new().await;
    let (old, new) = (Authority::new(), Authority::new());
    old.write(&town);
    let gate = with_tls(town.gate_args("local", &town.rpc()), &town);
    let (gate, gate_url) = Program::serve(town.command(&gate)).await;
    let facilitator = with_tls(town.facilitator_args(&town.rpc()), &town);
    let (facilitator, facilitator_url) = Program::serve(town.command(&facilitator)).await;
    let is_shown = async |authority: &Authority, url: &str| {
        let client = authority.client().build().unwrap();
        client.get(format!("{url}/health")).send().await.is_ok()
    };
    for (program, url) in [(&gate, &gate_url), (&facilitator, &facilitator_url)] {
        old.write(&town);
        program.signal("HUP").await;
        let kept = old.client().build().unwrap();
        kept.get(format!("{url}/health")).send().await.unwrap();
        // A key of another pair changes nothing.
        let stray = new.issue(&Wanted::default());
        town.write_private("server.key", &stray.1);
        program.signal("HUP").await;
        until(seconds(10), "it is said", async || {
            program.stderr().contains("is not that of")
        })
        .await;
        assert!(is_shown(&old, url).await, "the old one counts");
        new.write(&town);
        program.signal("HUP").await;
        until(seconds(10), "the new one is shown", async || {
            is_shown(&new, url).await
        })
        .await;
        assert!(!is_shown(&old, url).await, "the old one is gone");
        let answer = kept.get(format!("{url}/health")).send().await.unwrap();
        assert_eq!(answer.status(), 200, "what was connected stays so");
    }
}
