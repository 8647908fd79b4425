// Official clients against our gate.
import { strict as assert } from "node:assert";
import { expectBalances, expectPaid, expectUnpaidRefused } from "../lib/expect.mjs";
import { decodeHeader } from "../lib/http-text.mjs";
import { bothNetworks, paidPath, tollwayCase } from "./case.mjs";

async function started(test, { funds, gate: gateOptions, upstream: upstreamOptions } = {}) {
  const [upstream, buyer] = await Promise.all([test.server("upstream.mjs", upstreamOptions), test.chain.buyer(funds)]);
  const gate = await test.tollway.gate({ upstream: upstream.url, payTo: test.payTo, ...gateOptions });
  return { upstream, buyer, url: gate.url + paidPath };
}

const pays = (version, clientName, { settle, officialFacilitator, ...clientOptions } = {}) => async (test) => {
  const facilitator = officialFacilitator ? (await test.officialFacilitator()).url : undefined;
  const { upstream, buyer, url } = await started(test, { gate: { settle, facilitator } });
  const { response } = await expectUnpaidRefused(test, url);
  assert.match(response.headers.get("cache-control") ?? "", /no-store/, "a 402 must not be stored");
  const outcome = await test.client(clientName, { url, key: buyer.key, network: test.network.name, ...clientOptions });
  await expectPaid(test, outcome, { version, buyer, server: upstream });
  assert.match(outcome.cacheControl ?? "", /private|no-store/, "a paid answer must not be shared");
};

async function failingUpstream(test) {
  const { buyer, url } = await started(test, { upstream: { status: 500 } });
  const outcome = await test.client("fetch-v2.mjs", { url, key: buyer.key });
  assert.equal(outcome.status, 500);
  await expectBalances(test, { buyer, spent: 0n });
}

async function poorBuyer(test) {
  const { upstream, buyer, url } = await started(test, { funds: 9_999n });
  const outcome = await test.client("fetch-v2.mjs", { url, key: buyer.key });
  assert.equal(outcome.status, 402, outcome.body);
  assert.ok(!outcome.body.includes(test.secret));
  assert.equal(upstream.handled(), 0, "the upstream was asked for a buyer who cannot pay");
  await expectBalances(test, { buyer, spent: 0n });
}

/** One authorization, shown twice: the second showing yields no content and moves no money. */
async function replay(test) {
  const { upstream, buyer, url } = await started(test);
  const { response } = await expectUnpaidRefused(test, url);
  const required = decodeHeader(response.headers.get("payment-required"));
  const { headers } = await test.client("sign-v2.mjs", { key: buyer.key, required });
  const first = await fetch(url, { headers });
  assert.equal(first.status, 200);
  assert.ok((await first.text()).includes(test.secret));
  const second = await fetch(url, { headers });
  assert.equal(second.status, 402);
  assert.ok(!(await second.text()).includes(test.secret), "a used authorization bought the content again");
  const refusal = decodeHeader(second.headers.get("payment-response") ?? assert.fail("the refusal has no PAYMENT-RESPONSE"));
  assert.equal(refusal.errorReason, "duplicate_settlement");
  assert.equal(refusal.transaction, decodeHeader(first.headers.get("payment-response")).transaction);
  assert.equal(upstream.handled(), 1);
  await expectBalances(test, { buyer, spent: 10_000n });
}

export const cases = [
  tollwayCase("gate-v2-fetch", pays(2, "fetch-v2.mjs"), bothNetworks),
  tollwayCase("gate-v2-fetch-before", pays(2, "fetch-v2.mjs", { settle: "before" })),
  tollwayCase("gate-v2-axios", pays(2, "axios-v2.mjs")),
  tollwayCase("gate-v2-axios-before", pays(2, "axios-v2.mjs", { settle: "before" })),
  tollwayCase("gate-v1-fetch", pays(1, "fetch-v1.mjs"), bothNetworks),
  tollwayCase("gate-v1-fetch-before", pays(1, "fetch-v1.mjs", { settle: "before" })),
  tollwayCase("gate-v1-axios", pays(1, "axios-v1.mjs"), bothNetworks),
  tollwayCase("gate-python-httpx", pays(2, "python-v2.py", { library: "httpx" })),
  tollwayCase("gate-python-requests", pays(2, "python-v2.py", { library: "requests" })),
  tollwayCase("gate-official-facilitator-v2", pays(2, "fetch-v2.mjs", { officialFacilitator: true }), bothNetworks),
  tollwayCase("gate-official-facilitator-v2-before", pays(2, "fetch-v2.mjs", { officialFacilitator: true, settle: "before" })),
  tollwayCase("gate-official-facilitator-v1", pays(1, "fetch-v1.mjs", { officialFacilitator: true })),
  tollwayCase("gate-failing-upstream-charges-nothing", failingUpstream),
  tollwayCase("gate-poor-buyer-is-refused", poorBuyer),
  tollwayCase("gate-used-authorization-buys-nothing", replay),
];
