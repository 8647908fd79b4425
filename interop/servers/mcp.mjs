// A server of tools made with the official SDK, which knows nothing of payments: on standard input and output.
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js";
import { z } from "zod";

const options = JSON.parse(process.env.INTEROP);
const server = new McpServer({ name: "shop", version: "1.0.0" });
server.registerTool(
  "search",
  { description: "Searches", inputSchema: { q: z.string() }, outputSchema: { said: z.string() } },
  ({ q }) => {
    process.stderr.write("handled\n");
    const said = `${q}: ${options.secret}`;
    return { content: [{ type: "text", text: said }], structuredContent: { said } };
  },
);
server.registerTool("hello", { description: "Greets" }, () => ({ content: [{ type: "text", text: "hello" }] }));
await server.connect(new StdioServerTransport());
