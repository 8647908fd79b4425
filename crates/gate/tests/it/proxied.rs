//! A gate before a proxy, on real sockets.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::Request;
use axum::routing::any;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tollway_gate::{Proxy, Route};
use tower::Layer;

use crate::support::{Raw, SECRET, World, price, raw_client, raw_server};

/// A server that tells what it was asked.
async fn told(request: Request) -> String {
    let headers: Vec<String> = request
        .headers()
        .iter()
        .map(|(n, v)| format!("{n}={}", v.to_str().unwrap_or("?")))
        .collect();
    let asked = format!("{} {}", request.method(), request.uri());
    let body = axum::body::to_bytes(request.into_body(), 1 << 20)
        .await
        .unwrap();
    format!(
        "{SECRET}\n{asked}\n{}\n{} bytes",
        headers.join("\n"),
        body.len()
    )
}

async fn listen(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// A gate that sells `/paid/*` of an upstream.
async fn gate_before(upstream: &str) -> (SocketAddr, World) {
    gate_before_proxy(Proxy::new(upstream).unwrap()).await
}

async fn gate_before_proxy(proxy: Proxy) -> (SocketAddr, World) {
    let world = World::with(|gate| gate.route(Route::new("/paid/*").unwrap().offer(price()))).await;
    let gated = world.gate.layer().layer(proxy);
    (listen(Router::new().fallback_service(gated)).await, world)
}

async fn gate_before_teller() -> (SocketAddr, World) {
    let upstream = listen(Router::new().fallback(any(told))).await;
    gate_before(&format!("http://{upstream}/base")).await
}

async fn get(gate: SocketAddr, target: &str, headers: &str) -> String {
    let request = format!(
        "GET {target} HTTP/1.1\r\nhost: shop.example\r\nconnection: close\r\n{headers}\r\n"
    );
    raw_client(gate, request.as_bytes()).await
}

#[tokio::test]
async fn a_free_request_reaches_the_server_behind_with_true_forwarding_headers() {
    let (gate, _world) = gate_before_teller().await;
    let forged = "x-forwarded-host: evil\r\nx-forwarded-for: 1.2.3.4\r\nforwarded: for=evil\r\nx-real-ip: 1.2.3.4\r\n";
    let answer = get(gate, "/free/%61//b?q=1", forged).await;
    assert!(answer.contains("GET /base/free/a/b?q=1"), "{answer}");
    assert!(answer.contains("x-forwarded-host=shop.example"), "{answer}");
    assert!(answer.contains("x-forwarded-proto=http"));
    assert!(answer.contains("host=127.0.0.1:"));
    assert!(
        !answer.contains("evil") && !answer.contains("1.2.3.4"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_paid_request_goes_through_the_proxy_with_its_body() {
    let (gate, world) = gate_before_teller().await;
    let payment = world.payment("/paid/x").await;
    let header = payment.headers()["payment-signature"]
        .to_str()
        .unwrap()
        .to_owned();
    let request = format!(
        "POST /paid/x HTTP/1.1\r\nhost: a\r\nconnection: close\r\npayment-signature: {header}\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    );
    let answer = raw_client(gate, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(
        answer.contains(SECRET) && answer.contains("5 bytes"),
        "{answer}"
    );
    assert!(answer.contains("payment-response: "));
    assert!(!answer.contains(&header), "the payment is not forwarded");
}

#[tokio::test]
async fn absolute_form_and_raw_spellings_cost_the_same() {
    let (gate, _world) = gate_before_teller().await;
    for target in [
        "/paid/x",
        "http://evil.example/paid/x",
        "//paid/x",
        "/PAID/x",
        "/%70aid/x",
        "/free/../paid/x",
        "/free/%2e%2e/paid/x",
        "/free/..%2fpaid/x",
        "/paid\\x",
        "/paid;a/x",
        "/paid%2fx",
        "/./paid/x",
        "/paid",
    ] {
        let answer = get(gate, target, "").await;
        assert!(answer.starts_with("HTTP/1.1 402"), "{target}: {answer}");
        assert!(!answer.contains(SECRET), "{target}");
    }
}

#[tokio::test]
async fn a_request_that_says_two_lengths_smuggles_nothing() {
    let (gate, _world) = gate_before_teller().await;
    let smuggled = "GET /paid/x HTTP/1.1\r\nhost: a\r\n\r\n";
    let long = smuggled.len() + 5;
    for headers in [
        format!("content-length: 0\r\ncontent-length: {long}\r\n"),
        format!("content-length: {long}\r\ntransfer-encoding: chunked\r\n"),
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n".to_owned(),
        "transfer-encoding: xchunked\r\n".to_owned(),
        "content-length: +0\r\n".to_owned(),
        " content-length: 0\r\n".to_owned(),
    ] {
        let request = format!("POST /free HTTP/1.1\r\nhost: a\r\n{headers}\r\n0\r\n\r\n{smuggled}");
        let answer = raw_client(gate, request.as_bytes()).await;
        assert!(!answer.contains("GET /base/paid/x"), "{headers}: {answer}");
    }
}

#[tokio::test]
async fn a_server_that_is_down_costs_nothing() {
    for upstream in [
        "http://127.0.0.1:1".to_owned(),
        format!("http://{}", raw_server(Raw::Close).await.0),
    ] {
        let (gate, world) = gate_before(&upstream).await;
        let payment = world.payment("/free/../paid/x").await;
        let header = payment.headers()["payment-signature"]
            .to_str()
            .unwrap()
            .to_owned();
        let answer = get(gate, "/paid/x", &format!("payment-signature: {header}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
        assert!(answer.contains("upstream_unavailable"));
        assert_eq!(world.facilitator.settlements(), 0);
    }
}

/// A server that switches protocols whenever it is asked, and then echoes.
async fn switching_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0_u8; 4096];
            let read = stream.read(&mut buffer).await.unwrap_or(0);
            assert!(String::from_utf8_lossy(&buffer[..read]).contains("upgrade: websocket"));
            let switch =
                b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
            stream.write_all(switch).await.unwrap();
            while let Ok(read) = stream.read(&mut buffer).await {
                if read == 0 || stream.write_all(&buffer[..read]).await.is_err() {
                    break;
                }
            }
        }
    });
    address
}

#[tokio::test]
async fn a_protocol_switch_is_tunnelled_on_free_routes_only() {
    let upstream = switching_server().await;
    let (gate, _world) = gate_before(&format!("http://{upstream}")).await;
    let ask = |path: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\nover the tunnel"
        )
    };
    let answer = raw_client(gate, ask("/free").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    assert!(answer.ends_with("over the tunnel"), "{answer}");
    let answer = raw_client(gate, ask("/paid/x").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 402"), "{answer}");
    assert!(!answer.contains("over the tunnel"), "{answer}");
}

#[tokio::test]
async fn connections_to_the_server_behind_are_bounded_and_what_is_paid_has_its_place() {
    let answering = async |request: Request| match request.uri().path() {
        "/endless" => axum::body::Body::from_stream(futures_util::stream::pending::<
            Result<bytes::Bytes, std::io::Error>,
        >()),
        _ => axum::body::Body::from(SECRET),
    };
    let upstream = listen(Router::new().fallback(any(answering))).await;
    let proxy = Proxy::builder(&format!("http://{upstream}"));
    let (gate, world) = gate_before_proxy(proxy.max_connections(1).build().unwrap()).await;
    let mut holding = tokio::net::TcpStream::connect(gate).await.unwrap();
    let ask = b"GET /endless HTTP/1.1\r\nhost: a\r\n\r\n";
    holding.write_all(ask).await.unwrap();
    assert!(holding.read(&mut [0; 512]).await.unwrap() > 0);
    let beyond = get(gate, "/free", "").await;
    assert!(beyond.starts_with("HTTP/1.1 503"), "{beyond}");
    assert!(beyond.contains("too_many_requests"), "{beyond}");
    let payment = world.payment("/paid/x").await;
    let (name, value) = payment.headers().into_iter().next().unwrap();
    let header = format!("{}: {}\r\n", name.unwrap(), value.to_str().unwrap());
    let paid = get(gate, "/paid/x", &header).await;
    assert!(paid.ends_with(SECRET), "{paid}");
    drop(holding);
    let freed = async {
        while !get(gate, "/free", "").await.starts_with("HTTP/1.1 200") {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let freed = tokio::time::timeout(std::time::Duration::from_secs(5), freed).await;
    assert!(freed.is_ok(), "the place is given back");
}

#[tokio::test]
async fn a_tunnel_counts_on_both_sides_and_ends_when_it_is_silent() {
    let upstream = switching_server().await;
    let builder = || Proxy::builder(&format!("http://{upstream}"));
    let ask =
        "GET /free HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\nhello";
    let one = builder().max_connections(1).build().unwrap();
    let refused = raw_client(gate_before_proxy(one).await.0, ask.as_bytes()).await;
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    let idle = std::time::Duration::from_millis(100);
    let two = builder().max_connections(2).tunnel_idle(idle);
    let (gate, _world) = gate_before_proxy(two.build().unwrap()).await;
    for _ in 0..2 {
        let mut client = tokio::net::TcpStream::connect(gate).await.unwrap();
        client.write_all(ask.as_bytes()).await.unwrap();
        let mut all = Vec::new();
        let ended = client.read_to_end(&mut all);
        let ended = tokio::time::timeout(std::time::Duration::from_secs(5), ended).await;
        ended.expect("the tunnel ends by itself").unwrap();
        let text = String::from_utf8_lossy(&all).into_owned();
        assert!(
            text.starts_with("HTTP/1.1 101") && text.ends_with("hello"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn hop_by_hop_headers_end_at_the_proxy() {
    let raw = Raw::Bytes(
        b"HTTP/1.1 200 OK\r\nconnection: close, x-hop\r\nx-hop: 1\r\nkeep-alive: 5\r\nproxy-connection: x\r\ncontent-length: 2\r\n\r\nok".to_vec(),
    );
    let (upstream, seen) = raw_server(raw).await;
    let (gate, _world) = gate_before(&format!("http://{upstream}")).await;
    let answer = get(
        gate,
        "/free",
        "te: gzip\r\nproxy-connection: x\r\nkeep-alive: 1\r\n",
    )
    .await
    .to_lowercase();
    assert!(answer.ends_with("ok"), "{answer}");
    for name in ["x-hop", "keep-alive", "proxy-connection"] {
        assert!(!answer.contains(name), "{name}: {answer}");
        assert!(
            !seen.lock().unwrap()[0].to_lowercase().contains(name),
            "{name}"
        );
    }
}

#[tokio::test]
async fn an_upstream_url_is_checked_before_the_first_request() {
    for url in [
        "127.0.0.1:3000",
        "/x",
        "ftp://a",
        "http://u:p@a",
        "http://a/?q=1",
        "",
    ] {
        assert!(Proxy::new(url).is_err(), "{url}");
    }
}

#[tokio::test]
async fn a_redirect_to_the_servers_own_address_stays_at_the_gate() {
    for (sent, arrives) in [
        ("http://UPSTREAM/base/x/?q", "/x/?q"),
        ("http://UPSTREAM/base", "/"),
        ("http://UPSTREAM/bases", "http://UPSTREAM/bases"),
        (
            "http://UPSTREAM/base//evil.example",
            "http://UPSTREAM/base//evil.example",
        ),
        ("https://other.example/base", "https://other.example/base"),
        ("/relative", "/relative"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = listener.local_addr().unwrap().to_string();
        let location = sent.replace("UPSTREAM", &upstream);
        let app = Router::new().fallback(any(move || {
            let location = location.clone();
            async move { (axum::http::StatusCode::FOUND, [("location", location)]) }
        }));
        tokio::spawn(async move { axum::serve(listener, app).await });
        let (gate, _world) = gate_before(&format!("http://{upstream}/base")).await;
        let answer = get(gate, "/free", "").await;
        let expected = format!("location: {}\r\n", arrives.replace("UPSTREAM", &upstream));
        assert!(answer.contains(&expected), "{answer}");
    }
}
