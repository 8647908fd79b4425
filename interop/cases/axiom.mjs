// An AxiomKit agent on Sei: it transfers the dollars by itself and shows the
// hash of the transaction as its proof.
import { strict as assert } from "node:assert";
import { expectBalances, expectMoved, expectPaid, expectUnpaidRefused } from "../lib/expect.mjs";
import { outcomeOf } from "../lib/http-text.mjs";
import { baselineCase, bothNetworks, paidPath, tollwayCase } from "./case.mjs";

const WEATHER = "/api/weather";
/** What the weather costs: a tenth of a cent. */
const WEATHER_PRICE = 1_000n;
const onSei = ["sei-testnet"];

/** A buyer that pays its own gas. */
async function agentBuyer(test) {
  const buyer = await test.chain.buyer();
  await test.chain.fuel(buyer.address);
  return buyer;
}

/** The agent buys from a route of the demo's shape. */
async function buysFromItsOwn(test) {
  const { name: network, token: asset } = test.network;
  const options = { rpcUrl: test.chain.url, network, asset, amount: String(WEATHER_PRICE) };
  const [server, buyer] = await Promise.all([test.server("axiom-weather.mjs", options), agentBuyer(test)]);
  const { exchanges, result } = await test.axiomAgent({ url: server.url + WEATHER, key: buyer.key, rpcUrl: test.chain.url });
  assert.deepEqual(exchanges.map(({ status }) => status), [402, 200], JSON.stringify(exchanges));
  assert.equal(JSON.parse(exchanges[1].body).secret, test.secret);
  await expectMoved(test, { transaction: result.txHash, buyer, amount: WEATHER_PRICE });
}

/** Our gate before the demo's service. The operator must ask for the demo's unsigned proofs by name. */
async function weatherShop(test) {
  const weather = await test.weather();
  const gate = await test.tollway.gate({
    upstream: weather.url,
    payTo: test.payTo,
    route: `GET ${WEATHER}`,
    amount: "$0.001",
    terms: "; methods=unsigned-txid",
  });
  return { weather, url: gate.url + WEATHER };
}

/** The agent buys from our gate as it does from its own server, and what it paid with buys nothing more. */
async function buysFromOurGate(test) {
  const [{ weather, url }, buyer] = await Promise.all([weatherShop(test), agentBuyer(test)]);
  await expectUnpaidRefused(test, url);
  const { exchanges, result } = await test.axiomAgent({ url, key: buyer.key, rpcUrl: test.chain.url, times: 2 });
  assert.deepEqual(exchanges.map(({ status }) => status), [402, 200, 402], JSON.stringify(exchanges));
  assert.equal(JSON.parse(exchanges[1].body).location, "Sei Network");
  assert.ok(exchanges[1].receiptHeader, "our gate says what became of the payment, as its own server does not");
  assert.equal(JSON.parse(exchanges[2].body).error, "duplicate_settlement");
  await expectMoved(test, { transaction: result.txHash, buyer, amount: WEATHER_PRICE });
  assert.equal(weather.told(), 1);
}

/** A hash that is used up, another's transaction in one's own name, a transaction that pays nobody here. */
async function tricksOurGate(test) {
  const [{ weather, url }, buyer, thief] = await Promise.all([weatherShop(test), agentBuyer(test), agentBuyer(test)]);
  const options = { url, rpcUrl: test.chain.url };
  const { result } = await test.axiomAgent({ ...options, key: buyer.key });
  assert.equal(result.status, 200);
  const approval = await test.chain.approvePermit2(thief);
  for (const [shown, claim] of [
    [result.txHash, buyer.address],
    [result.txHash, thief.address],
    [approval, thief.address],
  ]) {
    const { exchanges } = await test.axiomAgent({ ...options, key: thief.key, shown, claim });
    assert.deepEqual(exchanges.map(({ status }) => status), [402, 402], JSON.stringify(exchanges));
  }
  assert.equal(weather.told(), 1);
  await expectBalances(test, { buyer, spent: WEATHER_PRICE });
}

/** Our payer makes the transaction, signs for it and shows it to our gate. */
async function ourOwnPair(test) {
  const [upstream, buyer] = await Promise.all([test.server("upstream.mjs"), agentBuyer(test)]);
  const gate = await test.tollway.gate({ upstream: upstream.url, payTo: test.payTo, terms: "; methods=txid" });
  const paid = await test.tollway.pay(gate.url + paidPath, { key: buyer.key, flags: ["-i"] });
  assert.equal(paid.code, 0, `exit ${paid.code}: ${paid.stderr}`);
  await expectPaid(test, outcomeOf(paid), { version: 2, buyer, server: upstream });
}

export const cases = [
  baselineCase("axiom-agent", buysFromItsOwn, onSei),
  tollwayCase("gate-axiom-agent", buysFromOurGate, onSei),
  tollwayCase("gate-axiom-tricks", tricksOurGate, onSei),
  tollwayCase("gate-txid-our-payer", ourOwnPair, bothNetworks),
];
