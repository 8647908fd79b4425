//! Calls that are made at the same time, and what they share: a request, never
//! an answer or a failure that is another's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
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
use tollway_rpc::{Batch, RpcClient, RpcConfig, RpcError};
use url::Url;

/// What a node makes of one call.
type Reply = fn(&Value) -> Value;
/// What a node makes of a whole request with several calls.
type Fault = fn(&[Value]) -> Option<Response>;

/// A node that echoes each call's first parameter after some milliseconds.
struct Echo {
    millis: u64,
    reply: Reply,
    fault: Fault,
    /// How many calls each request held.
    requests: Mutex<Vec<usize>>,
    bytes: AtomicUsize,
}

fn echo(call: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": call["id"], "result": call["params"][0]})
}

fn no_fault(_: &[Value]) -> Option<Response> {
    None
}

async fn answer(State(node): State<Arc<Echo>>, body: Bytes) -> Response {
    let request: Value = serde_json::from_slice(&body).unwrap();
    let calls = match &request {
        Value::Array(calls) => calls.clone(),
        one => vec![one.clone()],
    };
    node.requests.lock().unwrap().push(calls.len());
    node.bytes.fetch_max(body.len(), Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(node.millis)).await;
    if calls.iter().any(|call| call["method"] == "slow") {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    if request.is_array()
        && let Some(fault) = (node.fault)(&calls)
    {
        return fault;
    }
    let mut replies: Vec<Value> = calls.iter().map(node.reply).collect();
    replies.reverse();
    let body = if request.is_array() {
        Value::Array(replies)
    } else {
        replies.remove(0)
    };
    body.to_string().into_response()
}

async fn node(millis: u64, reply: Reply, fault: Fault) -> (Arc<Echo>, RpcClient) {
    let node = Arc::new(Echo {
        millis,
        reply,
        fault,
        requests: Mutex::default(),
        bytes: AtomicUsize::new(0),
    });
    let app = Router::new()
        .route("/", post(answer))
        .with_state(Arc::clone(&node));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let mut config = RpcConfig::new(vec![Url::parse(&url).unwrap()]);
    config.timeout = Duration::from_secs(2);
    (node, RpcClient::new(config).unwrap())
}

/// Makes so many calls at once, each asking for its own number.
async fn ask_all(client: &RpcClient, count: u64) -> Vec<Result<u64, RpcError>> {
    let calls: Vec<_> = (0..count)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move { client.call::<u64>("echo", [number]).await })
        })
        .collect();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap());
    }
    answers
}

fn each_has_its_own(answers: &[Result<u64, RpcError>]) {
    for (number, answer) in (0_u64..).zip(answers) {
        assert_eq!(answer.as_ref().unwrap(), &number);
    }
}

#[tokio::test]
async fn calls_at_the_same_time_travel_together_and_each_gets_its_own_answer() {
    let (node, client) = node(20, echo, no_fault).await;
    each_has_its_own(&ask_all(&client, 40).await);
    assert_eq!(*node.requests.lock().unwrap(), [1, 39]);
    let stats = client.stats();
    assert_eq!((stats.http_requests, stats.methods["echo"]), (2, 40));
}

#[tokio::test]
async fn a_lone_call_waits_for_nobody_and_others_hardly_for_it() {
    let (node, client) = node(300, echo, no_fault).await;
    let began = Instant::now();
    let first = tokio::spawn({
        let client = client.clone();
        async move { client.call::<u64>("echo", [1]).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(client.call::<u64>("echo", [2]).await.unwrap(), 2);
    assert!(
        began.elapsed() < Duration::from_millis(550),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(first.await.unwrap().unwrap(), 1);
    assert_eq!(*node.requests.lock().unwrap(), [1, 1]);
}

#[tokio::test]
async fn a_question_that_has_gathered_already_neither_waits_nor_is_waited_for() {
    let (node, client) = node(100, echo, no_fault).await;
    let ordinary = |number: u64| {
        let client = client.clone();
        tokio::spawn(async move { client.call::<u64>("echo", [number]).await })
    };
    let calls: Vec<_> = (0..3).map(ordinary).collect();
    tokio::task::yield_now().await;
    let gathered = client.call_at_once::<u64>("echo", "[9]");
    assert_eq!(gathered.await.unwrap(), 9);
    for (number, call) in (0_u64..).zip(calls) {
        assert_eq!(call.await.unwrap().unwrap(), number);
    }
    assert_eq!(*node.requests.lock().unwrap(), [1, 1, 2]);
}

#[tokio::test]
async fn a_request_holds_at_most_a_hundred_calls_and_half_a_megabyte() {
    let (node, client) = node(20, echo, no_fault).await;
    each_has_its_own(&ask_all(&client, 350).await);
    let sizes = node.requests.lock().unwrap().clone();
    assert!(
        sizes.len() >= 5 && sizes.iter().all(|n| *n <= 100),
        "{sizes:?}"
    );

    let large = "x".repeat(100_000);
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let (client, large) = (client.clone(), large.clone());
            tokio::spawn(async move { client.call::<String>("echo", [large]).await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), large);
    }
    assert!(node.bytes.load(Ordering::Relaxed) <= 512 << 10);
}

#[tokio::test]
async fn calls_that_travel_together_fail_alone() {
    let refuses_odd: Reply = |call| match call["params"][0].as_u64() {
        Some(n) if n % 2 == 1 => {
            json!({"id": call["id"], "error": {"code": 3, "message": format!("execution reverted {n}")}})
        }
        Some(4) => json!({"id": call["id"], "result": "not a number"}),
        _ => echo(call),
    };
    let (_node, client) = node(20, refuses_odd, no_fault).await;
    for (number, answer) in (0_u64..).zip(ask_all(&client, 20).await) {
        match answer {
            Ok(found) => assert!(found == number && number % 2 == 0),
            Err(RpcError::Rpc { message, .. }) => {
                assert_eq!(message, format!("execution reverted {number}"));
            }
            Err(error) => assert!(number == 4 && error.is_retryable(), "{number}: {error}"),
        }
    }
}

#[tokio::test]
async fn a_lost_batch_fails_every_call_in_it_and_each_may_be_tried_again() {
    let (_node, client) = node(20, echo, |_| Some(StatusCode::BAD_GATEWAY.into_response())).await;
    let answers = ask_all(&client, 10).await;
    assert_eq!(
        answers[0].as_ref().unwrap(),
        &0,
        "it left before the others"
    );
    for answer in &answers[1..] {
        assert!(answer.as_ref().unwrap_err().is_retryable());
    }
    assert_eq!(client.call::<u64>("echo", [7]).await.unwrap(), 7);
}

#[tokio::test]
async fn no_call_gets_an_answer_that_is_not_certainly_its_own() {
    // The answers of 1 and 2 are both numbered as that of 1; 3 has none.
    let confused: Fault = |calls| {
        let replies: Vec<Value> = calls
            .iter()
            .filter(|call| call["params"][0] != 3)
            .map(|call| {
                let of = if call["params"][0] == 2 {
                    &calls[0]
                } else {
                    call
                };
                json!({"id": of["id"], "result": call["params"][0]})
            })
            .collect();
        Some(Value::Array(replies).to_string().into_response())
    };
    let (_node, client) = node(20, echo, confused).await;
    for (number, answer) in (0_u64..).zip(ask_all(&client, 6).await) {
        match answer {
            Ok(found) => assert_eq!(found, number),
            Err(error) => assert!((1..=3).contains(&number) && error.is_retryable()),
        }
    }
}

#[tokio::test]
async fn a_node_without_batches_is_served_and_not_asked_for_one_again() {
    let with_error: Fault = |_| {
        let error = json!({"id": null, "error": {"code": -32600, "message": "no batches"}});
        Some(error.to_string().into_response())
    };
    let with_status: Fault = |_| Some(StatusCode::PAYLOAD_TOO_LARGE.into_response());
    for fault in [with_error, with_status] {
        let (node, client) = node(20, echo, fault).await;
        each_has_its_own(&ask_all(&client, 10).await);
        each_has_its_own(&ask_all(&client, 10).await);
        let mut batch = Batch::new();
        batch.push("echo", &[5]);
        batch.push("echo", &[6]);
        let answers = client.batch::<u64>(batch).await.unwrap();
        let answers: Vec<u64> = answers.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers, [5, 6]);
        let sizes = node.requests.lock().unwrap().clone();
        assert_eq!(sizes.iter().filter(|n| **n > 1).count(), 1, "{sizes:?}");
    }
}

#[tokio::test]
async fn one_slow_call_does_not_fail_the_others() {
    let (_node, client) = node(20, echo, no_fault).await;
    let began = Instant::now();
    let first = tokio::spawn({
        let client = client.clone();
        async move { client.call::<u64>("echo", [1]).await }
    });
    tokio::time::sleep(Duration::from_millis(5)).await;
    let (slow, quick) = tokio::join!(client.call::<u64>("slow", [2]), async {
        let answer = client.call::<u64>("echo", [3]).await;
        (answer, began.elapsed())
    });
    assert_eq!(slow.unwrap(), 2);
    assert_eq!(quick.0.unwrap(), 3);
    assert!(quick.1 < Duration::from_secs(1), "{:?}", quick.1);
    assert_eq!(first.await.unwrap().unwrap(), 1);
}

#[tokio::test]
async fn callers_that_give_up_take_nobody_along() {
    let (node, client) = node(50, echo, no_fault).await;
    let calls: Vec<_> = (0..30_u64)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move { client.call::<u64>("echo", [number]).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(25)).await;
    calls.iter().step_by(2).for_each(|call| call.abort());
    let mut found = HashSet::new();
    for call in calls {
        if let Ok(answer) = call.await {
            found.insert(answer.unwrap());
        }
    }
    assert!((0..30).filter(|n| n % 2 == 1).all(|n| found.contains(&n)));
    assert_eq!(client.call::<u64>("echo", [9]).await.unwrap(), 9);
    assert!(node.requests.lock().unwrap().len() <= 4);
}
