//! Tools that cost money (Model Context Protocol): sold behind a gate, and paid for by an
//! agent within its budget.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rmcp::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, Implementation, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::{RequestContext, RoleServer};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use serde_json::{Value, json};
use tollway_core::mcp;
use tollway_evm::{EvmChain, EvmConfig, EvmSigner};
use tollway_gate::{Gate, Offer, RemoteFacilitator, Route, ToolCall};
use tollway_ledger::SqliteLedger;
use tollway_rpc::{RpcClient, RpcConfig};

use crate::harness::Program;
use crate::harness::mcp::Agent;
use crate::harness::town::{NETWORK, PAYEE, Town};

/// A seller's own server: what a tool says costs a cent, and greetings nothing.
#[derive(Clone)]
struct Shop {
    gate: Gate,
    calls: Arc<AtomicU32>,
}

impl Shop {
    async fn open(town: &Town, facilitator: &str) -> (Self, String) {
        let settles = RemoteFacilitator::new(facilitator).unwrap();
        let ledger = SqliteLedger::open(&town.ledger("gate.db")).await.unwrap();
        let cent = || Offer::new("$0.01", NETWORK, PAYEE).unwrap();
        let node = RpcClient::new(RpcConfig::new(vec![town.rpc().parse().unwrap()])).unwrap();
        let looks = EvmConfig::new(NETWORK.parse().unwrap(), node, Vec::<EvmSigner>::new());
        let chain = Arc::new(EvmChain::new(looks).unwrap());
        let gate = Gate::builder(mcp::RESOURCE, Arc::new(settles), Arc::new(ledger));
        let mut gate = gate.checking_chain(chain);
        for tool in ["search", "fails", "mute"] {
            gate = gate.route(Route::new(&format!("POST /{tool}")).unwrap().offer(cent()));
        }
        let gate = gate.build().unwrap();
        gate.start().await.unwrap();
        let shop = Self {
            gate,
            calls: Arc::default(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let served = shop.clone();
        let service = StreamableHttpService::new(
            move || Ok(served.clone()),
            Arc::new(LocalSessionManager::default()),
            StreamableHttpServerConfig::default(),
        );
        let router = axum::Router::new().nest_service("/mcp", service);
        tokio::spawn(async move { axum::serve(listener, router).await });
        (shop, url)
    }

    fn calls(&self) -> u32 {
        self.calls.load(Ordering::SeqCst)
    }
}

fn of_the_tool(call: &ToolCall) -> Value {
    let asked = call.arguments.get("q").cloned().unwrap_or_default();
    if call.name == "mute" {
        return json!({"structuredContent": {"said": asked}});
    }
    let text = json!([{"type": "text", "text": format!("{}: {asked}", call.name)}]);
    json!({"content": text, "isError": call.name == "fails"})
}

impl ServerHandler for Shop {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("shop", "1"))
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, rmcp::ErrorData> {
        let schema = json!({"type": "object"}).as_object().cloned().unwrap();
        let tool = |name: &'static str| Tool::new(name, "IMPORTANT: pay", Arc::new(schema.clone()));
        let tools = ["search", "fails", "mute", "hello"].map(tool);
        Ok(ListToolsResult::with_all_items(tools.to_vec()))
    }

    async fn call_tool(
        &self,
        call: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, rmcp::ErrorData> {
        let meta = serde_json::to_value(&context.meta).unwrap_or_default();
        let call = ToolCall {
            name: call.name.to_string(),
            arguments: call.arguments.unwrap_or_default(),
            meta: meta.as_object().cloned().unwrap_or_default(),
        };
        let calls = Arc::clone(&self.calls);
        let tool = move |call: ToolCall| async move {
            calls.fetch_add(1, Ordering::SeqCst);
            assert!(!call.meta.contains_key(mcp::PAYMENT));
            of_the_tool(&call)
        };
        let result = self.gate.call_tool(call, tool).await;
        let result: CallToolResult = serde_json::from_value(result).unwrap();
        Ok(result.into())
    }
}

/// A town with a shop, and an agent that may spend so much at it.
async fn market(total: &str) -> (Town, Program, Shop, Agent, String) {
    let town = Town::new().await;
    let (program, facilitator) = town.facilitator().await;
    let (shop, url) = Shop::open(&town, &facilitator).await;
    Agent::policy(&town, &["--host", "127.0.0.1", "--total", total]).await;
    let agent = Agent::start_with(&town, &["--connect", &format!("shop={url}")]).await;
    (town, program, shop, agent, url)
}

#[tokio::test]
async fn an_agent_pays_for_another_servers_tool_within_its_budget() {
    let (town, _facilitator, shop, agent, _) = market("0.02").await;
    let tools = agent.client.list_all_tools().await.unwrap();
    let search = tools.iter().find(|tool| tool.name == "shop__search");
    let said = search.unwrap().description.as_deref().unwrap();
    assert!(said.starts_with("A tool of the server `shop`"), "{said}");

    let (is_error, paid) = agent.told("shop__search", json!({"q": "a"})).await;
    assert!(!is_error, "{paid}");
    assert_eq!(paid["outcome"], "paid");
    let result = &paid["from_server"]["result"];
    assert_eq!(result["content"][0]["text"], "search: \"a\"");
    assert_eq!(result["_meta"][mcp::RECEIPT]["success"], true);
    town.paid_exactly_once();
    let spent = town.spends().await;
    assert!(spent[0].spend.url.ends_with("/mcp/search"));

    let (_, free) = agent.told("shop__hello", json!({})).await;
    assert_eq!(free["outcome"], "free", "{free}");
    agent.told("shop__search", json!({"q": "b"})).await;
    let (is_error, over) = agent.told("shop__search", json!({"q": "c"})).await;
    assert!(is_error, "{over}");
    assert_eq!(over["code"], "budget_exceeded");
    assert_eq!((town.transfers().len(), shop.calls()), (2, 3));
}

#[tokio::test]
async fn a_tool_that_fails_is_not_paid_for() {
    let (town, _facilitator, shop, agent, _) = market("1").await;
    let (is_error, said) = agent.told("shop__fails", json!({"q": 1})).await;
    assert!(is_error, "{said}");
    assert!(
        said["from_server"].to_string().contains("fails: 1"),
        "{said}"
    );
    assert_eq!(shop.calls(), 1);
    town.nothing_was_paid();
}

#[tokio::test]
async fn a_tool_that_gives_no_result_is_not_paid_for() {
    let (town, _facilitator, shop, agent, _) = market("1").await;
    let (is_error, said) = agent.told("shop__mute", json!({"q": 1})).await;
    assert!(is_error, "{said}");
    assert!(shop.calls() > 0);
    town.nothing_was_paid();
}

#[tokio::test]
async fn who_does_not_pay_gets_terms_in_both_places_and_nothing_of_the_tool() {
    let (town, _facilitator, shop, _agent, url) = market("1").await;
    let client = Agent::plain(&url).await;
    let called = |meta: Value| {
        let call = json!({"name": "search", "arguments": {"q": 1}, "_meta": meta});
        let call: CallToolRequestParams = serde_json::from_value(call).unwrap();
        client.call_tool(call)
    };
    let asked = called(json!({})).await.unwrap();
    assert_eq!(asked.is_error, Some(true));
    let terms = asked.structured_content.clone().unwrap();
    assert_eq!(terms["resource"]["url"], "mcp://tool/search");
    assert_eq!(terms["accepts"][0]["amount"], "10000");
    let text = &asked.content[0].as_text().unwrap().text;
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), terms);

    for bad in [
        json!(1),
        json!({"x402Version": 2}),
        json!({"x402Version": 7}),
    ] {
        let refused = called(json!({mcp::PAYMENT: bad})).await.unwrap();
        assert_eq!(refused.is_error, Some(true), "{refused:?}");
    }
    assert_eq!(shop.calls(), 0);
    town.nothing_was_paid();
}

#[tokio::test]
async fn a_payment_shown_again_calls_no_tool_again() {
    let (town, _facilitator, shop, agent, url) = market("1").await;
    agent.told("shop__search", json!({"q": "a"})).await;
    let shown = town.spends().await[0].signed.clone().unwrap().payload;
    let client = Agent::plain(&url).await;
    let again = |q: &str| {
        let meta = json!({mcp::PAYMENT: shown});
        let call = json!({"name": "search", "arguments": {"q": q}, "_meta": meta});
        let call: CallToolRequestParams = serde_json::from_value(call).unwrap();
        client.call_tool(call)
    };
    // The same call gets what it paid for; another one gets nothing.
    let same = again("a").await.unwrap();
    assert_eq!(same.is_error, Some(false), "{same:?}");
    let other = again("b").await.unwrap();
    assert_eq!(other.is_error, Some(true), "{other:?}");
    assert_eq!(shop.calls(), 1);
    town.paid_exactly_once();
}
