//! Where a collector is named, a paid request is one trace through gate, facilitator
//! and the service behind, whoever began it.

use serde_json::Value;

use crate::harness::chaos::Chaos;
use crate::harness::collector::Collector;
use crate::harness::town::{BUYER, Town, set, strings};
use crate::harness::{Buyer, Program, raw};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

#[tokio::test]
async fn a_paid_request_is_one_trace_through_all_that_serve_it() {
    let town = Town::new().await;
    let collector = Collector::start().await;
    let traced = |mut args: Vec<String>| {
        args.extend(strings(&["--otlp-endpoint", collector.url()]));
        args
    };
    let args = traced(town.facilitator_args(&town.rpc()));
    let (facilitator, facilitator_url) = Program::serve(town.command(&args)).await;
    let behind = Chaos::before(town.upstream.url()).await;
    let mut args = traced(town.gate_args(&facilitator_url, &town.rpc()));
    set(&mut args, "--upstream", &behind.url());
    let (gate, url) = Program::serve(town.command(&args)).await;

    let (buyer, paid) = (
        Buyer::new(&BUYER),
        format!("{url}/paid/weather?canary-query"),
    );
    let payment = buyer.pays(&paid, true).await;
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let trace = ("traceparent".parse().unwrap(), parent.parse().unwrap());
    let reply = buyer.get(&paid, &[payment.clone(), trace]).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    for program in [gate, facilitator] {
        program.signal("TERM").await;
        program.end().await.exits(0);
    }

    let spans = collector.spans();
    let ours: Vec<&Value> = spans
        .iter()
        .filter(|span| span["traceId"] == TRACE)
        .collect();
    let one = |service: &str, name: &str| {
        let found = ours
            .iter()
            .find(|s| s["service"] == service && s["name"] == name);
        *found.unwrap_or_else(|| panic!("no span {name} of {service} in {ours:#?}"))
    };
    let request = one("tollway-gate", "gate");
    assert_eq!(
        request["parentSpanId"], SPAN,
        "it goes on with what the caller began"
    );
    for step in ["verify", "claim", "upstream", "settle"] {
        assert_eq!(
            one("tollway-gate", step)["parentSpanId"],
            request["spanId"],
            "{step}"
        );
    }
    let asked: Vec<_> = ours
        .iter()
        .filter(|s| s["service"] == "tollway-facilitator" && s["name"] == "facilitator")
        .collect();
    assert_eq!(asked.len(), 2, "verify and settle: {asked:#?}");
    let parents: Vec<_> = asked.iter().map(|span| &span["parentSpanId"]).collect();
    for step in ["verify", "settle"] {
        assert!(
            parents.contains(&&one("tollway-gate", step)["spanId"]),
            "{step}"
        );
        let name = format!("engine {step}");
        let engine = one("tollway-facilitator", &name);
        assert!(
            asked
                .iter()
                .any(|span| span["spanId"] == engine["parentSpanId"]),
            "{name}"
        );
    }
    assert!(
        spans.iter().any(|s| s["service"] == "tollway-facilitator"
            && s["name"].as_str().unwrap().starts_with("eth_")
            || s["name"] == "batch"),
        "nodes are asked"
    );
    let upstream = one("tollway-gate", "upstream")["spanId"].as_str().unwrap();
    let seen = behind.seen(|seen| {
        seen.head
            .to_lowercase()
            .contains(&format!("traceparent: 00-{TRACE}-{upstream}-01"))
    });
    assert_eq!(
        seen.len(),
        1,
        "the service behind hears of it: {:?}",
        behind.seen(|_| true).len()
    );

    let sent = collector.text().to_lowercase();
    let signature = payment.1.to_str().unwrap().to_lowercase();
    for secret in [
        &BUYER.address.to_string().to_lowercase()[2..],
        "canary",
        "weather",
        &signature[..40],
        &town.transfers()[0],
    ] {
        assert!(!sent.contains(secret), "traces tell {secret}");
    }
}

#[tokio::test]
async fn without_a_collector_a_callers_trace_goes_through_as_it_is() {
    let town = Town::new().await;
    let behind = Chaos::before(town.upstream.url()).await;
    let mut args = town.gate_args("local", &town.rpc());
    set(&mut args, "--upstream", &behind.url());
    let (_gate, url) = Program::serve(town.command(&args)).await;
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let asked = raw::client()
        .get(format!("{url}/free"))
        .header("traceparent", &parent);
    assert_eq!(asked.send().await.unwrap().status(), 200);
    let seen = behind.seen(|seen| seen.head.to_lowercase().contains(&parent));
    assert_eq!(seen.len(), 1);
    for (endpoint, says) in [
        ("collector", "not a URL"),
        ("http://me:canary@127.0.0.1:4318", "a user, a password"),
    ] {
        let mut args = town.gate_args("local", &town.rpc());
        args.extend(strings(&["--otlp-endpoint", endpoint]));
        let done = town.run(&args).await.exits(2);
        assert!(
            done.stderr.contains(says) && !done.stderr.contains("canary"),
            "{}",
            done.stderr
        );
    }
    // One that is not there costs nobody anything.
    let mut args = town.gate_args("local", &town.rpc());
    args.extend(strings(&["--otlp-endpoint", "http://127.0.0.1:9"]));
    set(&mut args, "--ledger", &town.ledger("other.db"));
    let (gate, url) = Program::serve(town.command(&args)).await;
    town.pay(&format!("{url}/paid/weather"), &[]).await.exits(0);
    gate.signal("TERM").await;
    gate.end().await.exits(0);
}
