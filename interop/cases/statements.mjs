// What sellers sign: our gate's offers and receipts read by the published extension, and the other way round.
import { strict as assert } from "node:assert";
import { generatePrivateKey, privateKeyToAddress } from "viem/accounts";
import { keyFile } from "../lib/tollway.mjs";
import { paidPath, tollwayCase } from "./case.mjs";

async function gateSigns(test) {
  const key = generatePrivateKey();
  const [upstream, buyer] = await Promise.all([test.server("upstream.mjs"), test.chain.buyer()]);
  const flags = ["--receipt-key-file", keyFile(test.directory, key)];
  const gate = await test.tollway.gate({ upstream: upstream.url, payTo: test.payTo, flags });
  const outcome = await test.client("statements.mjs", { url: gate.url + paidPath, key: buyer.key });
  assert.equal(outcome.status, 200, outcome.body);
  assert.ok(outcome.body.includes(test.secret));
  assert.equal(outcome.offers, 1);
  assert.equal(outcome.offered.amount, "10000");
  assert.equal(outcome.offerer, privateKeyToAddress(key));
  assert.equal(outcome.signer, privateKeyToAddress(key));
  assert.ok(outcome.matches, JSON.stringify(outcome.receipt));
  assert.equal(outcome.receipt.payload.transaction, "", "a receipt names no transaction unless the seller says so");
}

async function payerReads(test) {
  const receiptKey = generatePrivateKey();
  const [{ url: facilitator }, buyer] = await Promise.all([test.tollway.facilitator(), test.chain.buyer()]);
  const server = await test.server("statements-express.mjs", { facilitator, network: test.network.caip2, receiptKey });
  const paid = await test.tollway.pay(server.url + paidPath, { key: buyer.key, flags: ["--json"] });
  assert.equal(paid.code, 0, paid.stderr);
  const { payment } = JSON.parse(paid.stdout);
  assert.deepEqual(payment.receipt, { worth: "proved", signer: privateKeyToAddress(receiptKey), by: "offerer" });
}

export const cases = [
  tollwayCase("statements-official-client-reads-our-gate", gateSigns),
  tollwayCase("statements-our-payer-reads-official-server", payerReads),
];
