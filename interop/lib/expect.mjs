// What "paid and delivered" means, checked against the chain and not against
// what any of the programs says about itself.
import { strict as assert } from "node:assert";
import { price } from "./networks.mjs";

const same = (left, right) => left?.toLowerCase() === right?.toLowerCase();

/** A request without payment gets 402 and nothing that is for sale. */
export async function expectUnpaidRefused(test, url, headers = {}) {
  const response = await fetch(url, { headers });
  const body = await response.text();
  assert.equal(response.status, 402, `an unpaid request got ${response.status}: ${body.slice(0, 200)}`);
  assert.ok(!body.includes(test.secret), "an unpaid request got the paid content");
  return { response, body };
}

/** Exactly one payment of the price moved from the buyer to the payee, in the transaction named by the receipt. */
export async function expectMoved(test, { transaction, buyer, amount = price.atomic }) {
  assert.match(transaction ?? "", /^0x[0-9a-f]{64}$/i, `the receipt names no transaction: ${transaction}`);
  const transfers = await test.chain.transfers(transaction);
  const ours = transfers.filter(({ from }) => same(from, buyer.address));
  assert.equal(ours.length, 1, `the transaction holds ${ours.length} transfers of the buyer`);
  assert.ok(same(ours[0].to, test.payTo), `the money went to ${ours[0].to}`);
  assert.equal(ours[0].value, amount);
  await expectBalances(test, { buyer, spent: amount });
}

export async function expectBalances(test, { buyer, spent }) {
  assert.equal(await test.chain.balance(test.payTo), spent, "the payee's balance");
  assert.equal(await test.chain.balance(buyer.address), buyer.amount - spent, "the buyer's balance");
}

/** The receipt as buyers read it: version decides the header and the spelling of the network. */
export function expectReceipt(test, outcome, { version, buyer }) {
  assert.equal(outcome.receiptHeader, version === 1 ? "x-payment-response" : "payment-response");
  const { receipt } = outcome;
  assert.equal(receipt.success, true, JSON.stringify(receipt));
  assert.equal(receipt.network, version === 1 ? test.network.name : test.network.caip2);
  assert.ok(same(receipt.payer, buyer.address), `the receipt names payer ${receipt.payer}`);
  return receipt;
}

export function expectDelivered(test, outcome) {
  const { status, body, receipt } = outcome;
  assert.equal(status, 200, `status ${status}, body ${String(body).slice(0, 300)}, receipt ${JSON.stringify(receipt)}`);
  assert.deepEqual(JSON.parse(body), { secret: test.secret });
}

/** The whole promise: delivered once, paid once, and the receipt says so. */
export async function expectPaid(test, outcome, { version, buyer, server }) {
  expectDelivered(test, outcome);
  const { transaction } = expectReceipt(test, outcome, { version, buyer });
  await expectMoved(test, { transaction, buyer });
  assert.equal(server.handled(), 1, "the handler ran other than once");
}
