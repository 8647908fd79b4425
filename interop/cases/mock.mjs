// x402-mock: a permit in the body of POST /token buys an access token, and the
// server settles behind the buyer's back. 0.3.0 pays by EIP-3009 or by Permit2
// without a witness, 0.1.1 by EIP-2612.
import { strict as assert } from "node:assert";
import { setTimeout as sleep } from "node:timers/promises";
import { expectBalances, expectDelivered, expectMoved } from "../lib/expect.mjs";
import { price } from "../lib/networks.mjs";
import { baselineCase, paidPath, tollwayCase } from "./case.mjs";

/** What one side of x402-mock is told about a way to pay; a buyer's amount is its maximum. */
export function component(test, { amount, currency = "USDC" }) {
  const { caip2, token, domain } = test.network;
  return {
    amount,
    currency,
    caip2,
    token,
    rpc_url: test.chain.url,
    token_name: domain.name,
    token_version: domain.version,
    token_decimals: 6,
  };
}

/** Its server, whose own account is paid and pays the gas. */
async function mockServer(test, version, currency) {
  const signer = await test.chain.signer();
  test.payTo = signer.address;
  const options = { venv: `x402-mock-${version}`, key: signer.key, component: component(test, { amount: 0.01, currency }) };
  const server = await test.server("mock.py", options);
  const hash = (line) => line.match(/^settled (?:0x)?([0-9a-f]{64})$/)?.[1];
  return { ...server, settled: (withinMs) => server.process.waitForLine(hash, withinMs) };
}

/** Its client, once per `times`; resolves to the outcome of each request. */
export function mockClient(test, version, { url, key, currency, times }) {
  const options = { venv: `x402-mock-${version}`, url, key, times, component: component(test, { amount: 0.02, currency }) };
  return test.client("mock.py", options);
}

/** Its client leaves out leading zeros of a signature: about one payment in eight is delivered and never settles. */
const PAYMENTS = 8;

const buys = (currency) => async (test) => {
  const [server, buyer] = await Promise.all([mockServer(test, "0.3.0", currency), test.chain.buyer()]);
  // A buyer by Permit2 sends the approval by itself.
  await test.chain.fuel(buyer.address);
  let transaction;
  for (let payment = 0; payment < PAYMENTS && !transaction; payment += 1) {
    const [outcome] = await mockClient(test, "0.3.0", { url: server.url + paidPath, key: buyer.key, currency });
    expectDelivered(test, outcome);
    transaction = await server.settled(10_000).catch(() => undefined);
  }
  assert.ok(transaction, `none of ${PAYMENTS} payments settled`);
  await expectMoved(test, { transaction: `0x${transaction}`, buyer });
};

/** 0.1.1 says that it settled, and all it did was to take the permit: the reason why its flow needs our settler. */
async function settlesNothing(test) {
  const [server, buyer] = await Promise.all([mockServer(test, "0.1.1"), test.chain.buyer()]);
  const [outcome] = await mockClient(test, "0.1.1", { url: server.url + paidPath, key: buyer.key });
  expectDelivered(test, outcome);
  await server.settled();
  await expectBalances(test, { buyer, spent: 0n });
}

/** The published client buys a token at our gate's door; behind it the money moves, once. */
const buysFromOurGate = (version, methods) => async (test) => {
  const [upstream, buyer] = await Promise.all([test.server("upstream.mjs"), test.chain.buyer()]);
  const terms = `; pass=1h; methods=${methods}`;
  const gate = await test.tollway.gate({ upstream: upstream.url, payTo: test.payTo, terms });
  const [outcome] = await mockClient(test, version, { url: gate.url + paidPath, key: buyer.key });
  expectDelivered(test, outcome);
  assert.equal(upstream.handled(), 1);
  await settled(test);
  await expectBalances(test, { buyer, spent: price.atomic });
};

/** A permit that is worth nothing ends the exchange: the published client takes each 402 as a bill and would sign for ever. */
async function poorBuyer(test) {
  const [upstream, buyer] = await Promise.all([test.server("upstream.mjs"), test.chain.buyer(9_999n)]);
  const terms = "; pass=1h; methods=eip3009";
  const gate = await test.tollway.gate({ upstream: upstream.url, payTo: test.payTo, terms });
  await assert.rejects(mockClient(test, "0.3.0", { url: gate.url + paidPath, key: buyer.key }), /ended with 1/);
  assert.equal(upstream.handled(), 0);
  await expectBalances(test, { buyer, spent: 0n });
}

/** Waits for the payee's money, which comes after the goods. */
async function settled(test) {
  for (let second = 0; second < 30; second += 1) {
    if ((await test.chain.balance(test.payTo)) > 0n) return;
    await sleep(1_000);
  }
  assert.fail("the payment was not settled within 30 s");
}

/** Our payer buys a token from its server and the content with the token. */
async function ourPayerBuys(test) {
  const [server, buyer] = await Promise.all([mockServer(test, "0.3.0"), test.chain.buyer()]);
  const paid = await test.tollway.pay(server.url + paidPath, { key: buyer.key });
  assert.equal(paid.code, 0, `exit ${paid.code}: ${paid.stderr}`);
  assert.deepEqual(JSON.parse(paid.stdout), { secret: test.secret });
  await expectMoved(test, { transaction: `0x${await server.settled()}`, buyer });
}

const onSepolia = ["sepolia"];

export const cases = [
  baselineCase("mock-0.3.0-eip3009", buys("USDC"), onSepolia),
  baselineCase("mock-0.3.0-permit2", buys("USD"), onSepolia),
  baselineCase("mock-0.1.1-settles-nothing", settlesNothing, onSepolia),
  tollwayCase("gate-mock-0.3.0-eip3009", buysFromOurGate("0.3.0", "eip3009"), onSepolia),
  tollwayCase("gate-mock-0.1.1-eip2612", buysFromOurGate("0.1.1", "eip2612"), onSepolia),
  tollwayCase("gate-mock-0.3.0-of-several", buysFromOurGate("0.3.0", "eip2612,permit2,eip3009"), onSepolia),
  tollwayCase("gate-mock-0.1.1-of-several", buysFromOurGate("0.1.1", "eip3009,permit2,eip2612"), onSepolia),
  tollwayCase("payer-mock-0.3.0", ourPayerBuys, onSepolia),
  tollwayCase("gate-mock-poor-buyer-is-refused", poorBuyer, onSepolia),
];
