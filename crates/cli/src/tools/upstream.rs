//! The server whose tools are sold: a program of ours, or one at a URL.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rmcp::ServiceExt as _;
use rmcp::model::Tool;
use rmcp::service::{Peer, RoleClient, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use serde_json::{Map, Value, json};
use tokio::process::{Child, Command};
use tollway_core::codes;
use tollway_gate::ToolCall;

use super::flags::McpGateArgs;
use crate::agent::mcp::remote;
use crate::exit::Failure;
use crate::wiring;

/// How long it may take to begin, and a tool to answer.
const PATIENCE: Duration = Duration::from_secs(120);
/// Largest event of it.
const MAX_EVENT_BYTES: usize = 16 << 20;
/// Most tools of it that are offered.
const MAX_TOOLS: usize = 1024;

/// A server that is connected to.
#[derive(Clone)]
pub struct Upstream {
    peer: Peer<RoleClient>,
    running: Arc<RunningService<RoleClient, ()>>,
    /// Ends with us.
    _child: Option<Arc<Child>>,
}

impl Upstream {
    /// Starts or connects to what the flags name.
    pub async fn connect(args: &McpGateArgs) -> Result<Self, Failure> {
        let failed = |why: String| {
            Failure::new(format!(
                "The server of the tools cannot be used: {why}; try it with an MCP client of its own."
            ))
        };
        let begin = async {
            match (&args.connect, args.command.split_first()) {
                (Some(url), _) => {
                    let url = wiring::http_url(url, "--connect")?;
                    let client = tollway_payer::client_builder().build();
                    let client = client.map_err(|e| failed(e.to_string()))?;
                    let config = StreamableHttpClientTransportConfig::with_uri(url.as_str())
                        .max_sse_event_size(MAX_EVENT_BYTES);
                    let transport = StreamableHttpClientTransport::with_client(client, config);
                    let running = ().serve(transport).await;
                    Ok((running.map_err(|e| failed(e.to_string()))?, None))
                }
                (None, Some((program, rest))) => {
                    let mut child = Command::new(program)
                        .args(rest)
                        .stdin(Stdio::piped())
                        .stdout(Stdio::piped())
                        .kill_on_drop(true)
                        .spawn()
                        .map_err(|e| failed(format!("`{program}` does not start ({e})")))?;
                    let pipes = child.stdout.take().zip(child.stdin.take());
                    let pipes = pipes.ok_or_else(|| failed("it has no pipes".to_owned()))?;
                    let running = ().serve(pipes).await;
                    let running = running.map_err(|e| failed(e.to_string()))?;
                    Ok((running, Some(Arc::new(child))))
                }
                (None, None) => Err(Failure::usage(
                    "Whose tools are sold is missing; add --connect URL, or -- and the program that serves them.",
                )),
            }
        };
        let begun = tokio::time::timeout(PATIENCE, begin).await;
        let (running, child) =
            begun.unwrap_or_else(|_| Err(failed("it does not answer".into())))?;
        Ok(Self {
            peer: running.peer().clone(),
            running: Arc::new(running),
            _child: child,
        })
    }

    /// When its connection ends.
    pub fn ended(&self) -> impl Future<Output = ()> + use<> {
        let running = Arc::clone(&self.running);
        async move {
            while !running.peer().is_transport_closed() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }

    /// Which tools it has now.
    pub async fn tools(&self) -> Result<Vec<Tool>, String> {
        let listed = tokio::time::timeout(PATIENCE, self.peer.list_all_tools()).await;
        let listed = listed.map_err(|_| "it does not answer".to_owned())?;
        let mut tools = listed.map_err(|error| error.to_string())?;
        tools.truncate(MAX_TOOLS);
        Ok(tools)
    }

    /// Calls a tool, and gives its result; an error where there is none, which nobody
    /// pays for.
    pub async fn call(&self, call: ToolCall) -> Value {
        let ToolCall {
            name,
            arguments,
            mut meta,
        } = call;
        // Whoever is asked for progress tells it to nobody.
        meta.shift_remove("progressToken");
        let params = Map::from_iter([
            ("name".to_owned(), json!(name)),
            ("arguments".to_owned(), Value::Object(arguments)),
            ("_meta".to_owned(), Value::Object(meta)),
        ]);
        let called = tokio::time::timeout(PATIENCE, remote::send(&self.peer, params)).await;
        match called {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => tollway_core::mcp::error_result(&json!({
                "error": codes::UPSTREAM_FAILED,
                "message": "The tool's server gave no result; nothing was charged, call it again.",
            })),
        }
    }
}
