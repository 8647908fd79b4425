// Payments by Permit2: scheme exact, scheme upto, and both ways in which a
// facilitator pays for the buyer's allowance.
import { strict as assert } from "node:assert";
import { HTTPFacilitatorClient } from "@x402/core/server";
import { expectBalances, expectDelivered, expectMoved, expectPaid, expectReceipt } from "../lib/expect.mjs";
import { outcomeOf } from "../lib/http-text.mjs";
import { price } from "../lib/networks.mjs";
import { keyFile } from "../lib/tollway.mjs";
import { baselineCase, paidPath, tollwayCase } from "./case.mjs";
import { spoiltPermit2 } from "./payments.mjs";

const amountOf = ({ token, domain }) => ({ amount: String(price.atomic), asset: token, extra: domain });

/** The official server and client, with `facilitator` behind them. */
async function bought(test, facilitator, { scheme = "exact", approved = true, sponsoring, due } = {}) {
  const [{ url }, buyer] = await Promise.all([facilitator(test), test.chain.buyer()]);
  if (approved) await test.chain.approvePermit2(buyer);
  const { caip2: network } = test.network;
  const server = await test.server("permit2-express.mjs", {
    facilitator: url,
    network,
    scheme,
    sponsoring,
    due,
    amount: amountOf(test.network),
  });
  const outcome = await test.client("permit2-fetch.mjs", { url: server.url + paidPath, key: buyer.key, rpcUrl: test.chain.url });
  return { outcome, buyer, server };
}

const ours = (test) => test.tollway.facilitator();
const official = (test) => test.officialFacilitator();

/** Ours, with the account that pays for approvals. */
async function helping(test) {
  const helper = await test.chain.signer();
  return test.tollway.facilitator({ flags: ["--helper-key-file", keyFile(test.directory, helper.key), "--max-help-per-day", "0.5"] });
}

const pays = (facilitator, options) => async (test) => {
  const { outcome, buyer, server } = await bought(test, facilitator, options);
  expectDelivered(test, outcome);
  const { transaction, amount } = expectReceipt(test, outcome, { version: 2, buyer });
  const moved = options?.moved ?? price.atomic;
  if (options?.scheme === "upto") assert.equal(amount, String(moved), "the receipt of an upto payment says how much was charged");
  await expectMoved(test, { transaction, buyer, amount: moved });
  assert.equal(server.handled(), 1);
};

/** Nothing is due: the content arrives, and no transaction is made for it. */
const owesNothing = (facilitator) => async (test) => {
  const { outcome, buyer } = await bought(test, facilitator, { scheme: "upto", due: "0" });
  expectDelivered(test, outcome);
  const { transaction, amount } = expectReceipt(test, outcome, { version: 2, buyer });
  assert.deepEqual([transaction, amount], ["", "0"]);
  await expectBalances(test, { buyer, spent: 0n });
};

/** Without an allowance, and without somebody who pays for one, the answer says what is missing. */
const lacksAllowance = (facilitator) => async (test) => {
  const { outcome, buyer, server } = await bought(test, facilitator, { approved: false });
  assert.equal(outcome.status, 412, outcome.body);
  assert.equal(server.handled(), 0);
  await expectBalances(test, { buyer, spent: 0n });
};

/** More than was permitted is not settled, and the content does not arrive. */
const asksTooMuch = (facilitator) => async (test) => {
  const { outcome, buyer } = await bought(test, facilitator, { scheme: "upto", due: String(price.atomic + 1n) });
  assert.equal(outcome.status, 402, outcome.body);
  assert.ok(!outcome.body.includes(test.secret));
  await expectBalances(test, { buyer, spent: 0n });
};

/** Bad payments get the verdicts that the official code gives. */
const verdicts = (facilitator) => async (test) => {
  const [{ url }, buyer, pauper, stranger] = await Promise.all([
    facilitator(test),
    test.chain.buyer(),
    test.chain.buyer(1n),
    test.chain.buyer(),
  ]);
  await Promise.all([buyer, pauper].map((each) => test.chain.approvePermit2(each)));
  const client = new HTTPFacilitatorClient({ url });
  const { kinds } = await client.getSupported();
  const { facilitatorAddress } = kinds.find(({ scheme }) => scheme === "upto").extra;
  for (const [what, payload, terms, code] of await spoiltPermit2(test, { buyer, pauper, stranger, facilitatorAddress })) {
    const { isValid, invalidReason } = await verdictOf(client, payload, terms);
    assert.deepEqual([isValid, invalidReason], [code === undefined, code], what);
  }
};

/** A missing allowance is an error answer of its own, which the official client of a facilitator throws. */
const verdictOf = (client, payload, terms) =>
  client.verify(payload, terms).catch((error) => {
    if (error.invalidReason === undefined) throw error;
    return { isValid: false, invalidReason: error.invalidReason };
  });

/** The official client pays our gate. */
const gatePaid = ({ approved = true } = {}) => async (test) => {
  const [upstream, buyer] = await Promise.all([test.server("upstream.mjs"), test.chain.buyer()]);
  if (approved) await test.chain.approvePermit2(buyer);
  const gate = await test.tollway.gate({ upstream: upstream.url, payTo: test.payTo, terms: "; methods=permit2" });
  const outcome = await test.client("permit2-fetch.mjs", { url: gate.url + paidPath, key: buyer.key, rpcUrl: test.chain.url });
  if (!approved) {
    assert.equal(outcome.status, 412, outcome.body);
    assert.equal(upstream.handled(), 0);
    return expectBalances(test, { buyer, spent: 0n });
  }
  return expectPaid(test, outcome, { version: 2, buyer, server: upstream });
};

/** The official client pays our gate by upto: what the server behind says is due, or what its stream came to. */
const gateMetered = (server, { terms = "", moved }) => async (test) => {
  const [upstream, buyer] = await Promise.all([test.server("upstream.mjs", server), test.chain.buyer()]);
  await test.chain.approvePermit2(buyer);
  const gate = await test.tollway.gate({ upstream: upstream.url, payTo: test.payTo, amount: `up to ${price.text}`, terms });
  const outcome = await test.client("permit2-fetch.mjs", { url: gate.url + paidPath, key: buyer.key, rpcUrl: test.chain.url });
  assert.equal(upstream.handled(), 1);
  if (!server.events) {
    expectDelivered(test, outcome);
    const { transaction, amount } = expectReceipt(test, outcome, { version: 2, buyer });
    assert.equal(amount, String(moved));
    return expectMoved(test, { transaction, buyer, amount: moved });
  }
  assert.equal(outcome.status, 200, outcome.body);
  assert.equal(outcome.body.split(test.secret).length - 1, server.events);
  const told = await settledAt(`${gate.url}/settlements/${outcome.settlement}`);
  assert.deepEqual([told.amount, told.maximum], [String(moved), String(price.atomic)]);
  return expectMoved(test, { transaction: told.transaction, buyer, amount: moved });
};

/** What a stream came to, once it is settled. */
async function settledAt(url) {
  for (let attempt = 0; attempt < 60; attempt += 1) {
    const told = await (await fetch(url)).json();
    if (told.status !== "pending") return told;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  throw new Error(`${url} stays pending`);
}

/** Our payer pays our gate: nobody else's code is between them. */
async function ourOwnPair(test) {
  const [upstream, buyer] = await Promise.all([test.server("upstream.mjs"), test.chain.buyer()]);
  await test.chain.approvePermit2(buyer);
  const gate = await test.tollway.gate({ upstream: upstream.url, payTo: test.payTo, terms: "; methods=permit2" });
  const paid = await test.tollway.pay(gate.url + paidPath, { key: buyer.key, flags: ["-i"] });
  assert.equal(paid.code, 0, `exit ${paid.code}: ${paid.stderr}`);
  await expectPaid(test, outcomeOf(paid), { version: 2, buyer, server: upstream });
}

/** Our payer buys from the official server; the facilitator behind it is the official one or ours. */
const ourPayerPays = (facilitator, { scheme = "exact", approved = true, sponsoring, due, moved = price.atomic, flags = [] } = {}) => async (test) => {
  const [{ url }, buyer] = await Promise.all([facilitator(test), test.chain.buyer()]);
  if (approved) await test.chain.approvePermit2(buyer);
  const options = { facilitator: url, network: test.network.caip2, scheme, sponsoring, due, amount: amountOf(test.network) };
  const server = await test.server("permit2-express.mjs", options);
  const paid = await test.tollway.pay(server.url + paidPath, { key: buyer.key, flags: ["-i", ...flags] });
  assert.equal(paid.code, 0, `exit ${paid.code}: ${paid.stderr}`);
  const outcome = outcomeOf(paid);
  expectDelivered(test, outcome);
  const { transaction } = expectReceipt(test, outcome, { version: 2, buyer });
  await expectMoved(test, { transaction, buyer, amount: moved });
  assert.equal(server.handled(), 1);
};

/** Without an allowance our payer signs nothing, and says what to do. */
async function ourPayerLacksAllowance(test) {
  const [{ url }, buyer] = await Promise.all([official(test), test.chain.buyer()]);
  const options = { facilitator: url, network: test.network.caip2, scheme: "exact", amount: amountOf(test.network) };
  const server = await test.server("permit2-express.mjs", options);
  const refused = await test.tollway.pay(server.url + paidPath, { key: buyer.key });
  assert.equal(refused.code, 4, `exit ${refused.code}: ${refused.stderr}`);
  assert.match(refused.stderr, /permit2_allowance_required/);
  assert.match(refused.stderr, /approve/);
  assert.equal(server.handled(), 0);
  await expectBalances(test, { buyer, spent: 0n });
}

/** /supported names the account that buyers of upto must sign for. */
async function supported(test) {
  const { url, signer } = await test.tollway.facilitator();
  const { kinds } = await new HTTPFacilitatorClient({ url }).getSupported();
  const upto = kinds.filter(({ scheme }) => scheme === "upto");
  assert.deepEqual(upto.map(({ network }) => network), [test.network.caip2]);
  assert.equal(upto[0].extra.facilitatorAddress.toLowerCase(), signer.address.toLowerCase());
}

const everywhere = (name, story, ...options) => [
  baselineCase(name, story(official, ...options)),
  tollwayCase(`facilitator-${name}`, story(ours, ...options)),
];

export const cases = [
  tollwayCase("facilitator-supports-upto", supported),
  ...everywhere("permit2-verdicts", verdicts),
  ...everywhere("permit2-exact", pays),
  tollwayCase("facilitator-permit2-exact-sei", pays(ours), ["sei-testnet"]),
  ...everywhere("permit2-exact-permit-sponsored", pays, { approved: false, sponsoring: "permit" }),
  baselineCase("permit2-exact-approval-sponsored", pays(official, { approved: false, sponsoring: "approval" })),
  tollwayCase("facilitator-permit2-exact-approval-sponsored", pays(helping, { approved: false, sponsoring: "approval" })),
  ...everywhere("permit2-without-allowance-is-412", lacksAllowance),
  ...everywhere("permit2-upto", pays, { scheme: "upto", due: "1234", moved: 1_234n }),
  ...everywhere("permit2-upto-whole", pays, { scheme: "upto" }),
  ...everywhere("permit2-upto-percent", pays, { scheme: "upto", due: "25%", moved: 2_500n }),
  ...everywhere("permit2-upto-permit-sponsored", pays, { scheme: "upto", approved: false, sponsoring: "permit", due: "5000", moved: 5_000n }),
  ...everywhere("permit2-upto-nothing-due", owesNothing),
  ...everywhere("permit2-upto-asks-too-much", asksTooMuch),
  tollwayCase("gate-permit2", gatePaid()),
  tollwayCase("gate-permit2-without-allowance-is-412", gatePaid({ approved: false })),
  tollwayCase("gate-permit2-our-payer", ourOwnPair),
  tollwayCase("gate-upto", gateMetered({ due: "1234" }, { moved: 1_234n })),
  tollwayCase("gate-upto-metered-stream", gateMetered({ events: 3 }, { terms: "; meter=$0.001/event", moved: 3_000n })),
  tollwayCase("payer-permit2-exact", ourPayerPays(official)),
  tollwayCase("payer-permit2-exact-permit-sponsored", ourPayerPays(official, { approved: false, sponsoring: "permit" })),
  tollwayCase("payer-permit2-exact-approval-sponsored", ourPayerPays(official, { approved: false, sponsoring: "approval", flags: ["--approve"] })),
  tollwayCase("payer-permit2-exact-approval-sponsored-our-facilitator", ourPayerPays(helping, { approved: false, sponsoring: "approval", flags: ["--approve"] })),
  tollwayCase("payer-permit2-without-allowance-signs-nothing", ourPayerLacksAllowance),
  tollwayCase("payer-permit2-upto", ourPayerPays(official, { scheme: "upto", due: "1234", moved: 1_234n })),
  tollwayCase("payer-permit2-upto-our-facilitator", ourPayerPays(ours, { scheme: "upto", due: "1234", moved: 1_234n })),
  tollwayCase(
    "payer-permit2-upto-permit-sponsored",
    ourPayerPays(official, { scheme: "upto", approved: false, sponsoring: "permit", due: "50%", moved: 5_000n }),
  ),
];
