// A client of tools made with the official SDK. Over HTTP it pays by the official x402 client; a program that it
// starts is asked for its tools, and called.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { x402Client } from "@x402/core/client";
import { registerExactEvmScheme } from "@x402/evm/exact/client";
import { account, options } from "./common.mjs";

const client = new Client({ name: "interop", version: "1.0.0" });
const transport = options.url
  ? new StreamableHTTPClientTransport(new URL(options.url))
  : new StdioClientTransport({ command: options.command, args: options.args, env: options.env, stderr: "inherit" });
await client.connect(transport);
const { tools } = await client.listTools();
const outcome = { tools: tools.map(({ name }) => name), results: [] };
for (const { name, args, pays } of options.calls) {
  let result = await client.callTool({ name, arguments: args });
  const asked = result.structuredContent;
  if (pays && result.isError && asked?.accepts) {
    const payer = new x402Client();
    registerExactEvmScheme(payer, { signer: account });
    const payment = await payer.createPaymentPayload(asked);
    result = await client.callTool({ name, arguments: args, _meta: { "x402/payment": payment } });
  }
  outcome.results.push({ asked, result });
}
await client.close();
process.stdout.write(`${JSON.stringify(outcome)}\n`);
