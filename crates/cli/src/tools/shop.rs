//! What clients see: the tools of the server behind, with their prices.

use std::sync::Arc;

use rmcp::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, Implementation, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::{RequestContext, RoleServer};
use serde_json::Value;
use tollway_gate::{Gate, ToolCall};

use super::upstream::Upstream;
use crate::exit::Failure;
use crate::logs;

/// Longest name of a tool.
const MAX_NAME_BYTES: usize = 128;

/// What a tool costs, as the seller wrote it.
#[derive(Clone, Debug)]
pub struct Price {
    /// Its name, or `*` for every other tool.
    pub tool: String,
    /// What follows; none for what is free.
    pub price: Option<String>,
}

impl Price {
    /// Reads each `--tool`; `*` comes last, wherever it stood.
    pub fn all(texts: &[String]) -> Result<Vec<Self>, Failure> {
        let mut prices: Vec<Self> = Vec::new();
        for text in texts {
            let price = Self::parse(text)?;
            if prices.iter().any(|other| other.tool == price.tool) {
                return Err(Failure::usage(format!(
                    "--tool {text}: the tool has a price already; name it once."
                )));
            }
            prices.push(price);
        }
        prices.sort_by_key(|price| price.tool == "*");
        if prices.iter().all(|price| price.price.is_none()) {
            return Err(Failure::usage(
                "No tool costs anything; give one a price, such as --tool search='$0.01'.",
            ));
        }
        Ok(prices)
    }

    fn parse(text: &str) -> Result<Self, Failure> {
        let bad = |why: &str| {
            Failure::usage(format!(
                "--tool {text}: {why}; write for example --tool search='$0.01', or hello=free."
            ))
        };
        let (tool, price) = text
            .split_once('=')
            .ok_or_else(|| bad("there is no price"))?;
        let (tool, price) = (tool.trim(), price.trim());
        if tool != "*" && !is_name(tool) {
            return Err(bad("a tool's name has letters, digits, -, _ and ."));
        }
        let price = (price != "free").then(|| price.to_owned());
        if price.as_deref() == Some("") {
            return Err(bad("the price is empty"));
        }
        Ok(Self {
            tool: tool.to_owned(),
            price,
        })
    }

    /// The route that prices it.
    pub fn route(&self) -> Option<String> {
        let price = self.price.as_ref()?;
        Some(format!("POST /{}={price}", self.tool))
    }
}

/// A name that is one segment of a path, and the same in every spelling.
fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b == b'.';
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && name.bytes().all(plain)
        && name.bytes().any(|b| b != b'.')
}

/// The tools of a server, sold.
#[derive(Clone)]
pub struct Shop {
    gate: Gate,
    upstream: Upstream,
    prices: Arc<[Price]>,
}

impl Shop {
    /// Looks at the tools once, and says which of the flags name none.
    pub async fn new(gate: Gate, upstream: Upstream, prices: Vec<Price>) -> Result<Self, Failure> {
        let tools = upstream.tools().await.map_err(|why| {
            Failure::new(format!(
                "The server does not list its tools: {why}; try it with an MCP client of its own."
            ))
        })?;
        for price in prices.iter().filter(|price| price.tool != "*") {
            if !tools.iter().any(|tool| tool.name == price.tool) {
                logs::say(format_args!(
                    "the server has no tool `{}` now; it is sold when there is one.",
                    price.tool
                ));
            }
        }
        let shop = Self {
            gate,
            upstream,
            prices: prices.into(),
        };
        for tool in tools.iter().filter(|tool| shop.price(&tool.name).is_none()) {
            logs::say(format_args!(
                "the tool `{}` has no price and is not offered; add --tool '{}=$0.01' or '{}=free'.",
                tool.name, tool.name, tool.name
            ));
        }
        Ok(shop)
    }

    /// What a tool costs.
    fn price(&self, tool: &str) -> Option<&Price> {
        priced(&self.prices, tool)
    }

    /// A tool as it is offered, if it is.
    fn offered(&self, mut tool: Tool) -> Option<Tool> {
        let price = self.price(&tool.name)?;
        if let Some(price) = &price.price {
            let said = tool.description.as_deref().unwrap_or_default();
            let price = price.split(';').next().unwrap_or_default().trim();
            let said = format!("{said}\n\nCosts {price} a call, paid by x402.");
            tool.description = Some(said.trim_start().to_owned().into());
            // What asks for payment is a result of another shape.
            tool.output_schema = None;
        }
        Some(tool)
    }
}

impl ServerHandler for Shop {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("tollway-mcp-gate", env!("CARGO_PKG_VERSION")))
            .with_instructions(
                "Calls of tools that cost money answer with x402 payment terms; call again with the payment in _meta[\"x402/payment\"].",
            )
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, rmcp::ErrorData> {
        let tools = self.upstream.tools().await.map_err(|_| {
            let message = "The server behind does not list its tools now; ask again later.";
            rmcp::ErrorData::internal_error(message, None)
        })?;
        let offered = tools.into_iter().filter_map(|tool| self.offered(tool));
        Ok(ListToolsResult::with_all_items(offered.collect()))
    }

    async fn call_tool(
        &self,
        call: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, rmcp::ErrorData> {
        let Some(price) = self.price(&call.name) else {
            let message = "There is no tool of that name; list the tools.";
            return Err(rmcp::ErrorData::invalid_params(message, None));
        };
        let meta = serde_json::to_value(&context.meta).unwrap_or_default();
        let call = ToolCall {
            name: call.name.to_string(),
            arguments: call.arguments.unwrap_or_default(),
            meta: meta.as_object().cloned().unwrap_or_default(),
        };
        let upstream = self.upstream.clone();
        let result: Value = match price.price {
            None => upstream.call(call).await,
            Some(_) => {
                let tool = move |call| async move { upstream.call(call).await };
                self.gate.call_tool(call, tool).await
            }
        };
        let result: CallToolResult = serde_json::from_value(result).map_err(|_| {
            let message = "The tool's result cannot be read; call it again later.";
            rmcp::ErrorData::internal_error(message, None)
        })?;
        Ok(result.into())
    }
}

/// What a tool costs: by its very name; else by that of a tool that costs something, in
/// other letters, since the server behind may take one for the other; else as the rest.
fn priced<'p>(prices: &'p [Price], tool: &str) -> Option<&'p Price> {
    if !is_name(tool) {
        return None;
    }
    let like = |price: &&Price| price.price.is_some() && price.tool.eq_ignore_ascii_case(tool);
    let exact = prices.iter().find(|price| price.tool == tool);
    let exact = exact.or_else(|| prices.iter().find(like));
    exact.or_else(|| prices.iter().find(|price| price.tool == "*"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[&str]) -> Result<Vec<Price>, Failure> {
        Price::all(
            &texts
                .iter()
                .map(|text| (*text).to_owned())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn prices_are_routes_and_the_star_comes_last() {
        let prices = read(&["*=$0.001", "hello=free", "search=$0.01; single"]).unwrap();
        let routes: Vec<String> = prices.iter().filter_map(Price::route).collect();
        assert_eq!(routes, ["POST /search=$0.01; single", "POST /*=$0.001"]);
    }

    #[test]
    fn no_spelling_of_a_name_is_cheaper_than_the_name() {
        let prices = read(&["search=$0.01", "hello=free", "*=$0.001"]).unwrap();
        let cost = |tool: &str| priced(&prices, tool).map(|price| price.price.as_deref());
        assert_eq!(cost("search"), Some(Some("$0.01")));
        assert_eq!(cost("SEARCH"), Some(Some("$0.01")));
        assert_eq!(cost("hello"), Some(None));
        assert_eq!(cost("HELLO"), Some(Some("$0.001")));
        assert_eq!(cost("other"), Some(Some("$0.001")));
        for odd in ["", "..", "a/../hello", "hello ", "hello%20", "héllo"] {
            assert_eq!(cost(odd), None, "{odd}");
        }
    }

    #[test]
    fn what_names_no_tool_or_no_price_is_refused_with_what_to_write() {
        for texts in [
            &["search"][..],
            &["search="],
            &["a b=$1"],
            &["a/../b=$1"],
            &["..=$1"],
            &[":x=$1"],
            &["=$1"],
            &["hello=free"],
            &["a=$1", "a=$2"],
        ] {
            let refused = read(texts).unwrap_err();
            assert!(
                refused.message.contains("such as --tool")
                    || refused.message.contains("write for example")
                    || refused.message.contains("name it once"),
                "{texts:?}: {}",
                refused.message
            );
        }
    }
}
