// Who paid comes back by signing in: the published extension at our gate, and our payer at the official server.
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { expectBalances } from "../lib/expect.mjs";
import { paidPath, tollwayCase } from "./case.mjs";

async function officialClientReturns(test) {
  const [upstream, buyer] = await Promise.all([test.server("upstream.mjs"), test.chain.buyer()]);
  const gate = await test.tollway.gate({ upstream: upstream.url, payTo: test.payTo, terms: "; returning=1h" });
  const outcome = await test.client("returning.mjs", { url: gate.url + paidPath, key: buyer.key });
  assert.equal(outcome.early.status, 402, "signing in opened what was not paid for");
  assert.ok(!outcome.early.body.includes(test.secret));
  assert.equal(outcome.paid.status, 200, outcome.paid.body);
  for (const again of outcome.again) {
    assert.equal(again.status, 200, again.body);
    assert.ok(again.body.includes(test.secret) && !again.receipt);
  }
  await expectBalances(test, { buyer, spent: 10_000n });
}

async function ourPayerReturns(test) {
  const [{ url: facilitator }, buyer] = await Promise.all([test.tollway.facilitator(), test.chain.buyer()]);
  const server = await test.server("returning-express.mjs", { facilitator, network: test.network.caip2 });
  const ledger = ["--ledger", `sqlite:${join(test.directory, "returning.db")}`];
  const pay = () => test.tollway.pay(server.url + paidPath, { key: buyer.key, ledger });
  const first = await pay();
  assert.equal(first.code, 0, first.stderr);
  const again = await pay();
  assert.equal(again.code, 3, again.stderr);
  assert.ok(again.stderr.includes("signed in as"), again.stderr);
  assert.deepEqual(JSON.parse(again.stdout), { secret: test.secret });
  await expectBalances(test, { buyer, spent: 10_000n });
}

export const cases = [
  tollwayCase("returning-official-client-at-our-gate", officialClientReturns),
  tollwayCase("returning-our-payer-at-official-server", ourPayerReturns),
];
