//! Other servers' tools, called for the agent and paid for within its budget.

use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{CallToolRequestParams, CallToolResponse, Tool};
use rmcp::service::{Peer, RoleClient, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ServiceError, ServiceExt as _};
use serde_json::{Map, Value, json};
use tollway_payer::{BoxError, ToolCall};
use url::Url;

use crate::exit::Failure;
use crate::{keys, wiring};

/// Between a server's name and its tool's.
const BETWEEN: &str = "__";
/// How long a server may take to begin, and a tool to answer.
const PATIENCE: Duration = Duration::from_secs(120);
/// Largest event of a server.
const MAX_EVENT_BYTES: usize = 16 << 20;
/// Most tools of one server that are shown.
const MAX_TOOLS: usize = 256;

/// A server whose tools are called.
#[derive(Clone)]
pub struct Remote {
    name: String,
    url: Url,
    tools: Vec<Tool>,
    peer: Peer<RoleClient>,
    _running: Arc<RunningService<RoleClient, ()>>,
}

impl Remote {
    /// Connects to `NAME=URL`, and reads which tools it has.
    pub async fn connect(text: &str) -> Result<Self, Failure> {
        let (name, url) = text.split_once('=').unwrap_or_default();
        if !keys::is_name(name) || name.contains(BETWEEN) {
            return Err(Failure::usage(format!(
                "--connect {text}: write NAME=URL, such as search=https://tools.example/mcp."
            )));
        }
        let url = wiring::http_url(url, "--connect")?;
        let failed = |why: String| {
            Failure::new(format!(
                "--connect {name}: the server cannot be used: {why}; check its URL, or leave it out."
            ))
        };
        let client = tollway_payer::client_builder().build();
        let client = client.map_err(|error| failed(error.to_string()))?;
        let config = StreamableHttpClientTransportConfig::with_uri(url.as_str())
            .max_sse_event_size(MAX_EVENT_BYTES);
        let transport = StreamableHttpClientTransport::with_client(client, config);
        let connecting = async {
            let running = ().serve(transport).await.map_err(|e| e.to_string())?;
            let tools = running.list_all_tools().await.map_err(|e| e.to_string())?;
            Ok((running, tools))
        };
        let connected = tokio::time::timeout(PATIENCE, connecting).await;
        let connected = connected.unwrap_or_else(|_| Err("it does not answer".to_owned()));
        let (running, mut tools) = connected.map_err(failed)?;
        tools.truncate(MAX_TOOLS);
        Ok(Self {
            name: name.to_owned(),
            url,
            tools,
            peer: running.peer().clone(),
            _running: Arc::new(running),
        })
    }

    /// Where it is.
    pub const fn url(&self) -> &Url {
        &self.url
    }

    /// Its tools under their names here. What they say of themselves is the server's.
    pub fn tools(&self) -> impl Iterator<Item = Tool> {
        self.tools.iter().map(|tool| {
            let mut shown = tool.clone();
            shown.name = format!("{}{BETWEEN}{}", self.name, tool.name).into();
            let said = tool.description.as_deref().unwrap_or_default();
            let said = format!(
                "A tool of the server `{}`, which may cost money; it is paid within the owner's limits. The server says of it: {said}",
                self.name
            );
            shown.description = Some(said.into());
            shown.annotations = None;
            shown
        })
    }

    /// The tool that a name here stands for.
    pub fn tool_of<'a>(&self, name: &'a str) -> Option<&'a str> {
        let tool = name.strip_prefix(&self.name)?.strip_prefix(BETWEEN)?;
        let known = self.tools.iter().any(|one| one.name == tool);
        known.then_some(tool)
    }

    /// What calls its tools, once each time it is called.
    pub fn caller(
        &self,
    ) -> impl Fn(ToolCall) -> std::pin::Pin<Box<dyn Future<Output = Result<Value, BoxError>> + Send>>
    + Clone
    + Send
    + 'static {
        let peer = self.peer.clone();
        move |call| {
            let peer = peer.clone();
            Box::pin(async move {
                let called = tokio::time::timeout(PATIENCE, self::call(&peer, call)).await;
                called.unwrap_or_else(|_| Err("the tool does not answer".into()))
            })
        }
    }
}

async fn call(peer: &Peer<RoleClient>, call: ToolCall) -> Result<Value, BoxError> {
    let ToolCall {
        name,
        arguments,
        meta,
    } = call;
    let mut params = Map::from_iter([
        ("name".to_owned(), json!(name)),
        ("arguments".to_owned(), Value::Object(arguments)),
    ]);
    if !meta.is_empty() {
        params.insert("_meta".to_owned(), Value::Object(meta));
    }
    send(peer, params).await
}

/// Calls a tool, once, by the parameters of `tools/call`.
pub async fn send(peer: &Peer<RoleClient>, params: Map<String, Value>) -> Result<Value, BoxError> {
    let params: CallToolRequestParams = serde_json::from_value(Value::Object(params))?;
    match peer.call_tool_once(params).await {
        Ok(CallToolResponse::Complete(result)) => Ok(serde_json::to_value(result)?),
        Ok(_) => Err("the tool asks for more than a call gives".into()),
        // An answer of the protocol's own: nothing was done.
        Err(ServiceError::McpError(error)) => Ok(tollway_core::mcp::error_result(&json!({
            "error": error.code.0,
            "message": error.message,
        }))),
        Err(error) => Err(error.into()),
    }
}
