// Official clients and servers with our facilitator behind them.
import { strict as assert } from "node:assert";
import { HTTPFacilitatorClient } from "@x402/core/server";
import { expectBalances, expectMoved, expectPaid } from "../lib/expect.mjs";
import { price } from "../lib/networks.mjs";
import { baselineCase, bothNetworks, paidPath, tollwayCase } from "./case.mjs";
import { requirements, signed, spoilt } from "./payments.mjs";

const serves = (version, serverName, clientName, serverOptions = {}) => async (test) => {
  const [facilitator, buyer] = await Promise.all([test.tollway.facilitator(), test.chain.buyer()]);
  const network = version === 1 ? test.network.name : test.network.caip2;
  const server = await test.server(serverName, { facilitator: facilitator.url, network, ...serverOptions });
  const outcome = await test.client(clientName, { url: server.url + paidPath, key: buyer.key, network: test.network.name });
  await expectPaid(test, outcome, { version, buyer, server });
};

/** /supported names exactly what the official servers look for at their start. */
async function supported(test) {
  const { url, signer } = await test.tollway.facilitator();
  const { kinds, signers } = await new HTTPFacilitatorClient({ url }).getSupported();
  const exact = kinds.filter(({ scheme }) => scheme === "exact").map(({ x402Version, network }) => `${x402Version} ${network}`);
  assert.deepEqual(exact.sort(), [`1 ${test.network.name}`, `2 ${test.network.caip2}`]);
  assert.deepEqual(signers["eip155:*"]?.map((each) => each.toLowerCase()), [signer.address.toLowerCase()]);
}

/** verify commits nothing, settle moves the money once, and a second settle names the first transaction. */
async function verifyThenSettle(test) {
  const [{ url }, buyer] = await Promise.all([test.tollway.facilitator(), test.chain.buyer()]);
  const client = new HTTPFacilitatorClient({ url });
  const terms = requirements(test, 2);
  const payload = await signed(2, buyer.key, terms);
  for (let round = 0; round < 2; round += 1) {
    const verified = await client.verify(payload, terms);
    assert.equal(verified.isValid, true, JSON.stringify(verified));
    assert.equal(verified.payer.toLowerCase(), buyer.address.toLowerCase());
  }
  await expectBalances(test, { buyer, spent: 0n });
  const settled = await client.settle(payload, terms);
  assert.equal(settled.success, true, JSON.stringify(settled));
  assert.equal(settled.network, test.network.caip2);
  await expectMoved(test, { transaction: settled.transaction, buyer });
  const again = await client.settle(payload, terms);
  assert.deepEqual([again.success, again.errorReason, again.transaction], [false, "duplicate_settlement", settled.transaction]);
  await expectBalances(test, { buyer, spent: price.atomic });
}

const verdict = ({ isValid, invalidReason }) => [isValid, invalidReason];

/** The official code gives the verdicts that the list of spoilt payments names. */
const officialVerdicts = (version) => async (test) => {
  const [{ url }, buyer, pauper] = await Promise.all([test.officialFacilitator(), test.chain.buyer(), test.chain.buyer(1n)]);
  await expectVerdicts(url, await spoilt(test, version, buyer, pauper));
};

/** Bad payments get the verdicts of the official code from ours; so does one that somebody else has already settled. */
const ourVerdicts = (version) => async (test) => {
  const [ours, official, buyer, pauper] = await Promise.all([
    test.tollway.facilitator(),
    test.officialFacilitator(),
    test.chain.buyer(),
    test.chain.buyer(1n),
  ]);
  await expectVerdicts(ours.url, await spoilt(test, version, buyer, pauper));
  const terms = requirements(test, version);
  const payload = await signed(version, buyer.key, terms);
  const [mine, theirs] = [ours, official].map(({ url }) => new HTTPFacilitatorClient({ url }));
  assert.deepEqual(verdict(await mine.verify(payload, terms)), [true, undefined]);
  assert.equal((await theirs.settle(payload, terms)).success, true);
  assert.deepEqual(verdict(await mine.verify(payload, terms)), verdict(await theirs.verify(payload, terms)), "already settled");
};

async function expectVerdicts(url, payments) {
  const client = new HTTPFacilitatorClient({ url });
  for (const [what, payload, terms, code] of payments) {
    assert.deepEqual(verdict(await client.verify(payload, terms)), [false, code], what);
  }
}

export const cases = [
  tollwayCase("facilitator-v2-express", serves(2, "express-v2.mjs", "fetch-v2.mjs"), bothNetworks),
  tollwayCase("facilitator-v2-express-upfront", serves(2, "express-v2.mjs", "fetch-v2.mjs", { flow: "upfront" })),
  tollwayCase("facilitator-v2-hono", serves(2, "hono-v2.mjs", "axios-v2.mjs")),
  tollwayCase("facilitator-v1-express", serves(1, "express-v1.mjs", "fetch-v1.mjs"), bothNetworks),
  tollwayCase("facilitator-v1-hono", serves(1, "hono-v1.mjs", "axios-v1.mjs"), bothNetworks),
  tollwayCase("facilitator-supported", supported, bothNetworks),
  tollwayCase("facilitator-verify-then-settle", verifyThenSettle),
  baselineCase("verdicts-v2", officialVerdicts(2)),
  baselineCase("verdicts-v1", officialVerdicts(1)),
  tollwayCase("facilitator-verdicts-v2", ourVerdicts(2)),
  tollwayCase("facilitator-verdicts-v1", ourVerdicts(1)),
];
