// x402-mock: a permit in the body of POST /token buys an access token, and the
// server settles behind the buyer's back. 0.3.0 pays by EIP-3009 or by Permit2
// without a witness, 0.1.1 by EIP-2612.
import { expectBalances, expectDelivered, expectMoved } from "../lib/expect.mjs";
import { baselineCase, paidPath } from "./case.mjs";

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
  return { ...server, settled: () => server.process.waitForLine((line) => line.match(/^settled (?:0x)?([0-9a-f]{64})$/)?.[1]) };
}

/** Its client, once per `times`; resolves to the outcome of each request. */
export function mockClient(test, version, { url, key, currency, times }) {
  const options = { venv: `x402-mock-${version}`, url, key, times, component: component(test, { amount: 0.02, currency }) };
  return test.client("mock.py", options);
}

const buys = (currency) => async (test) => {
  const [server, buyer] = await Promise.all([mockServer(test, "0.3.0", currency), test.chain.buyer()]);
  // A buyer by Permit2 sends the approval by itself.
  await test.chain.fuel(buyer.address);
  const [outcome] = await mockClient(test, "0.3.0", { url: server.url + paidPath, key: buyer.key, currency });
  expectDelivered(test, outcome);
  await expectMoved(test, { transaction: `0x${await server.settled()}`, buyer });
};

/** 0.1.1 says that it settled, and all it did was to take the permit: the reason why its flow needs our settler. */
async function settlesNothing(test) {
  const [server, buyer] = await Promise.all([mockServer(test, "0.1.1"), test.chain.buyer()]);
  const [outcome] = await mockClient(test, "0.1.1", { url: server.url + paidPath, key: buyer.key });
  expectDelivered(test, outcome);
  await server.settled();
  await expectBalances(test, { buyer, spent: 0n });
}

const onSepolia = ["sepolia"];

export const cases = [
  baselineCase("mock-0.3.0-eip3009", buys("USDC"), onSepolia),
  baselineCase("mock-0.3.0-permit2", buys("USD"), onSepolia),
  baselineCase("mock-0.1.1-settles-nothing", settlesNothing, onSepolia),
];
