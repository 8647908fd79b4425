// Our payer against official servers.
import { strict as assert } from "node:assert";
import { expectBalances, expectPaid } from "../lib/expect.mjs";
import { outcomeOf } from "../lib/http-text.mjs";
import { bothNetworks, paidPath, tollwayCase } from "./case.mjs";

async function started(test, version, serverName, { official, flow } = {}) {
  const facilitator = official ? test.officialFacilitator() : test.tollway.facilitator();
  const [{ url }, buyer] = await Promise.all([facilitator, test.chain.buyer()]);
  const network = version === 1 ? test.network.name : test.network.caip2;
  const server = await test.server(serverName, { facilitator: url, network, flow });
  return { server, buyer };
}

const pays = (version, serverName, options) => async (test) => {
  const { server, buyer } = await started(test, version, serverName, options);
  const paid = await test.tollway.pay(server.url + paidPath, { key: buyer.key, flags: ["-i"] });
  assert.equal(paid.code, 0, `exit ${paid.code}: ${paid.stderr}`);
  await expectPaid(test, outcomeOf(paid), { version, buyer, server });
  assert.ok(paid.stderr.includes(outcomeOf(paid).receipt.transaction), "the story on stderr does not name the transaction");
};

/** Without -i, stdout is the body and nothing else. */
async function bodyOnStdout(test) {
  const { server, buyer } = await started(test, 2, "express-v2.mjs");
  const paid = await test.tollway.pay(server.url + paidPath, { key: buyer.key });
  assert.equal(paid.code, 0, paid.stderr);
  assert.deepEqual(JSON.parse(paid.stdout), { secret: test.secret });
}

async function overTheLimit(test) {
  const { server, buyer } = await started(test, 2, "express-v2.mjs");
  const refused = await test.tollway.pay(server.url + paidPath, { key: buyer.key, max: "0.009" });
  assert.notEqual(refused.code, 0);
  assert.ok(!refused.stdout.includes(test.secret));
  assert.equal(server.handled(), 0);
  await expectBalances(test, { buyer, spent: 0n });
}

export const cases = [
  tollwayCase("payer-v2-express", pays(2, "express-v2.mjs"), bothNetworks),
  tollwayCase("payer-v2-express-upfront", pays(2, "express-v2.mjs", { flow: "upfront" })),
  tollwayCase("payer-v2-hono", pays(2, "hono-v2.mjs")),
  tollwayCase("payer-v2-express-official-facilitator", pays(2, "express-v2.mjs", { official: true })),
  tollwayCase("payer-v1-express", pays(1, "express-v1.mjs"), bothNetworks),
  tollwayCase("payer-v1-hono", pays(1, "hono-v1.mjs"), bothNetworks),
  tollwayCase("payer-v1-express-official-facilitator", pays(1, "express-v1.mjs", { official: true })),
  tollwayCase("payer-body-on-stdout", bodyOnStdout),
  tollwayCase("payer-over-the-limit-signs-nothing", overTheLimit),
];
