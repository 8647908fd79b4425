// An AxiomKit agent on Sei: it transfers the dollars by itself and shows the
// hash of the transaction as its proof.
import { strict as assert } from "node:assert";
import { expectMoved } from "../lib/expect.mjs";
import { baselineCase } from "./case.mjs";

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

export const cases = [baselineCase("axiom-agent", buysFromItsOwn, onSei)];
