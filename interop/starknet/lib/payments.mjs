// The scheme's payloads, made by starknet.js alone.
import { strict as assert } from "node:assert";
import { constants, outsideExecution } from "starknet";

export const chainId = constants.StarknetChainId.SN_SEPOLIA;
export const base64 = (value) => Buffer.from(JSON.stringify(value)).toString("base64");
export const parse = (header) => JSON.parse(Buffer.from(header, "base64").toString());
export const hex = (value) => `0x${BigInt(value).toString(16)}`;
export const felts = (signature) => [signature.r ?? signature[0], signature.s ?? signature[1]].map(hex);
const random = () => `0x${Buffer.from(crypto.getRandomValues(new Uint8Array(30))).toString("hex")}`;

export async function termsOf(url) {
  const asked = await fetch(url);
  assert.equal(asked.status, 402);
  return parse(asked.headers.get("payment-required"));
}

/** The payload of scheme exact. */
export async function payload(from, offer, sign, { amount = offer.amount, to = offer.payTo } = {}) {
  const options = {
    caller: offer.extra.feePayer,
    execute_after: "1",
    execute_before: String(Math.floor(Date.now() / 1000) + offer.maxTimeoutSeconds),
  };
  const call = { contractAddress: offer.asset, entrypoint: "transfer", calldata: [to, amount, "0"] };
  const data = outsideExecution.getTypedData(chainId, options, random(), [call], "2");
  return { from, outsideExecution: { signature: await sign(data), typedData: data } };
}

/** Shows a payment to a gate. */
export async function show(url, terms, made) {
  const payment = { x402Version: 2, resource: terms.resource, accepted: terms.accepts[0], payload: made };
  const header = base64(payment);
  const again = () => fetch(url, { headers: { "payment-signature": header } });
  const answer = await again();
  return { status: answer.status, body: await answer.text(), again };
}
