// Official clients inside a browser, on a page of another origin than ours.
// Nothing works there unless preflights and exposed headers are right.
import { strict as assert } from "node:assert";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { browserBinary } from "../lib/browser.mjs";
import { expectBalances, expectPaid } from "../lib/expect.mjs";
import { decodeHeader } from "../lib/http-text.mjs";
import { price } from "../lib/networks.mjs";
import { baselineCase, paidPath, tollwayCase } from "./case.mjs";

async function gated(test, { funds, ...gateOptions } = {}) {
  const [upstream, buyer] = await Promise.all([test.server("upstream.mjs"), test.chain.buyer(funds)]);
  const gate = await test.tollway.gate({ upstream: upstream.url, payTo: test.payTo, ...gateOptions });
  return { server: upstream, buyer, url: gate.url + paidPath };
}

async function officialServer(test) {
  const [facilitator, buyer] = await Promise.all([test.officialFacilitator(), test.chain.buyer()]);
  const server = await test.server("express-v2.mjs", { facilitator: facilitator.url, network: test.network.caip2, cors: true });
  return { server, buyer, url: server.url + paidPath };
}

/** What the page read, exchange by exchange, and the preflights behind its back. */
function visit(test, page, { url, buyer, request }) {
  const directory = join(test.directory, `browser-${page}`);
  mkdirSync(directory, { recursive: true });
  const shopping = { page, url, request, key: buyer.key, network: test.network.name };
  return test.client("browser.mjs", { ...shopping, directory, browser: browserBinary() });
}

function outcomeOf({ status, headers, body }) {
  const receiptHeader = ["payment-response", "x-payment-response"].find((name) => headers[name]) ?? null;
  return { status, body, receiptHeader, receipt: receiptHeader && decodeHeader(headers[receiptHeader]) };
}

/** The page saw the terms: in the header that v2 reads, and in the body that v1 reads. */
function expectTerms(test, { status, headers, body }, version) {
  assert.equal(status, 402);
  assert.ok(!body.includes(test.secret), "an unpaid request got the paid content");
  const required = headers["payment-required"];
  assert.ok(required || version === 1, "the page cannot read PAYMENT-REQUIRED");
  const [offer] = version === 1 ? JSON.parse(body).accepts : decodeHeader(required).accepts;
  assert.equal(offer.payTo.toLowerCase(), test.payTo.toLowerCase());
  assert.equal(offer.amount ?? offer.maxAmountRequired, String(price.atomic));
}

function expectPreflight({ preflights }) {
  assert.ok(preflights.length > 0, "the browser asked no permission: the origins are not different ones");
  for (const status of preflights) assert.ok(status >= 200 && status < 300, `a preflight got ${status}`);
}

const pays = (version, page, started, request) => async (test) => {
  const { server, buyer, url } = await started(test);
  const visited = await visit(test, page, { url, buyer, request });
  const [first, second, ...more] = visited.exchanges;
  assert.equal(more.length, 0, "the page asked more than twice");
  expectTerms(test, first, version);
  expectPreflight(visited);
  await expectPaid(test, outcomeOf(second), { version, buyer, server });
};

/** A page without any payment code sees the refusal and its terms, not a network error. */
async function plain(test) {
  const { server, buyer, url } = await gated(test);
  const visited = await visit(test, "plain", { url, buyer });
  assert.equal(visited.exchanges.length, 1);
  expectTerms(test, visited.exchanges[0], 2);
  assert.deepEqual(visited.preflights, [], "a plain request needs no preflight");
  assert.equal(server.handled(), 0);
}

/** A page whose payment is refused can read why. */
async function refused(test) {
  const { server, buyer, url } = await gated(test, { funds: price.atomic - 1n });
  const { exchanges } = await visit(test, "fetch-v2", { url, buyer });
  assert.deepEqual(exchanges.map(({ status }) => status), [402, 402]);
  assert.equal(decodeHeader(exchanges[1].headers["payment-required"]).error, "invalid_exact_evm_insufficient_balance");
  assert.equal(server.handled(), 0);
  await expectBalances(test, { buyer, spent: 0n });
}

/** A request that the browser must ask about even before it knows the price. */
const posted = { method: "POST", headers: { "content-type": "application/json" }, body: '{"question":"?"}' };

const inBrowser = (each) => ({ ...each, browser: true });

export const cases = [
  baselineCase("browser-v2-fetch-express", pays(2, "fetch-v2", officialServer)),
  tollwayCase("browser-plain", plain),
  tollwayCase("browser-v2-fetch", pays(2, "fetch-v2", gated)),
  tollwayCase("browser-v2-fetch-before", pays(2, "fetch-v2", (test) => gated(test, { settle: "before" }))),
  tollwayCase("browser-v2-fetch-post", pays(2, "fetch-v2", (test) => gated(test, { route: "POST /paid/*" }), posted)),
  tollwayCase("browser-v2-fetch-refused", refused),
  tollwayCase("browser-v1-fetch", pays(1, "fetch-v1", gated)),
].map(inBrowser);
