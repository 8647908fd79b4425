//! What whoever runs a server has of it: metrics, an address of their own, a way to
//! take it out of service.

use std::collections::BTreeSet;

use serde_json::Value;
use tollway_core::PaymentId;

use crate::harness::town::{BUYER, Town, strings};
use crate::harness::{Program, raw, seconds, until};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A server with an address for its operator, which comes back too.
async fn with_admin(town: &Town, mut args: Vec<String>) -> (Program, String, String) {
    let token = town.write_private("admin.token", TOKEN);
    args.extend(strings(&["--admin-listen", "127.0.0.1:0"]));
    args.extend(strings(&[
        "--admin-token-file",
        &token.display().to_string(),
    ]));
    let (program, url) = Program::serve(town.command(&args)).await;
    let said = program.stdout();
    let (_, admin) = said.split_once("admin on ").expect("it says where");
    let admin = admin.split_whitespace().next().unwrap().to_owned();
    (program, url, admin)
}

async fn text(url: &str) -> String {
    let answer = raw::client().get(url).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{url}");
    answer.text().await.unwrap()
}

/// What the page for operators lists.
fn listed() -> BTreeSet<String> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operations.md");
    let page = std::fs::read_to_string(page).unwrap();
    let rows = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `tollway_"));
    rows.map(|row| format!("tollway_{}", row.split('`').next().unwrap()))
        .collect()
}

#[tokio::test]
async fn metrics_tell_what_alerts_need_and_name_no_buyer() {
    let town = Town::new().await;
    let args = town.facilitator_args(&town.rpc());
    let (_facilitator, facilitator_url, facilitator) = with_admin(&town, args).await;
    let args = town.gate_args(&facilitator_url, &town.rpc());
    let (_gate, url, gate) = with_admin(&town, args).await;
    let bought = format!("{url}/paid/weather?canary-query");
    town.pay(&bought, &[]).await.exits(0);
    let mut poor = town.pay_args(&bought, &[]);
    crate::harness::town::set(&mut poor, "--max", "0.001");
    town.run(&poor).await.exits(4);

    let mut seen = BTreeSet::new();
    let mut told = Vec::new();
    for (who, server, needs) in [
        (
            "gate",
            &gate,
            vec![
                "tollway_gate_requests_total{route=\"GET /paid/*\",outcome=\"challenged\"} 2",
                "tollway_gate_requests_total{route=\"GET /paid/*\",outcome=\"paid\"} 1",
                "tollway_gate_settle_seconds_bucket{le=",
                "tollway_gate_oldest_settlement_seconds 0",
                "tollway_gate_open_settlements{age=\"older\"} 0",
                "tollway_gate_unknown_settlements 0",
                "tollway_ledger_writable 1",
                "tollway_ledger_commit_seconds_count",
                "tollway_draining 0",
                "tollway_settings_refused 0",
            ],
        ),
        (
            "facilitator",
            &facilitator,
            vec![
                "tollway_requests_total{step=\"settle\",network=\"eip155:84532\",scheme=\"exact\",outcome=\"ok\",code=\"none\"} 1",
                "tollway_request_seconds_bucket{step=\"settle\",network=\"eip155:84532\",le=",
                "tollway_payments_ended_total{network=\"eip155:84532\",state=\"settled\"} 1",
                "tollway_oldest_payment_seconds{network=\"eip155:84532\",state=\"submitted\"} 0",
                "tollway_payments_by_age{network=\"eip155:84532\",state=\"accepted\",age=\"older\"} 0",
                "tollway_signer_balance_coins{network=\"eip155:84532\",signer=",
                "tollway_network_ready{network=\"eip155:84532\"} 1",
                "tollway_head_seen_timestamp_seconds{network=\"eip155:84532\"} 1",
                "tollway_ledger_writable 1",
            ],
        ),
    ] {
        until(seconds(40), "it is measured", async || {
            let metrics = text(&format!("{server}/metrics")).await;
            needs.iter().all(|need| metrics.contains(need))
        })
        .await;
        let metrics = text(&format!("{server}/metrics")).await;
        let lines = metrics
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty());
        for line in lines {
            let name = line.split(['{', ' ']).next().unwrap();
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|part| name.strip_suffix(part));
            let family = family
                .filter(|family| listed().contains(*family))
                .unwrap_or(name);
            assert!(
                listed().contains(family),
                "{who} exports {name}, which is not listed"
            );
            seen.insert(family.to_owned());
        }
        told.push(metrics);
    }
    assert!(seen.len() >= 22, "{}: {seen:?}", seen.len());
    let own = text(&format!("{facilitator_url}/metrics")).await;
    assert!(own.contains("tollway_requests_total"), "{own}");
    let buyer = BUYER.address.to_string().to_lowercase();
    let payment = town.payments("facilitator.db").await[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let payment = PaymentId::from_text(payment).to_string();
    for told in told.iter().map(|told| told.to_lowercase()) {
        for secret in [
            &buyer[2..],
            "weather",
            "canary",
            &payment,
            &town.transfers()[0],
        ] {
            assert!(!told.contains(secret), "metrics tell {secret}");
        }
    }
}

#[tokio::test]
async fn sign_ins_are_counted_with_why_they_opened_nothing() {
    let town = Town::new().await;
    let mut args = town.gate_args("local", &town.rpc());
    args.extend(strings(&["--route", "GET /again/*=$0.01; returning=1h"]));
    let (_gate, url, admin) = with_admin(&town, args).await;
    let page = format!("{url}/again/weather");
    town.pay(&page, &[]).await.exits(0);
    town.pay(&page, &[]).await.exits(3);
    for sign_in in ["canary", "canary", "e30"] {
        let asked = raw::client().get(&page).header("sign-in-with-x", sign_in);
        assert_eq!(asked.send().await.unwrap().status(), 402);
    }
    let metrics = text(&format!("{admin}/metrics")).await;
    let counted = metrics
        .lines()
        .filter(|line| line.starts_with("tollway_gate_sign_ins_total{"));
    let mut counted: Vec<&str> = counted.collect();
    counted.sort_unstable();
    let refused = |code: &str, n| {
        format!("tollway_gate_sign_ins_total{{outcome=\"refused\",code=\"{code}\"}} {n}")
    };
    let accepted = "tollway_gate_sign_ins_total{outcome=\"accepted\",code=\"none\"} 1";
    assert_eq!(counted, [accepted, &refused("invalid_payload", 3)]);
    assert!(!metrics.contains("canary") && !metrics.contains("/again/weather"));
}

#[tokio::test]
async fn whoever_has_no_token_changes_nothing() {
    let town = Town::new().await;
    let (gate, url, admin) = with_admin(&town, town.gate_args("local", &town.rpc())).await;
    let asked = async |path: &str, token: Option<&str>| {
        let mut asking = raw::client().post(format!("{admin}{path}"));
        if let Some(token) = token {
            asking = asking.bearer_auth(token);
        }
        let answer = asking.send().await.unwrap();
        (
            answer.status().as_u16(),
            answer.json::<Value>().await.unwrap(),
        )
    };
    for path in ["/reload", "/drain", "/passes/x/revoke"] {
        for token in [
            None,
            Some(""),
            Some("0123456789abcdef0123456789abcdeF"),
            Some(&TOKEN[..31]),
        ] {
            assert_eq!(asked(path, token).await.0, 401, "{path}");
        }
        // The address for buyers knows nothing of it.
        let answer = raw::client()
            .post(format!("{url}{path}"))
            .bearer_auth(TOKEN)
            .send()
            .await;
        let said = answer.unwrap().text().await.unwrap();
        assert!(
            !said.contains("draining") && !said.contains("taken"),
            "{said}"
        );
    }
    assert_eq!(
        text(&format!("{admin}/health")).await,
        text(&format!("{url}/health")).await
    );
    let (status, said) = asked("/reload", Some(TOKEN)).await;
    assert_eq!(
        (status, said["taken"].as_bool()),
        (200, Some(true)),
        "{said}"
    );
    assert_eq!(asked("/passes/pass_x/revoke", Some(TOKEN)).await.0, 404);
    assert_eq!(asked("/drain", Some(TOKEN)).await.0, 202);
    let done = gate.end().await.exits(0);
    assert!(!format!("{}{}", done.stdout, done.stderr).contains(TOKEN));

    for (listen, token, says) in [
        ("0.0.0.0:0", None, "--admin-token-file"),
        ("127.0.0.1:0", Some("short"), "less than 32 characters"),
        ("nowhere", Some(TOKEN), "--admin-listen address"),
    ] {
        let mut args = town.gate_args("local", &town.rpc());
        args.extend(strings(&["--admin-listen", listen]));
        if let Some(token) = token {
            let file = town
                .write_private("other.token", token)
                .display()
                .to_string();
            args.extend(strings(&["--admin-token-file", &file]));
        }
        let done = town.run(&args).await.exits(2);
        assert!(done.stderr.contains(says), "{}", done.stderr);
    }
}

#[tokio::test]
async fn a_server_says_that_it_goes_before_it_does() {
    let town = Town::new().await;
    for mut args in [
        town.gate_args("local", &town.rpc()),
        town.facilitator_args(&town.rpc()),
    ] {
        args.extend(strings(&["--drain-delay", "4"]));
        let (program, url) = Program::serve(town.command(&args)).await;
        let asked = async || town.run(&["health", &url]).await;
        let well = asked().await.exits(0).json();
        assert_eq!(
            (well["ready"].as_bool(), well["draining"].as_bool()),
            (Some(true), Some(false))
        );
        program.signal("TERM").await;
        until(seconds(3), "it says that it goes", async || {
            let answer = raw::client()
                .get(format!("{url}/health"))
                .send()
                .await
                .unwrap();
            let status = answer.status().as_u16();
            let said: Value = answer.json().await.unwrap();
            status == 503 && said["draining"] == true && said["ready"] == false
        })
        .await;
        asked().await.exits(1);
        let path = if args[0] == "gate" {
            "/paid/weather"
        } else {
            "/supported"
        };
        let status = raw::client()
            .get(format!("{url}{path}"))
            .send()
            .await
            .unwrap()
            .status();
        assert!(
            [200, 402].contains(&status.as_u16()),
            "requests are still served: {status}"
        );
        program.end().await.exits(0);
        asked().await.exits(1);
    }
    let config = town.path("tollway.toml");
    std::fs::write(&config, "[gate]\nlisten = \"0.0.0.0:1\"\n").unwrap();
    let done = town
        .run(&["health", "--config", &town.arg("tollway.toml")])
        .await
        .exits(1);
    assert!(done.stderr.contains("127.0.0.1"), "{}", done.stderr);
}

#[tokio::test]
async fn a_log_of_json_is_json_to_its_last_line() {
    let town = Town::new().await;
    let mut args = town.gate_args("local", &town.rpc());
    args.extend(strings(&["--log", "debug", "--log-format", "json"]));
    let (gate, url) = Program::serve(town.command(&args)).await;
    town.pay(&format!("{url}/paid/weather"), &[]).await.exits(0);
    gate.signal("HUP").await;
    until(seconds(10), "it is said", async || {
        gate.stderr().contains("read anew")
    })
    .await;
    gate.signal("TERM").await;
    let done = gate.end().await.exits(0);
    let mut levels = BTreeSet::new();
    for line in done.stderr.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        for key in ["timestamp", "level", "target"] {
            assert!(line[key].is_string(), "{key}: {line}");
        }
        levels.insert(line["level"].as_str().unwrap().to_owned());
    }
    assert!(
        levels.contains("DEBUG") && levels.contains("INFO"),
        "{levels:?}"
    );
}
