//! A server that is asked to stop finishes what was begun, and goes.

use std::time::{Duration, Instant};

use tollway_devnet::Mining;

use crate::harness::town::Town;
use crate::harness::upstream::GOODS;
use crate::harness::{Program, raw, seconds, until};

async fn stops_after_its_payment(signal: &str, remote: bool) {
    let town = Town::with_manual_blocks().await;
    let (stopped, helper, url, freed) = if remote {
        let (facilitator, facilitator_url) = town.facilitator().await;
        let (gate, url) = town.trusting_gate(&facilitator_url, &[]).await;
        (facilitator, Some(gate), url, facilitator_url)
    } else {
        let (gate, url) = town.gate(&[]).await;
        (gate, None, url.clone(), url)
    };
    let paying = Program::spawn(town.command(&town.pay_args(&format!("{url}/paid/weather"), &[])));
    until(seconds(20), "a settlement is in flight", async || {
        town.chain.waiting() > 0
    })
    .await;
    stopped.signal(signal).await;
    until(seconds(5), "it takes no more connections", async || {
        tokio::net::TcpStream::connect(raw::address(&freed))
            .await
            .is_err()
    })
    .await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    town.chain.set_mining(Mining::Automine);
    let done = paying.end().await.exits(0);
    assert_eq!(done.stdout, GOODS, "what was begun is finished");
    assert!(
        !done.stderr.contains("attempt 2"),
        "the first answer came: {}",
        done.stderr
    );
    let ended = stopped.end().await.exits(0);
    assert!(
        ended.stdout.contains("listening on http://127.0.0.1:"),
        "{}",
        ended.stdout
    );
    assert!(!ended.stderr.contains("still open"), "{}", ended.stderr);
    assert!(
        tokio::net::TcpListener::bind(raw::address(&freed))
            .await
            .is_ok(),
        "the port is free"
    );
    drop(helper);
    town.paid_exactly_once();
}

#[tokio::test]
async fn a_gate_told_to_terminate_finishes_the_payment_in_flight() {
    stops_after_its_payment("TERM", false).await;
}

#[tokio::test]
async fn a_gate_interrupted_from_the_keyboard_finishes_the_payment_in_flight() {
    stops_after_its_payment("INT", false).await;
}

#[tokio::test]
async fn a_facilitator_told_to_terminate_finishes_the_payment_in_flight() {
    stops_after_its_payment("TERM", true).await;
}

#[tokio::test]
async fn servers_without_work_stop_at_once_even_with_open_connections() {
    let town = Town::new().await;
    let (gate, gate_url) = town.gate(&[]).await;
    let (facilitator, facilitator_url) = town.facilitator().await;
    let (devnet, devnet_url) =
        Program::serve(town.command(&["devnet", "--listen", "127.0.0.1:0"])).await;
    for (program, url, path) in [
        (gate, gate_url, "/health"),
        (facilitator, facilitator_url, "/health"),
        (devnet, devnet_url, "/"),
    ] {
        let client = raw::client();
        let answer = client.get(format!("{url}{path}")).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let _ = answer.bytes().await;
        let idle = tokio::net::TcpStream::connect(raw::address(&url))
            .await
            .unwrap();
        let begun = Instant::now();
        program.signal("TERM").await;
        program.end().await.exits(0);
        assert!(
            begun.elapsed() < seconds(5),
            "{url} took {:?}",
            begun.elapsed()
        );
        drop((idle, client));
    }
}
