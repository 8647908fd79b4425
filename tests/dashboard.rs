//! What sellers see: right figures, for those alone who may look, and nothing of
//! what others wrote ever runs there.

use rusqlite::Connection;

use crate::harness::program::{Program, run};
use crate::harness::raw;
use crate::harness::town::{BUYER, PAYEE, SIGNER, Town, strings};
use crate::harness::{seconds, until};

/// A page as a browser on this machine gets it.
async fn page(url: &str, path: &str) -> raw::Answer {
    let asked = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n");
    raw::send(url, asked.as_bytes()).await
}

/// The address of a gate's dashboard, as the gate says it.
fn address(gate: &Program) -> String {
    let said = gate.stdout();
    let (_, rest) = said.split_once("dashboard at ").expect("it says where");
    rest.split_once('\n').unwrap().0.trim().to_owned()
}

/// A dashboard by itself, over a gate's ledger.
async fn alone(town: &Town, more: &[&str]) -> (Program, String) {
    let mut args = strings(&["dashboard", "--listen", "127.0.0.1:0"]);
    args.extend(strings(&["--ledger", &town.ledger("gate.db")]));
    args.extend(strings(more));
    Program::serve(town.command(&args)).await
}

#[tokio::test]
async fn a_running_gate_shows_what_it_sold_and_what_it_was_asked() {
    let town = Town::new().await;
    let (gate, url) = town.gate(&["--dashboard", "127.0.0.1:0"]).await;
    for path in ["/paid/weather", "/paid/news"] {
        town.pay(&format!("{url}{path}"), &[]).await.exits(0);
    }
    let dashboard = address(&gate);
    until(seconds(20), "what was asked is counted", async || {
        let text = page(&dashboard, "/").await.text;
        text.contains("From 402 to paid") && text.contains("100 %")
    })
    .await;
    let overview = page(&dashboard, "/").await;
    assert_eq!(overview.status, 200);
    for seen in [
        "<strong class=\"money\">0.02</strong> USDC",
        "GET /paid/*",
        "2 paid",
        "half within",
        "answers",
        "100 %",
    ] {
        assert!(overview.text.contains(seen), "{seen}: {}", overview.text);
    }
    let signer = SIGNER.address.to_string().to_lowercase();
    assert!(overview.text.contains(&signer), "{}", overview.text);
    let list = page(&dashboard, "/payments?state=settled").await.text;
    for payment in town.payments("gate.db").await {
        let id = payment["id"].as_str().unwrap();
        let hash = payment["transaction"].as_str().unwrap();
        assert!(list.contains(id) && list.contains(hash), "{list}");
        let story = page(&dashboard, &format!("/record/{id}")).await.text;
        for told in [
            "accepted",
            "stored_raw",
            "settled",
            "handed_out",
            "claimed",
            "released",
            hash,
        ] {
            assert!(story.contains(told), "{told}: {story}");
        }
        assert!(story.contains(&format!("https://sepolia.basescan.org/tx/{hash}")));
    }
    assert_eq!(
        page(&dashboard, "/payments?state=refused")
            .await
            .text
            .matches("/record/")
            .count(),
        0
    );
    assert_eq!(page(&dashboard, "/record/pay_00").await.status, 404);
    gate.signal("TERM").await;
    gate.end().await.exits(0);
}

#[tokio::test]
async fn a_facilitator_shows_what_it_settled() {
    let town = Town::new().await;
    let mut args = town.facilitator_args(&town.rpc());
    args.extend(strings(&["--dashboard", "127.0.0.1:0"]));
    let (facilitator, facilitator_url) = Program::serve(town.command(&args)).await;
    let (_gate, url) = town.gate_with(&facilitator_url, &[]).await;
    town.pay(&format!("{url}/paid/weather"), &[]).await.exits(0);
    let text = page(&address(&facilitator), "/").await.text;
    assert!(
        text.contains("<strong class=\"money\">0.01</strong> USDC"),
        "{text}"
    );
    assert!(
        text.contains("What was settled") && !text.contains("/sales"),
        "{text}"
    );
}

/// What a page of elsewhere makes a browser ask for, as an image or a frame.
#[tokio::test]
async fn a_page_of_elsewhere_asks_the_ledger_nothing() {
    let town = Town::new().await;
    let (_gate, url) = town.gate(&[]).await;
    town.pay(&format!("{url}/paid/weather"), &[]).await.exits(0);
    let (_dashboard, url) = alone(&town, &[]).await;
    let asked = async |path: &str, site: &str, mode: &str, dest: &str| {
        let head =
            format!("sec-fetch-site: {site}\r\nsec-fetch-mode: {mode}\r\nsec-fetch-dest: {dest}");
        let asked = format!(
            "GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{head}\r\nconnection: close\r\n\r\n"
        );
        raw::send(&url, asked.as_bytes()).await.status
    };
    for site in ["cross-site", "same-site"] {
        assert_eq!(asked("/sales", site, "no-cors", "image").await, 403);
        assert_eq!(asked("/", site, "navigate", "iframe").await, 403);
        assert_eq!(
            asked("/sales?network=x", site, "navigate", "document").await,
            403
        );
        assert_eq!(asked("/", site, "navigate", "document").await, 200);
    }
    for site in ["none", "same-origin"] {
        assert_eq!(asked("/sales", site, "navigate", "document").await, 200);
    }
}

/// A page of somebody else's, whose name was made to lead to this machine.
#[tokio::test]
async fn a_name_that_was_made_to_lead_here_opens_nothing() {
    let town = Town::new().await;
    let (_gate, url) = town.gate(&[]).await;
    town.pay(&format!("{url}/paid/weather"), &[]).await.exits(0);
    let (_dashboard, url) = alone(&town, &[]).await;
    for host in ["evil.example", "127.0.0.1.evil.example", "169.254.169.254"] {
        let asked = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let answer = raw::send(&url, asked.as_bytes()).await;
        assert_eq!(answer.status, 421, "{host}");
        assert!(!answer.text.contains("USDC"), "{}", answer.text);
    }
    let own = page(&url, "/").await;
    assert_eq!(own.status, 200);
    let head = own.text.to_lowercase();
    for header in [
        "content-security-policy: default-src 'none'",
        "x-frame-options: deny",
        "nosniff",
        "cache-control: no-store",
    ] {
        assert!(head.contains(header), "{header}: {head}");
    }
    assert!(
        !own.text.contains("<script") && !own.text.contains(" style="),
        "{}",
        own.text
    );
    let post = raw::send(
        &url,
        b"POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    );
    assert_eq!(post.await.status, 405);
}

#[tokio::test]
async fn elsewhere_it_listens_with_a_token_only() {
    let town = Town::new().await;
    let (gate, url) = town.gate(&[]).await;
    town.pay(&format!("{url}/paid/weather"), &[]).await.exits(0);
    drop(gate);
    let open = strings(&[
        "dashboard",
        "--listen",
        "0.0.0.0:0",
        "--ledger",
        &town.ledger("gate.db"),
    ]);
    let refused = town.run(&open).await.exits(2);
    assert!(
        refused.stderr.contains("--dashboard-token-file"),
        "{}",
        refused.stderr
    );
    let short = town
        .write_private("short", "secret\n")
        .display()
        .to_string();
    let refused = [&open[..], &strings(&["--dashboard-token-file", &short])].concat();
    assert!(town.run(&refused).await.exits(2).stderr.contains("16"));

    let token = "canary-token-0123456789";
    let file = town
        .write_private("token", &format!("{token}\n"))
        .display()
        .to_string();
    let (dashboard, url) = alone(&town, &["--dashboard-token-file", &file]).await;
    let closed = page(&url, "/payments").await;
    assert_eq!(closed.status, 401);
    assert!(!closed.text.contains("USDC") && closed.text.contains("type=\"password\""));
    let bearer = format!("Bearer {token}");
    let open = raw::send(&url, &raw::get("/payments", &[("authorization", &bearer)])).await;
    assert_eq!(open.status, 200);
    let wrong = raw::send(
        &url,
        &raw::get("/", &[("authorization", "Bearer canary-token-0123456788")]),
    )
    .await;
    assert_eq!(wrong.status, 401);

    let form = format!("token={token}");
    let login = format!(
        "POST /login HTTP/1.1\r\nhost: any.example\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{form}",
        form.len()
    );
    let opened = raw::send(&url, login.as_bytes()).await;
    assert_eq!(opened.status, 303);
    let set = opened
        .text
        .lines()
        .find(|line| line.to_lowercase().starts_with("set-cookie:"))
        .unwrap();
    assert!(
        set.contains("HttpOnly") && set.contains("SameSite=Strict"),
        "{set}"
    );
    assert!(!set.contains(token), "{set}");
    let cookie = set
        .split_once(':')
        .unwrap()
        .1
        .split(';')
        .next()
        .unwrap()
        .trim()
        .to_owned();
    let with_cookie = raw::send(&url, &raw::get("/", &[("cookie", &cookie)])).await;
    assert_eq!(with_cookie.status, 200);
    let logout = format!(
        "POST /logout HTTP/1.1\r\nhost: any.example\r\ncookie: {cookie}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    raw::send(&url, logout.as_bytes()).await;
    let ended = raw::send(&url, &raw::get("/", &[("cookie", &cookie)])).await;
    assert_eq!(ended.status, 401);
    for _ in 0..25 {
        raw::send(&url, &raw::get("/", &[("authorization", "Bearer guess")])).await;
    }
    let late = raw::send(&url, &raw::get("/", &[("authorization", &bearer)])).await;
    assert_eq!(late.status, 429);
    let said = format!("{}{}", dashboard.stdout(), dashboard.stderr());
    assert!(!said.contains(token), "{said}");
}

/// Routes, payers, hosts and codes are others' words.
#[tokio::test]
async fn what_others_wrote_is_text_on_every_page() {
    let town = Town::new().await;
    let (gate, url) = town.gate(&[]).await;
    town.pay(&format!("{url}/paid/weather"), &[]).await.exits(0);
    gate.signal("TERM").await;
    gate.end().await.exits(0);
    let attack = r#""><script>alert(1)</script><img src=x onerror='alert(2)'>"#;
    let conn = Connection::open(town.path("gate.db")).unwrap();
    conn.execute("DROP TRIGGER events_are_never_changed", [])
        .unwrap();
    for statement in [
        "UPDATE grants SET route = ?1",
        "UPDATE payments SET refusal_code = ?1, transaction_id = ?1",
        "UPDATE events SET data = json_set(data, '$.reason', ?1, '$.transaction', ?1)",
        "UPDATE events SET kind = ?1 WHERE kind = 'handed_out'",
        "INSERT INTO tallies (hour, route, what, times) SELECT claimed_at / 3600000, ?1, 'refused:' || ?1, 3 FROM grants",
        "INSERT INTO tallies (hour, route, what, times) SELECT claimed_at / 3600000, ?1, 'challenged', 3 FROM grants",
    ] {
        assert!(
            conn.execute(statement, [attack]).unwrap() > 0,
            "{statement}"
        );
    }
    let (_dashboard, url) = alone(&town, &[]).await;
    let payment = town.payments("gate.db").await[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let encoded = "%22%3E%3Cscript%3Ealert(1)%3C/script%3E";
    for path in [
        "/".to_owned(),
        "/sales".to_owned(),
        "/payments".to_owned(),
        format!("/record/{payment}"),
        format!("/sales?route={encoded}&payer={encoded}&network={encoded}&since={encoded}"),
        format!("/payments?state={encoded}&before={encoded}"),
        format!("/{encoded}"),
        format!("/record/{encoded}"),
    ] {
        let text = page(&url, &path).await.text;
        let low = text.to_lowercase();
        assert!(
            !low.contains("<script") && !low.contains("<img"),
            "{path}: {text}"
        );
        assert!(!low.contains("href=\"javascript"), "{path}: {text}");
    }
    let overview = page(&url, "/").await.text;
    assert!(
        overview.contains("alert(1)"),
        "it is shown as text: {overview}"
    );
}

#[tokio::test]
async fn no_page_shows_a_key_a_signature_or_the_buyers_url() {
    let town = Town::new().await;
    let (gate, url) = town.gate(&["--dashboard", "127.0.0.1:0"]).await;
    town.pay(
        &format!("{url}/paid/weather?api_key=canary-in-the-query"),
        &[],
    )
    .await
    .exits(0);
    let dashboard = address(&gate);
    let conn = Connection::open(town.path("gate.db")).unwrap();
    let payload: String = conn
        .query_row("SELECT payload FROM payments", [], |row| row.get(0))
        .unwrap();
    let payload: serde_json::Value = serde_json::from_str(&payload).unwrap();
    let signature = payload["payload"]["signature"].as_str().unwrap()[2..60].to_owned();
    let keys = [SIGNER.key.to_string(), BUYER.key.to_string()].map(|key| key[2..].to_lowercase());
    let mut pages = vec!["/".to_owned(), "/sales".to_owned(), "/payments".to_owned()];
    let ids = conn
        .prepare("SELECT id FROM payments UNION SELECT id FROM grants")
        .unwrap()
        .query_map([], |row| row.get::<_, String>(0))
        .unwrap()
        .map(Result::unwrap)
        .collect::<Vec<_>>();
    pages.extend(ids.iter().map(|id| format!("/record/{id}")));
    for path in pages {
        let answer = page(&dashboard, &path).await;
        assert_eq!(answer.status, 200, "{path}");
        let low = answer.text.to_lowercase();
        assert!(
            low.contains(&PAYEE.to_lowercase()) || !path.starts_with("/record"),
            "{path}"
        );
        for secret in [
            &signature,
            &keys[0],
            &keys[1],
            &"canary-in-the-query".to_owned(),
        ] {
            assert!(
                !low.contains(&secret.to_lowercase()),
                "{path} shows {secret}"
            );
        }
    }
}

/// Each page begins where the last one ended.
#[tokio::test]
async fn pages_go_through_all_records_once() {
    let town = Town::new().await;
    let (gate, url) = town.gate(&[]).await;
    town.pay(&format!("{url}/paid/weather"), &[]).await.exits(0);
    gate.signal("TERM").await;
    gate.end().await.exits(0);
    let conn = Connection::open(town.path("gate.db")).unwrap();
    conn.execute_batch(
        "CREATE TEMP TABLE one AS SELECT * FROM payments;
         WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 121)
         INSERT INTO payments SELECT n.i, 'pay_' || n.i, randomblob(32), network, scope, payer, n.i,
             asset, from_account, to_account, amount, deadline, settlement, finality, payload,
             requirements, caller, opener, replica, state, is_open, is_watched, attempts,
             slot_network, slot_signer, slot_nonce, transaction_id, settled, refusal_code,
             refusal_message, handed_out_at, handed_out_key, accepted_at + n.i / 10, updated_at
         FROM one, n;",
    )
    .unwrap();
    let (_dashboard, url) = alone(&town, &[]).await;
    let mut next = Some("/payments?state=settled".to_owned());
    let mut seen = std::collections::BTreeSet::new();
    let mut pages = 0;
    while let Some(path) = next {
        let text = page(&url, &path).await.text;
        for part in text.split("href=\"/record/").skip(1) {
            assert!(
                seen.insert(part.split('"').next().unwrap().to_owned()),
                "{path}"
            );
        }
        let older = text
            .split("\" rel=\"next\"")
            .next()
            .filter(|before| before.len() < text.len());
        next = older.map(|before| {
            before
                .rsplit("href=\"")
                .next()
                .unwrap()
                .replace("&amp;", "&")
                .replace("&#38;", "&")
        });
        pages += 1;
    }
    assert_eq!((seen.len(), pages), (121, 3));
}

#[tokio::test]
async fn what_is_wrong_with_a_filter_is_said_and_kept() {
    let town = Town::new().await;
    let (gate, url) = town.gate(&[]).await;
    town.pay(&format!("{url}/paid/weather"), &[]).await.exits(0);
    drop(gate);
    let (_dashboard, url) = alone(&town, &[]).await;
    for (query, hint) in [
        ("state=paid", "choose one of the list"),
        ("network=nowhere", "That is no network"),
        ("since=soon", "write a day"),
        ("before=x", "go to the newest"),
        ("network=base&payer=0x12", "no address of this network"),
    ] {
        let text = page(&url, &format!("/payments?{query}")).await.text;
        assert!(
            text.contains(hint) && text.contains("role=\"alert\""),
            "{query}: {text}"
        );
    }
    let buyer = BUYER.address.to_string();
    for query in [
        format!("payer={buyer}"),
        "network=base-sepolia&since=1d".to_owned(),
    ] {
        let text = page(&url, &format!("/payments?{query}")).await.text;
        assert!(text.contains("/record/pay_"), "{query}: {text}");
    }
}

#[tokio::test]
async fn a_dashboard_of_no_ledger_says_so() {
    let town = Town::new().await;
    let args = strings(&[
        "dashboard",
        "--listen",
        "127.0.0.1:0",
        "--ledger",
        &town.ledger("no.db"),
    ]);
    let refused = run(town.command(&args)).await.exits(2);
    assert!(
        refused.stderr.contains("There is no ledger"),
        "{}",
        refused.stderr
    );
    let args = [
        &town.gate_args("local", &town.rpc())[..],
        &strings(&["--dashboard-token-file", "x"]),
    ]
    .concat();
    let refused = town.run(&args).await.exits(2);
    assert!(
        refused.stderr.contains("add --dashboard 127.0.0.1:4030"),
        "{}",
        refused.stderr
    );
}
