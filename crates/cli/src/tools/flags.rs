//! The flags of `tollway mcp-gate`.

use std::path::PathBuf;

use clap::Args;

/// `tollway mcp-gate`
#[derive(Args)]
#[command(after_help = "Examples:
  tollway mcp-gate --tool search='$0.01' --tool hello=free --pay-to 0xYourAddress \\
    --network base-sepolia --facilitator https://x402.org/facilitator -- npx -y your-mcp-server
  tollway mcp-gate --listen 0.0.0.0:4031 --connect http://127.0.0.1:3000/mcp --tool '*=$0.005' …

The tools of a server that speaks the Model Context Protocol are offered with a price, and called once they are paid
for, by x402's MCP transport: terms in the result of a call, the payment in `_meta[\"x402/payment\"]` of the next one,
the receipt in its result. What a tool calls an error is not paid for. A tool that no --tool names is neither shown
nor called. Resources and prompts of the server are not offered.

One ledger for each --pay-to, and for each such server another one.")]
pub struct McpGateArgs {
    /// A tool and its price, such as search=$0.01 or hello=free; * is every other tool. May be repeated. What
    /// follows a route's price may stand here too; see `tollway gate --help`.
    #[arg(long = "tool", value_name = "NAME=PRICE|NAME=free", required = true)]
    pub tools: Vec<String>,
    /// Server whose tools are sold (streamable HTTP).
    #[arg(long, value_name = "URL", conflicts_with = "command")]
    pub connect: Option<String>,
    /// Serve streamable HTTP at /mcp of this address [default: standard input and output].
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Who is paid.
    #[arg(long, value_name = "ADDRESS")]
    pub pay_to: Option<String>,
    /// Network to be paid on, with the URLs of its nodes; may be repeated.
    #[arg(long = "network", value_name = "NETWORK[=RPC_URL,…]")]
    pub networks: Vec<String>,
    /// `local`, or the URL of a facilitator.
    #[arg(long, value_name = "local|URL")]
    pub facilitator: Option<String>,
    /// Key that the facilitator asks for (file with mode 0600).
    #[arg(long, value_name = "FILE")]
    pub facilitator_key_file: Option<PathBuf>,
    /// Key that pays for gas, with a local facilitator (file with mode 0600, or one in AWS or Google
    /// Cloud KMS where this program is built with it); may be repeated.
    #[arg(long = "signer-key-file", value_name = "FILE|aws-kms:KEY|gcp-kms:KEY")]
    pub signer_key_files: Vec<PathBuf>,
    /// An asset beside the built-in ones; may be repeated.
    #[arg(
        long = "add-asset",
        value_name = "SYMBOL=CONTRACT,DECIMALS,NETWORK[,NAME,VERSION[,METHOD…]]"
    )]
    pub add_assets: Vec<String>,
    /// Key that signs offers and receipts (file with mode 0600) [default: none is signed].
    #[arg(long, value_name = "FILE")]
    pub receipt_key_file: Option<PathBuf>,
    /// Where the record is kept [default: sqlite:~/.tollway/gate.db].
    #[arg(long, value_name = "URL")]
    pub ledger: Option<String>,
    /// Allow plain http to other machines (facilitator, RPC).
    #[arg(long)]
    pub allow_http: bool,
    /// Program whose tools are sold, with its arguments: it speaks MCP on standard input and output.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}
