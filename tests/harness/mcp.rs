//! Another program's MCP client, which started `tollway mcp`.

use rmcp::model::{CallToolRequestParams, CallToolResult};
use rmcp::service::{RoleClient, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ServiceError, ServiceExt as _};
use serde_json::Value;

use super::raw;
use super::town::{Town, strings};

/// A client of a server of tools.
pub type Client = RunningService<RoleClient, ()>;

/// A client, and the process that it started.
pub struct Agent {
    /// Its side of the protocol.
    pub client: Client,
    _process: tokio::process::Child,
}

/// The arguments of `tollway mcp` for the agent `robot`.
pub fn args(town: &Town, more: &[&str]) -> Vec<String> {
    let mut args = strings(&[
        "mcp",
        "--agent",
        "robot",
        "--key-file",
        &town.arg("buyer.key"),
    ]);
    args.extend(strings(&["--ledger", &town.ledger("payer.db")]));
    args.extend(strings(more));
    args
}

impl Agent {
    /// Writes what the owner allows it.
    pub async fn policy(town: &Town, flags: &[&str]) {
        let mut args = vec!["budget", "set", "--agent", "robot"];
        args.extend(flags);
        town.run(&args).await.exits(0);
    }

    /// Starts it.
    pub async fn start(town: &Town) -> Self {
        Self::start_with(town, &[]).await
    }

    /// Starts it with more flags.
    pub async fn start_with(town: &Town, more: &[&str]) -> Self {
        Self::of(town.command(&args(town, more))).await
    }

    /// Starts this one.
    pub async fn of(mut command: tokio::process::Command) -> Self {
        command.stdin(std::process::Stdio::piped());
        let mut process = command.spawn().unwrap();
        let pipes = (
            process.stdout.take().unwrap(),
            process.stdin.take().unwrap(),
        );
        let client = ().serve(pipes).await.unwrap();
        Self {
            client,
            _process: process,
        }
    }

    /// A client that pays nothing, of a server over HTTP.
    pub async fn plain(url: &str) -> Client {
        let config = StreamableHttpClientTransportConfig::with_uri(url);
        let transport = StreamableHttpClientTransport::with_client(raw::client(), config);
        ().serve(transport).await.unwrap()
    }

    /// Calls a tool.
    pub async fn call(
        &self,
        tool: &'static str,
        arguments: Value,
    ) -> Result<CallToolResult, ServiceError> {
        let arguments = arguments.as_object().unwrap().clone();
        let call = CallToolRequestParams::new(tool).with_arguments(arguments);
        self.client.call_tool(call).await
    }

    /// What a tool says, and whether it is an error.
    pub async fn told(&self, tool: &'static str, arguments: Value) -> (bool, Value) {
        let result = self.call(tool, arguments).await.unwrap();
        let said = result.structured_content.unwrap();
        let text = result.content[0].as_text().unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text.text).unwrap(), said);
        (result.is_error == Some(true), said)
    }

    /// The code of what is refused.
    pub async fn refusal(&self, arguments: Value) -> String {
        let (is_error, said) = self.told("pay_and_fetch", arguments).await;
        assert!(is_error, "{said}");
        said["code"].as_str().unwrap().to_owned()
    }
}
