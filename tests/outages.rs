//! What is down, slow, lying or full is said so; nothing is served, signed
//! twice or lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::process::Command;
use tollway_devnet::{Devnet, Mining, Preset};
use tollway_sweep::own_place;

use crate::harness::chaos::{Act, Chaos};
use crate::harness::program::{Program, dressed, run};
use crate::harness::town::{BUYER, NETWORK, Town, set};
use crate::harness::upstream::GOODS;
use crate::harness::{Buyer, raw, seconds, until};

async fn health(url: &str) -> raw::Answer {
    raw::send(url, &raw::get("/health", &[])).await
}

#[tokio::test]
async fn a_node_that_is_down_at_start_is_said_and_nothing_is_served_until_it_answers() {
    let town = Town::new().await;
    let chaos = Chaos::before(&town.rpc()).await;
    chaos.obey(|_| Act::Lose);
    let (process, url) = Program::serve(town.command(&town.gate_args("local", &chaos.url()))).await;
    assert!(
        process.stderr().contains("refused until it answers"),
        "{}",
        process.stderr()
    );
    let sick = health(&url).await;
    assert_eq!(sick.status, 503, "{}", sick.text);
    assert!(sick.text.contains(NETWORK), "{}", sick.text);
    let buyer = Buyer::new(&BUYER);
    let goods = format!("{url}/paid/weather");
    let payment = [buyer.pays(&goods, true).await];
    let reply = buyer.get(&goods, &payment).await;
    assert!(matches!(reply.status, 502 | 503), "{reply:?}");
    assert!(
        !reply.headers.contains_key("payment-required"),
        "no new terms: {reply:?}"
    );
    assert_eq!(town.upstream.asked("/paid/weather"), 0);
    town.nothing_was_paid();
    chaos.obey(|_| Act::Pass);
    until(seconds(20), "it is well again", async || {
        health(&url).await.status == 200
    })
    .await;
    let reply = buyer.get(&goods, &payment).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, GOODS));
    town.paid_exactly_once();
}

#[tokio::test]
async fn a_buyer_signs_nothing_for_a_server_that_is_down() {
    let town = Town::new().await;
    let done = town
        .pay("http://127.0.0.1:9/paid/weather", &[])
        .await
        .exits(1);
    assert!(done.stderr.contains("[request_failed]"), "{}", done.stderr);
    assert!(town.spends().await.is_empty());
}

#[tokio::test]
async fn a_node_that_talks_html_is_said_at_start() {
    let town = Town::new().await;
    let chaos = Chaos::before(&town.rpc()).await;
    chaos.obey(|_| Act::Answer(200, "text/html", "<html>welcome</html>".to_owned()));
    let process = Program::spawn(town.command(&town.facilitator_args(&chaos.url())));
    until(seconds(20), "it says what is wrong", async || {
        process.stderr().contains("tollway: ")
    })
    .await;
    let told = process.stderr();
    assert!(told.contains("RPC URL") && told.contains(NETWORK), "{told}");
    assert!(!told.contains("<html>"), "{told}");
    process.crash().await;
}

#[tokio::test]
async fn a_node_of_another_chain_stops_the_start() {
    let town = Town::new().await;
    let other = Devnet::builder()
        .preset(Preset::SeiTestnet)
        .build()
        .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = other.serve(listener).unwrap();
    for args in [
        town.facilitator_args(&other.url()),
        town.gate_args("local", &other.url()),
    ] {
        let done = town.run(&args).await.exits(2);
        assert!(
            done.stderr.contains("1328") && done.stderr.contains("84532"),
            "{}",
            done.stderr
        );
        assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
        assert_eq!(done.stdout, "", "it never said that it listens");
    }
}

#[tokio::test]
async fn a_node_that_talks_nonsense_later_settles_nothing() {
    let town = Town::new().await;
    let chaos = Chaos::before(&town.rpc()).await;
    let (_process, url) =
        Program::serve(town.command(&town.gate_args("local", &chaos.url()))).await;
    let buyer = Buyer::new(&BUYER);
    let goods = format!("{url}/paid/weather");
    let payment = [buyer.pays(&goods, true).await];
    chaos.obey(|_| Act::Answer(200, "application/json", "not json at all".to_owned()));
    let reply = buyer.get(&goods, &payment).await;
    assert!(matches!(reply.status, 502 | 503), "{reply:?}");
    assert_eq!(town.upstream.asked("/paid/weather"), 0);
    assert_eq!(health(&url).await.status, 503);
    town.nothing_was_paid();
}

#[tokio::test]
async fn a_node_that_dies_between_verify_and_settle_delays_the_goods_and_loses_nothing() {
    let town = Town::new().await;
    let chaos = Chaos::before(&town.rpc()).await;
    let (_process, url) =
        Program::serve(town.command(&town.gate_args("local", &chaos.url()))).await;
    let goods = format!("{url}/paid/weather");
    town.upstream.pause(Duration::from_millis(300));
    let paying = Program::spawn(town.command(&town.pay_args(&goods, &[])));
    until(seconds(20), "verified and served", async || {
        town.upstream.asked("/paid/weather") == 1
    })
    .await;
    chaos.obey(|_| Act::Lose);
    tokio::time::sleep(seconds(3)).await;
    assert_eq!(
        paying.stdout(),
        "",
        "nothing was released while nobody knows"
    );
    town.nothing_was_paid();
    chaos.obey(|_| Act::Pass);
    assert_eq!(paying.end().await.exits(0).stdout, GOODS);
    town.paid_exactly_once();
}

#[tokio::test]
async fn a_node_that_takes_a_transaction_and_loses_its_answer_is_paid_once() {
    let town = Town::new().await;
    let chaos = Chaos::before(&town.rpc()).await;
    let (_process, url) =
        Program::serve(town.command(&town.gate_args("local", &chaos.url()))).await;
    let lost = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&lost);
    chaos.obey(move |seen| {
        let sends = seen.body.contains("eth_sendRawTransaction");
        if sends && counter.fetch_add(1, Ordering::SeqCst) == 0 {
            Act::LoseAnswer
        } else {
            Act::Pass
        }
    });
    let done = town.pay(&format!("{url}/paid/weather"), &[]).await.exits(0);
    assert_eq!(done.stdout, GOODS);
    assert!(lost.load(Ordering::SeqCst) >= 1, "an answer was lost");
    town.paid_exactly_once();
}

#[tokio::test]
async fn a_buyer_whose_answers_are_lost_says_unknown_and_gets_the_goods_later() {
    let town = Town::new().await;
    let (_gate, gate) = town.gate(&[]).await;
    let chaos = Chaos::before(&gate).await;
    chaos.obey(
        |seen| match seen.head.to_lowercase().contains("payment-signature:") {
            true => Act::LoseAnswer,
            false => Act::Pass,
        },
    );
    let goods = format!("{}/paid/weather", chaos.url());
    let done = town.pay(&goods, &["--json"]).await.exits(6);
    let told = done.json();
    assert_eq!(told["outcome"], "unknown", "{told}");
    assert!(
        done.stderr.contains("run the same request again"),
        "{}",
        done.stderr
    );
    town.paid_exactly_once();
    chaos.obey(|_| Act::Pass);
    let again = town.pay(&goods, &[]).await.exits(0);
    assert_eq!(again.stdout, GOODS);
    assert!(
        again.stderr.contains("the same payment is shown again"),
        "{}",
        again.stderr
    );
    assert_eq!(town.spends().await.len(), 1, "one signature in all");
    let shown = chaos.seen(|seen| seen.head.to_lowercase().contains("payment-signature:"));
    let header = |head: &str| {
        let line = head
            .lines()
            .find(|l| l.to_lowercase().starts_with("payment-signature:"));
        line.unwrap().to_owned()
    };
    assert!(shown.len() >= 3, "it was shown again by itself");
    assert!(
        shown
            .iter()
            .all(|seen| header(&seen.head) == header(&shown[0].head)),
        "the same bytes"
    );
    town.paid_exactly_once();
}

#[tokio::test]
async fn a_facilitator_that_is_down_means_no_goods_and_no_new_terms() {
    let town = Town::new().await;
    let (_facilitator, facilitator) = town.facilitator().await;
    let chaos = Chaos::before(&facilitator).await;
    let (_gate, gate) = town.trusting_gate(&chaos.url(), &[]).await;
    let buyer = Buyer::new(&BUYER);
    let goods = format!("{gate}/paid/weather");
    let payment = [buyer.pays(&goods, true).await];
    for act in [
        Act::Lose,
        Act::Answer(500, "application/json", "{}".to_owned()),
        Act::Answer(502, "text/html", "<html>bad gateway</html>".to_owned()),
        Act::Answer(200, "text/html", "<html>welcome</html>".to_owned()),
        Act::Answer(200, "application/json", "{\"isValid\":\"true\"}".to_owned()),
        Act::Answer(200, "application/json", "{\"isValid\":1}".to_owned()),
        Act::Answer(200, "application/json", "{}".to_owned()),
        Act::Answer(503, "application/json", "{\"isValid\":true}".to_owned()),
    ] {
        chaos.obey({
            let act = act.clone();
            move |_| act.clone()
        });
        let reply = buyer.get(&goods, &payment).await;
        assert!(matches!(reply.status, 502 | 503), "{act:?}: {reply:?}");
        assert!(
            !reply.headers.contains_key("payment-required"),
            "{act:?}: {reply:?}"
        );
    }
    assert_eq!(town.upstream.asked("/paid/weather"), 0);
    town.nothing_was_paid();
    chaos.obey(|_| Act::Pass);
    assert_eq!(
        buyer.get(&goods, &payment).await.status,
        200,
        "the same payment is still good"
    );
    town.paid_exactly_once();
}

#[tokio::test]
async fn a_facilitator_whose_settle_answer_is_lost_or_mad_is_asked_again_for_the_same_payment() {
    let town = Town::new().await;
    let (_facilitator, facilitator) = town.facilitator().await;
    let chaos = Chaos::before(&facilitator).await;
    let (_gate, gate) = town.trusting_gate(&chaos.url(), &[]).await;
    let asked = Arc::new(AtomicUsize::new(0));
    chaos.obey(move |seen| {
        if seen.target != "POST /settle" {
            return Act::Pass;
        }
        match asked.fetch_add(1, Ordering::SeqCst) {
            0 => Act::LoseAnswer,
            1 => Act::Answer(502, "text/html", "<html>".to_owned()),
            2 => Act::Answer(200, "application/json", "{\"success\":\"true\"}".to_owned()),
            _ => Act::Pass,
        }
    });
    let done = town
        .pay(&format!("{gate}/paid/weather"), &[])
        .await
        .exits(0);
    assert_eq!(done.stdout, GOODS);
    assert!(chaos.asked("POST /settle") >= 4);
    town.paid_exactly_once();
}

#[tokio::test]
async fn a_facilitator_that_lies_about_settling_is_found_out_by_a_gate_with_a_node() {
    let town = Town::new().await;
    let (_facilitator, facilitator) = town.facilitator().await;
    let chaos = Chaos::before(&facilitator).await;
    // A real transaction of this chain, which pays somebody else.
    let (_other, other) = town.gate(&[]).await;
    let liar = town
        .pay(&format!("{other}/paid/a"), &["--json"])
        .await
        .exits(0)
        .json();
    let hash = liar["payment"]["transaction"].as_str().unwrap().to_owned();
    let earned = town.earned();
    let mut args = town.gate_args(&chaos.url(), &town.rpc());
    set(&mut args, "--ledger", &town.ledger("checking.db"));
    let (_gate, gate) = Program::serve(town.command(&args)).await;
    let said = json!({ "success": true, "transaction": hash, "network": NETWORK }).to_string();
    chaos.obey(move |seen| match seen.target.as_str() {
        "POST /settle" => Act::Answer(200, "application/json", said.clone()),
        _ => Act::Pass,
    });
    let buyer = Buyer::new(&BUYER);
    let url = format!("{gate}/paid/weather");
    let payment = [buyer.pays(&url, true).await];
    // The chain does not say that it settled; the buyer may have to wait for that.
    let reply = tokio::time::timeout(seconds(4), buyer.get(&url, &payment)).await;
    if let Ok(reply) = reply {
        assert!(
            reply.status != 200 && !reply.body.contains(GOODS),
            "{reply:?}"
        );
    }
    assert_eq!(chaos.asked("POST /settle"), 1);
    assert_eq!(town.earned(), earned);
}

#[tokio::test]
async fn a_success_with_a_failing_status_is_not_believed() {
    let town = Town::new().await;
    let (_facilitator, facilitator) = town.facilitator().await;
    let chaos = Chaos::before(&facilitator).await;
    let (_gate, gate) = town.trusting_gate(&chaos.url(), &[]).await;
    let said = json!({
        "success": true, "transaction": format!("0x{}", "ab".repeat(32)), "network": NETWORK,
    });
    for status in [500, 502, 503, 400, 402] {
        let said = said.to_string();
        chaos.obey(move |seen| match seen.target.as_str() {
            "POST /settle" => Act::Answer(status, "application/json", said.clone()),
            _ => Act::Pass,
        });
        let buyer = Buyer::new(&BUYER);
        let url = format!("{gate}/paid/{status}");
        let payment = [buyer.pays(&url, true).await];
        // Nobody knows what became of it, so it is asked about for a while.
        let reply = tokio::time::timeout(seconds(2), buyer.get(&url, &payment)).await;
        if let Ok(reply) = reply {
            assert!(!reply.body.contains(GOODS), "{status}: {reply:?}");
        }
    }
    town.nothing_was_paid();
}

/// A gate whose files may not grow beyond so many 512-byte blocks.
fn cramped(town: &Town, args: &[String], blocks: u32) -> Command {
    let mut command = Command::new("sh");
    dressed(&mut command, town.home());
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    command
        .args(["-c", &script, env!("CARGO_BIN_EXE_tollway")])
        .args(args);
    command
}

#[tokio::test]
async fn a_ledger_that_is_full_stops_payments_and_loses_none() {
    let town = Town::new().await;
    let mut args = town.gate_args("local", &town.rpc());
    set(&mut args, "--listen", &own_place());
    let buyer = Buyer::new(&BUYER);
    let mut payments = Vec::new();
    let mut served = 0;
    let address;
    {
        let (process, url) = Program::serve(cramped(&town, &args, 2000)).await;
        let goods = format!("{url}/paid/weather");
        let mut full = false;
        for _ in 0..150 {
            let payment = buyer.pays(&goods, true).await;
            let asking = buyer.get(&goods, std::slice::from_ref(&payment));
            // Who is in the middle of settling may have to wait.
            let reply = tokio::time::timeout(seconds(4), asking).await.ok();
            payments.push(payment.clone());
            if reply.as_ref().is_some_and(|reply| reply.status == 200) {
                served += 1;
                continue;
            }
            full = true;
            if let Some(reply) = reply {
                assert!(matches!(reply.status, 402 | 503), "{reply:?}");
                assert!(!reply.headers.contains_key("payment-required"), "{reply:?}");
            }
            break;
        }
        assert!(full, "the disk never filled up");
        assert!(served > 0, "not even one payment fit");
        let sick = health(&url).await;
        assert_eq!(sick.status, 503, "{}", sick.text);
        let told = process.stderr();
        assert!(told.contains("ledger"), "{told}");
        assert!(!told.contains("panicked"), "{told}");
        let asked = town.upstream.asked("/paid/weather");
        let more = buyer.pays(&goods, true).await;
        let reply = buyer.get(&goods, std::slice::from_ref(&more)).await;
        payments.push(more);
        assert!(matches!(reply.status, 402 | 503), "{reply:?}");
        assert!(town.upstream.asked("/paid/weather") <= asked + 1);
        process.crash().await;
        address = raw::address(&url).to_string();
    }
    // With room again, everybody gets what they paid for, and pays once.
    set(&mut args, "--listen", &address);
    let (_process, url) = Program::serve(town.command(&args)).await;
    assert_eq!(health(&url).await.status, 200);
    for payment in &payments {
        let reply = buyer
            .get(
                &format!("{url}/paid/weather"),
                std::slice::from_ref(payment),
            )
            .await;
        assert_eq!(
            (reply.status, reply.body.as_str()),
            (200, GOODS),
            "{reply:?}"
        );
    }
    assert_eq!(
        town.transfers().len(),
        payments.len(),
        "one transfer for each purchase"
    );
    let settled = town.payments("gate.db").await;
    assert!(
        settled.iter().all(|payment| payment["state"] == "settled"),
        "{settled:?}"
    );
}

#[tokio::test]
async fn a_node_that_never_answers_does_not_hang_a_buyer() {
    let town = Town::new().await;
    let chaos = Chaos::before(&town.rpc()).await;
    let (_process, url) =
        Program::serve(town.command(&town.gate_args("local", &chaos.url()))).await;
    let buyer = Buyer::new(&BUYER);
    let goods = format!("{url}/paid/weather");
    let payment = [buyer.pays(&goods, true).await];
    chaos.obey(|_| Act::Hang);
    let answered = tokio::time::timeout(seconds(35), buyer.get(&goods, &payment)).await;
    let reply = answered.expect("an answer in time");
    assert!(matches!(reply.status, 502 | 503), "{reply:?}");
    assert_eq!(town.upstream.asked("/paid/weather"), 0);
    town.nothing_was_paid();
}

#[tokio::test]
async fn a_payer_whose_ledger_is_full_signs_nothing() {
    let town = Town::new().await;
    let (_gate, gate) = town.gate(&[]).await;
    town.pay(&format!("{gate}/paid/0"), &[]).await.exits(0);
    let blocks = std::fs::metadata(town.path("payer.db")).unwrap().len() / 512;
    let earned = town.earned();
    let args = town.pay_args(&format!("{gate}/paid/1"), &[]);
    let done = run(cramped(&town, &args, u32::try_from(blocks / 4).unwrap())).await;
    assert!(matches!(done.code, Some(1 | 2)), "{done:?}");
    assert!(
        done.stderr.contains("ledger") && !done.stderr.contains("panicked"),
        "{}",
        done.stderr
    );
    assert_eq!(town.earned(), earned, "nothing moved");
    assert_eq!(town.upstream.asked("/paid/1"), 0);
}

#[tokio::test]
async fn a_slow_chain_makes_a_buyer_wait_and_is_paid_once() {
    let town = Town::with_manual_blocks().await;
    let (_gate, gate) = town.gate(&[]).await;
    let paying = Program::spawn(town.command(&town.pay_args(&format!("{gate}/paid/weather"), &[])));
    until(seconds(20), "in flight", async || town.chain.waiting() > 0).await;
    tokio::time::sleep(seconds(2)).await;
    assert_eq!(paying.stdout(), "");
    town.chain.set_mining(Mining::Automine);
    assert_eq!(paying.end().await.exits(0).stdout, GOODS);
    town.paid_exactly_once();
}

#[tokio::test]
async fn an_outage_is_seen_by_probes_and_ends_with_it() {
    let town = Town::new().await;
    let chaos = Chaos::before(&town.rpc()).await;
    let down = Arc::new(AtomicBool::new(false));
    let state = Arc::clone(&down);
    chaos.obey(move |_| {
        if state.load(Ordering::SeqCst) {
            Act::Lose
        } else {
            Act::Pass
        }
    });
    let (_process, url) = Program::serve(town.command(&town.facilitator_args(&chaos.url()))).await;
    for _ in 0..2 {
        down.store(false, Ordering::SeqCst);
        until(seconds(15), "well", async || {
            health(&url).await.status == 200
        })
        .await;
        down.store(true, Ordering::SeqCst);
        until(seconds(15), "not well", async || {
            health(&url).await.status == 503
        })
        .await;
    }
}
