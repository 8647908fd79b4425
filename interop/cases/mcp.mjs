// Clients and servers of tools made with the official SDK of the Model Context Protocol.
import { strict as assert } from "node:assert";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "../lib/paths.mjs";
import { keyFile, tollwayBinary } from "../lib/tollway.mjs";
import { expectBalances } from "../lib/expect.mjs";
import { paidPath, tollwayCase } from "./case.mjs";

/** A server made with the SDK, sold by our command; a client made with the SDK buys of it. */
async function soldByOurCommand(test) {
  const buyer = await test.chain.buyer();
  const gate = await test.tollway.mcpGate({
    payTo: test.payTo,
    tools: ["search=$0.01", "hello=free"],
    command: [process.execPath, join(root, "servers", "mcp.mjs")],
    env: { INTEROP: JSON.stringify({ secret: test.secret }) },
  });
  const calls = [
    { name: "hello", args: {} },
    { name: "search", args: { q: "a" } },
    { name: "search", args: { q: "b" }, pays: true },
  ];
  const outcome = await test.client("mcp.mjs", { url: gate.url, key: buyer.key, calls });
  assert.deepEqual(outcome.tools.sort(), ["hello", "search"]);
  const [hello, asked, paid] = outcome.results;
  assert.equal(hello.result.content[0].text, "hello");
  assert.ok(asked.result.isError && asked.asked.resource.url === "mcp://tool/search");
  assert.ok(!JSON.stringify(asked).includes(test.secret), "an unpaid call brought the goods");
  assert.equal(paid.result.content[0].text, `b: ${test.secret}`, JSON.stringify(paid.result));
  assert.equal(paid.result.structuredContent.said, `b: ${test.secret}`);
  assert.equal(paid.result._meta["x402/payment-response"].success, true);
  await expectBalances(test, { buyer, spent: 10_000n });
}

/** A client made with the SDK starts `tollway mcp`, lists its tools, and buys. */
async function ourToolsPay(test) {
  const [upstream, buyer] = await Promise.all([test.server("upstream.mjs"), test.chain.buyer()]);
  const gate = await test.tollway.gate({ upstream: upstream.url, payTo: test.payTo });
  const policy = join(test.directory, "robot.toml");
  writeFileSync(policy, 'hosts = ["127.0.0.1"]\n[limits]\ntotal = "0.01"\n', { mode: 0o600 });
  const home = join(test.directory, "home");
  const args = ["mcp", "--policy", policy, "--key-file", keyFile(test.directory, buyer.key)];
  args.push("--ledger", `sqlite:${join(test.directory, "mcp.db")}`, ...test.tollway.networkFlags);
  const url = gate.url + paidPath;
  const calls = [
    { name: "look_at_price", args: { url } },
    { name: "pay_and_fetch", args: { url } },
    { name: "pay_and_fetch", args: { url, purchase: "again" } },
    { name: "budget", args: {} },
    { name: "history", args: {} },
  ];
  const env = { TOLLWAY_HOME: home, PATH: process.env.PATH };
  const outcome = await test.client("mcp.mjs", { command: tollwayBinary(), args, env, key: buyer.key, calls });
  assert.deepEqual(outcome.tools.sort(), ["budget", "history", "look_at_price", "pay_and_fetch"]);
  const said = outcome.results.map(({ result }) => result.structuredContent);
  assert.equal(said[1].outcome, "paid", JSON.stringify(said[1]));
  assert.ok(said[1].from_server.body.includes(test.secret));
  assert.equal(said[2].code, "budget_exceeded", JSON.stringify(said[2]));
  assert.ok(!JSON.stringify(outcome).includes(buyer.key.slice(2)), "a key was told");
  await expectBalances(test, { buyer, spent: 10_000n });
}

export const cases = [
  tollwayCase("mcp-official-sdk-server-sold-by-our-command", soldByOurCommand),
  tollwayCase("mcp-official-sdk-client-pays-by-our-tools", ourToolsPay),
];
