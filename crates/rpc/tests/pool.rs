//! Several nodes of one network, of which some are down, slow, behind, lying or
//! tired: a call is answered by whoever can, and what acts is never taken for
//! refused while somebody may have taken it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tollway_rpc::{Batch, NodeState, Probe, RpcClient, RpcConfig, RpcError, Spread, Why};
use url::Url;

/// How a node behaves now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Well,
    Status(u16),
    Html,
    Hangs,
    /// Acts on what it is sent, and never answers.
    TakesAndHangs,
    /// Refuses what it is sent, with these words.
    Refuses(&'static str),
    WrongId,
}

/// A node with a name, a network and a height.
struct Fake {
    name: &'static str,
    mood: Mutex<Mood>,
    network: Mutex<&'static str>,
    height: AtomicU64,
    asked: AtomicUsize,
    sent: Mutex<Vec<String>>,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
    url: Mutex<Option<Url>>,
}

impl Fake {
    async fn new(name: &'static str) -> Arc<Self> {
        let fake = Arc::new(Self {
            name,
            mood: Mutex::new(Mood::Well),
            network: Mutex::new("ours"),
            height: AtomicU64::new(100),
            asked: AtomicUsize::new(0),
            sent: Mutex::default(),
            at_once: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
            url: Mutex::default(),
        });
        let app = Router::new()
            .route("/", post(answer))
            .with_state(Arc::clone(&fake));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        *fake.url.lock().unwrap() = Some(Url::parse(&url).unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        fake
    }

    fn is(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn sent(&self) -> usize {
        self.sent.lock().unwrap().len()
    }

    fn reply(&self, call: &Value) -> Value {
        let result = match call["method"].as_str().unwrap() {
            "network" => json!(*self.network.lock().unwrap()),
            "height" => json!(self.height.load(Ordering::SeqCst)),
            "send" => match *self.mood.lock().unwrap() {
                Mood::Refuses(words) => {
                    return json!({"id": call["id"], "error": {"code": -32000, "message": words}});
                }
                _ => {
                    let sent = call["params"][0].as_str().unwrap().to_owned();
                    self.sent.lock().unwrap().push(sent);
                    json!("taken")
                }
            },
            _ => json!(self.name),
        };
        json!({"jsonrpc": "2.0", "id": call["id"], "result": result})
    }
}

async fn answer(State(node): State<Arc<Fake>>, body: Bytes) -> Response {
    let request: Value = serde_json::from_slice(&body).unwrap();
    let is_probe = request[0]["method"] == "network";
    if !is_probe {
        node.asked.fetch_add(1, Ordering::SeqCst);
        let now = node.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        node.most_at_once.fetch_max(now, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(5)).await;
        node.at_once.fetch_sub(1, Ordering::SeqCst);
    }
    let mood = *node.mood.lock().unwrap();
    let reply = || match &request {
        Value::Array(calls) => calls.iter().map(|call| node.reply(call)).collect(),
        call => node.reply(call),
    };
    match mood {
        Mood::Well | Mood::Refuses(_) => reply().to_string().into_response(),
        Mood::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Mood::Html => "<html>welcome</html>".into_response(),
        Mood::Hangs => std::future::pending().await,
        Mood::TakesAndHangs => {
            let _ = reply();
            std::future::pending().await
        }
        Mood::WrongId => json!({"id": 77, "result": "somebody's"})
            .to_string()
            .into_response(),
    }
}

/// A client of these nodes with short times.
fn client(nodes: &[&Arc<Fake>], probe: bool) -> RpcClient {
    let url = |node: &&Arc<Fake>| node.url.lock().unwrap().clone().unwrap();
    let mut config = RpcConfig::new(nodes.iter().map(url).collect());
    config.timeout = Duration::from_secs(2);
    config.hedge = Duration::from_millis(200);
    config.max_requests_at_once = 3;
    let client = RpcClient::new(config).unwrap();
    if probe {
        let mut probe = Probe::new("network", json!([]), |name| name == "ours").height(
            "height",
            json!([]),
            Value::as_u64,
        );
        probe.every = Duration::from_millis(100);
        client.set_probe(probe);
    }
    client
}

async fn who(client: &RpcClient) -> Result<String, RpcError> {
    client.call("who", [(); 0]).await
}

/// Asks until somebody in particular answers.
async fn until_answered_by(client: &RpcClient, name: &str, within: Duration) {
    let end = Instant::now() + within;
    while who(client).await.unwrap() != name {
        assert!(
            Instant::now() < end,
            "{name} never answers: {:?}",
            client.states()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn aside(states: &[NodeState]) -> Vec<Option<Why>> {
    states.iter().map(|state| state.aside).collect()
}

#[tokio::test]
async fn a_node_that_fails_is_put_aside_and_comes_back_by_its_probe() {
    for (mood, why) in [
        (Mood::Status(429), Why::Busy),
        (Mood::Status(503), Why::Status(503)),
        (Mood::Html, Why::NotJsonRpc),
        (Mood::WrongId, Why::NotJsonRpc),
    ] {
        let (one, two) = (Fake::new("one").await, Fake::new("two").await);
        let client = client(&[&one, &two], true);
        assert_eq!(who(&client).await.unwrap(), "one");
        one.is(mood);
        for _ in 0..10 {
            assert_eq!(who(&client).await.unwrap(), "two", "{mood:?}");
        }
        let asked = one.asked();
        assert!(asked <= 2, "{mood:?}: asked {asked} times, once in vain");
        let states = client.states();
        assert_eq!(aside(&states), [Some(why), None]);
        assert!(states[0].failures >= 1 && states[1].failures == 0);
        one.is(Mood::Well);
        until_answered_by(&client, "one", Duration::from_secs(4)).await;
        assert_eq!(aside(&client.states()), [None, None]);
    }
}

#[tokio::test]
async fn a_node_that_hangs_delays_one_call_a_little_and_later_ones_not_at_all() {
    let (one, two) = (Fake::new("one").await, Fake::new("two").await);
    let client = client(&[&one, &two], false);
    one.is(Mood::Hangs);
    let began = Instant::now();
    assert_eq!(who(&client).await.unwrap(), "two");
    assert!(
        began.elapsed() < Duration::from_millis(600),
        "{:?}",
        began.elapsed()
    );
    let began = Instant::now();
    for _ in 0..5 {
        assert_eq!(who(&client).await.unwrap(), "two");
    }
    assert!(
        began.elapsed() < Duration::from_millis(150),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(aside(&client.states()), [Some(Why::Slow), None]);
}

#[tokio::test]
async fn nodes_that_are_aside_are_asked_when_there_is_nobody_else() {
    let (one, two) = (Fake::new("one").await, Fake::new("two").await);
    let client = client(&[&one, &two], false);
    one.is(Mood::Status(500));
    two.is(Mood::Status(500));
    assert!(who(&client).await.unwrap_err().is_retryable());
    assert!(client.states().iter().all(|state| state.aside.is_some()));
    two.is(Mood::Well);
    assert_eq!(
        who(&client).await.unwrap(),
        "two",
        "at once, without a pause"
    );
}

#[tokio::test]
async fn a_node_that_lags_is_asked_after_the_others_until_it_has_caught_up() {
    let (one, two) = (Fake::new("one").await, Fake::new("two").await);
    let client = client(&[&one, &two], true);
    assert_eq!(who(&client).await.unwrap(), "one");
    two.height.store(110, Ordering::SeqCst);
    until_answered_by(&client, "two", Duration::from_secs(2)).await;
    assert_eq!(
        aside(&client.states()),
        [Some(Why::Behind { blocks: 10 }), None]
    );
    assert_eq!(client.states()[1].height, Some(110));
    // It is better than nobody.
    two.is(Mood::Status(500));
    assert_eq!(who(&client).await.unwrap(), "one");
    two.is(Mood::Well);
    one.height.store(110, Ordering::SeqCst);
    until_answered_by(&client, "one", Duration::from_secs(6)).await;
}

#[tokio::test]
async fn a_node_that_stays_one_block_behind_is_noticed_in_time() {
    let (one, two) = (Fake::new("one").await, Fake::new("two").await);
    let client = client(&[&one, &two], false);
    let mut probe = Probe::new("network", json!([]), |name| name == "ours").height(
        "height",
        json!([]),
        Value::as_u64,
    );
    probe.every = Duration::from_millis(50);
    probe.longest_behind = Duration::from_millis(400);
    client.set_probe(probe);
    two.height.store(101, Ordering::SeqCst);
    let began = Instant::now();
    until_answered_by(&client, "two", Duration::from_secs(3)).await;
    assert!(
        began.elapsed() >= Duration::from_millis(400),
        "one block is no lag yet"
    );
    assert_eq!(aside(&client.states())[0], Some(Why::Behind { blocks: 1 }));
}

#[tokio::test]
async fn a_node_of_another_network_is_never_asked_not_even_alone() {
    let (one, two) = (Fake::new("one").await, Fake::new("two").await);
    *one.network.lock().unwrap() = "another";
    let client = client(&[&one, &two], true);
    assert_eq!(who(&client).await.unwrap(), "two");
    assert_eq!(one.asked(), 0, "not even once");
    two.is(Mood::Status(500));
    assert!(who(&client).await.is_err());
    assert_eq!(one.asked(), 0);

    // The same for one that changes later, and until it has changed back.
    let three = Fake::new("three").await;
    let client = self::client(&[&three], true);
    assert_eq!(who(&client).await.unwrap(), "three");
    *three.network.lock().unwrap() = "another";
    let end = Instant::now() + Duration::from_secs(3);
    let error = loop {
        match who(&client).await {
            Err(error) => break error,
            Ok(_) => assert!(Instant::now() < end, "it is still believed"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(matches!(error, RpcError::OtherNetwork { .. }), "{error:?}");
    let asked = three.asked();
    assert!(who(&client).await.is_err());
    assert_eq!(three.asked(), asked);
    *three.network.lock().unwrap() = "ours";
    let end = Instant::now() + Duration::from_secs(5);
    while who(&client).await.is_err() {
        assert!(Instant::now() < end, "it never comes back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_refusal_is_not_believed_while_another_node_may_have_taken_it() {
    let (one, two) = (Fake::new("one").await, Fake::new("two").await);
    let client = client(&[&one, &two], false);
    one.is(Mood::TakesAndHangs);
    two.is(Mood::Refuses("insufficient funds"));
    let known = |error: &RpcError| error.to_string().contains("already known");
    for spread in [Spread::One, Spread::All] {
        let not_taken = client
            .submit::<String>("send", ["0x02"], spread, known)
            .await
            .unwrap_err();
        assert!(not_taken.error.is_refusal(), "{spread:?}: {not_taken:?}");
        assert!(not_taken.perhaps_taken, "{spread:?}: {not_taken:?}");
    }
    assert!(one.sent() >= 1, "it did take it");
    // "Already known" by the second is as good as a yes.
    two.is(Mood::Refuses("already known"));
    let taken = client
        .submit::<String>("send", ["0x02"], Spread::All, known)
        .await;
    assert_eq!(taken.unwrap(), None);
    // Nobody else had it: the refusal is one.
    one.is(Mood::Refuses("insufficient funds"));
    two.is(Mood::Refuses("insufficient funds"));
    let not_taken = client
        .submit::<String>("send", ["0x03"], Spread::All, known)
        .await
        .unwrap_err();
    assert!(not_taken.error.is_refusal() && !not_taken.perhaps_taken);
}

#[tokio::test]
async fn what_is_sent_again_reaches_every_node() {
    let (one, two) = (Fake::new("one").await, Fake::new("two").await);
    let client = client(&[&one, &two], false);
    let never = |_: &RpcError| false;
    let first = client
        .submit::<String>("send", ["0x02"], Spread::One, never)
        .await;
    assert_eq!(first.unwrap().as_deref(), Some("taken"));
    assert_eq!((one.sent(), two.sent()), (1, 0));
    let again = client
        .submit::<String>("send", ["0x02"], Spread::All, never)
        .await;
    assert_eq!(again.unwrap().as_deref(), Some("taken"));
    assert_eq!((one.sent(), two.sent()), (2, 1));
}

#[tokio::test]
async fn a_batch_is_answered_by_one_node_whole() {
    let (one, two) = (Fake::new("one").await, Fake::new("two").await);
    let client = client(&[&one, &two], true);
    let flipping = tokio::spawn({
        let one = Arc::clone(&one);
        async move {
            for step in 0..40 {
                one.is(if step % 2 == 0 {
                    Mood::Status(500)
                } else {
                    Mood::Well
                });
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    });
    while !flipping.is_finished() {
        let mut batch = Batch::new();
        (0..5).for_each(|_| batch.push("who", &[(); 0]));
        let names = client.batch::<String>(batch).await.unwrap();
        let names: Vec<String> = names.into_iter().map(Result::unwrap).collect();
        assert!(names.iter().all(|name| *name == names[0]), "{names:?}");
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

#[tokio::test]
async fn a_node_is_sent_so_many_requests_at_once_and_no_more() {
    let one = Fake::new("one").await;
    let client = client(&[&one], false);
    // Batches of several calls each: they leave by themselves when alone.
    let calls: Vec<_> = (0..40)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                let mut batch = Batch::new();
                (0..60).for_each(|_| batch.push("who", &[(); 0]));
                client.batch::<String>(batch).await.unwrap().len()
            })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), 60);
    }
    let most = one.most_at_once.load(Ordering::SeqCst);
    assert!((2..=3).contains(&most), "{most} at once");
}

#[tokio::test]
async fn a_client_that_nobody_uses_asks_nothing() {
    let (one, two) = (Fake::new("one").await, Fake::new("two").await);
    let client = client(&[&one, &two], true);
    assert_eq!(who(&client).await.unwrap(), "one");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let requests = || client.states().iter().map(|s| s.requests).sum::<u64>();
    let before = requests();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(requests(), before);
}

#[tokio::test]
async fn an_owner_can_put_a_node_aside() {
    let (one, two) = (Fake::new("one").await, Fake::new("two").await);
    let client = client(&[&one, &two], false);
    client.put_aside(0, "its receipts do not add up");
    assert_eq!(who(&client).await.unwrap(), "two");
    let why = client.states()[0].aside.unwrap();
    assert_eq!(why.to_string(), "its receipts do not add up");
    client.put_aside(9, "there is none");
}
