//! A server of tools that knows nothing of payments is sold by one command.

use rmcp::model::{CallToolRequestParams, CallToolResult};
use serde_json::{Value, json};
use tollway_core::mcp;

use crate::harness::Program;
use crate::harness::mcp::{Agent, Client};
use crate::harness::town::{NETWORK, PAYEE, Town, strings};

/// Somebody's server: it speaks the protocol on standard input and output, and writes
/// down what it was called with.
const SERVER: &str = r#"import json, sys
calls = open(sys.argv[1], "a")
def tool(name):
    return {"name": name, "description": "A " + name, "inputSchema": {"type": "object"},
            "outputSchema": {"type": "object", "properties": {"said": {"type": "string"}}, "required": ["said"]}}
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked: continue
    params, method = asked.get("params", {}), asked["method"]
    if method == "initialize":
        result = {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}},
                  "serverInfo": {"name": "shop", "version": "1"}}
    elif method == "tools/list":
        result = {"tools": [tool(n) for n in ["search", "fails", "hello", "secret"]]}
    elif method == "tools/call":
        calls.write(json.dumps(params) + "\n"); calls.flush()
        said = params["name"] + ": " + str(params.get("arguments", {}).get("q"))
        result = {"content": [{"type": "text", "text": said}], "isError": params["name"] == "fails",
                  "structuredContent": {"said": said}}
    else:
        result = {}
    if method == "tools/call" and params.get("arguments", {}).get("q") == "die": sys.exit(1)
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
"#;

fn args(town: &Town, more: &[&str]) -> Vec<String> {
    let node = format!("{NETWORK}={}", town.rpc());
    let mut args = strings(&["mcp-gate", "--pay-to", PAYEE, "--network", &node]);
    args.extend(strings(&["--facilitator", "local"]));
    args.extend(strings(&["--signer-key-file", &town.arg("signer.key")]));
    args.extend(strings(&["--ledger", &town.ledger("gate.db")]));
    args.extend(strings(more));
    args.extend(strings(&["--", "python3", &town.arg("server.py")]));
    args.push(town.arg("calls"));
    args
}

const TOOLS: [&str; 6] = [
    "--tool",
    "search=$0.01",
    "--tool",
    "fails=$0.01",
    "--tool",
    "hello=free",
];

async fn sold(more: &[&str]) -> (Town, Program, String) {
    let town = Town::new().await;
    std::fs::write(town.path("server.py"), SERVER).unwrap();
    let flags = [&TOOLS[..], &["--listen", "127.0.0.1:0"], more].concat();
    let (program, url) = Program::serve(town.command(&args(&town, &flags))).await;
    (town, program, url)
}

fn calls(town: &Town) -> Vec<Value> {
    let text = std::fs::read_to_string(town.path("calls")).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

async fn call(client: &Client, tool: &str, arguments: Value, meta: Value) -> CallToolResult {
    let call = json!({"name": tool, "arguments": arguments, "_meta": meta});
    let call: CallToolRequestParams = serde_json::from_value(call).unwrap();
    client.call_tool(call).await.unwrap()
}

#[tokio::test]
async fn an_agent_buys_a_tool_of_a_server_that_knows_nothing_of_payments() {
    let (town, _gate, url) = sold(&[]).await;
    Agent::policy(&town, &["--host", "127.0.0.1", "--total", "1"]).await;
    let agent = Agent::start_with(&town, &["--connect", &format!("shop={url}")]).await;
    let (is_error, paid) = agent.told("shop__search", json!({"q": "a"})).await;
    assert!(!is_error, "{paid}");
    assert_eq!(paid["outcome"], "paid");
    let result = &paid["from_server"]["result"];
    assert_eq!(result["content"][0]["text"], "search: a");
    assert_eq!(result["_meta"][mcp::RECEIPT]["success"], true);
    town.paid_exactly_once();

    let (_, free) = agent.told("shop__hello", json!({"q": "b"})).await;
    assert_eq!(free["outcome"], "free", "{free}");
    let (is_error, failed) = agent.told("shop__fails", json!({"q": "c"})).await;
    assert!(is_error, "{failed}");
    town.paid_exactly_once();
    let seen = calls(&town);
    assert_eq!(seen.len(), 3);
    assert!(
        !json!(seen).to_string().contains("x402"),
        "a tool saw a payment: {seen:?}"
    );
}

#[tokio::test]
async fn tools_are_offered_with_their_price_and_others_neither_shown_nor_called() {
    let (town, gate, url) = sold(&[]).await;
    assert!(
        gate.stderr().contains("the tool `secret` has no price"),
        "{}",
        gate.stderr()
    );
    let client = Agent::plain(&url).await;
    let tools = client.list_all_tools().await.unwrap();
    let names: Vec<&str> = tools.iter().map(|tool| &*tool.name).collect();
    assert_eq!(names, ["search", "fails", "hello"]);
    let said = tools[0].description.as_deref().unwrap();
    assert_eq!(said, "A search\n\nCosts $0.01 a call, paid by x402.");
    assert!(tools[0].output_schema.is_none() && tools[2].output_schema.is_some());

    let asked = call(&client, "search", json!({"q": 1}), json!({})).await;
    assert_eq!(asked.is_error, Some(true));
    let terms = asked.structured_content.clone().unwrap();
    assert_eq!(terms["resource"]["url"], "mcp://tool/search");
    let text = &asked.content[0].as_text().unwrap().text;
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), terms);
    for name in ["secret", "../hello", "hello/../secret", ""] {
        let call = json!({"name": name, "arguments": {}});
        let call: CallToolRequestParams = serde_json::from_value(call).unwrap();
        assert!(client.call_tool(call).await.is_err(), "{name}");
    }
    // Another spelling of a priced tool costs as much.
    let shouted = call(&client, "SEARCH", json!({"q": 1}), json!({})).await;
    assert_eq!(shouted.is_error, Some(true));
    assert!(shouted.structured_content.unwrap()["accepts"].is_array());
    assert_eq!(calls(&town).len(), 0);
    town.nothing_was_paid();
}

#[tokio::test]
async fn over_standard_input_a_client_starts_it_as_it_would_start_the_server() {
    let town = Town::new().await;
    std::fs::write(town.path("server.py"), SERVER).unwrap();
    let mut command = town.command(&args(&town, &TOOLS));
    command.stdin(std::process::Stdio::piped());
    let mut process = command.spawn().unwrap();
    let pipes = (
        process.stdout.take().unwrap(),
        process.stdin.take().unwrap(),
    );
    let client: Client = rmcp::ServiceExt::serve((), pipes).await.unwrap();
    let free = call(&client, "hello", json!({"q": 1}), json!({})).await;
    assert_eq!(free.is_error, Some(false));
    let asked = call(&client, "search", json!({"q": 1}), json!({})).await;
    assert!(asked.structured_content.unwrap()["accepts"].is_array());
    client.cancel().await.unwrap();
    assert!(process.wait().await.unwrap().success());
}

#[tokio::test]
async fn a_server_that_dies_is_not_paid_for_and_ends_the_gate() {
    let (town, gate, url) = sold(&[]).await;
    Agent::policy(&town, &["--host", "127.0.0.1", "--total", "1"]).await;
    let agent = Agent::start_with(&town, &["--connect", &format!("shop={url}")]).await;
    let (is_error, said) = agent.told("shop__search", json!({"q": "die"})).await;
    assert!(is_error, "{said}");
    let ended = gate.end().await;
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("ended; start it again"),
        "{}",
        ended.stderr
    );
    town.nothing_was_paid();
}

#[tokio::test]
async fn what_is_missing_is_said_before_anything_is_opened() {
    let town = Town::new().await;
    let program = ["--", "python3", "server.py"];
    for (flags, cure) in [
        (&["--tool", "search"][..], "write for example --tool"),
        (
            &[
                "--tool",
                "search=cheap",
                "--pay-to",
                PAYEE,
                "--network",
                "base-sepolia",
            ],
            "--tool 'search=cheap': `cheap`: `cheap` is not a price",
        ),
        (&["--tool", "search=free"], "No tool costs anything"),
        (&["--tool", "search=$0.01"], "--pay-to is missing"),
    ] {
        let args = [&["mcp-gate"][..], flags, &program].concat();
        let refused = town.run(&args).await.exits(2);
        assert!(
            refused.stderr.contains(cure),
            "{flags:?}: {}",
            refused.stderr
        );
    }
}
