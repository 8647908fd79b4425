// Payments made by the official client, and ways to spoil them that leave the
// rest right, so that the verdict comes from the check that is meant.
import { ExactEvmScheme } from "@x402/evm/exact/client";
import { ExactEvmSchemeV1 } from "@x402/evm/exact/v1/client";
import { generatePrivateKey, privateKeyToAccount, privateKeyToAddress } from "viem/accounts";
import { price } from "../lib/networks.mjs";

const common = (test) => ({
  scheme: "exact",
  asset: test.network.token,
  payTo: test.payTo,
  maxTimeoutSeconds: 300,
  extra: { ...test.network.domain },
});

/** Terms of either version; `amount` is spelled as the version spells it. */
export function requirements(test, version, { amount = String(price.atomic), ...changes } = {}) {
  if (version === 2) return { ...common(test), network: test.network.caip2, amount, ...changes };
  const described = { resource: "http://127.0.0.1/paid/report", description: "", mimeType: "application/json" };
  return { ...common(test), ...described, network: test.network.name, maxAmountRequired: amount, ...changes };
}

/** A payment for the terms, signed by the official scheme client of the version. */
export async function signed(version, key, terms) {
  const account = privateKeyToAccount(key);
  if (version === 1) return new ExactEvmSchemeV1(account).createPaymentPayload(1, terms);
  const { payload } = await new ExactEvmScheme(account).createPaymentPayload(2, terms);
  return { x402Version: 2, resource: { url: "http://127.0.0.1/paid/report" }, accepted: terms, payload };
}

const accepting = (payment, terms) => (payment.x402Version === 2 ? { ...payment, accepted: terms } : payment);

/** [what is wrong, payload, requirements, the official verdict] of payments that must be refused. */
export async function spoilt(test, version, buyer, pauper) {
  const terms = requirements(test, version);
  const good = await signed(version, buyer.key, terms);
  const foreign = await signed(version, generatePrivateKey(), terms);
  const forged = { ...good, payload: { ...good.payload, signature: foreign.payload.signature } };
  const bare = { ...terms, extra: {} };
  const differing = async (changes) => accepting(await signed(version, buyer.key, requirements(test, version, changes)), terms);
  const code = (name) => `invalid_exact_evm_${name}`;
  const wrongValue = code(version === 1 ? "authorization_value" : "payload_authorization_value_mismatch");
  return [
    ["another key's signature", forged, terms, code("signature")],
    ["another payee", await differing({ payTo: privateKeyToAddress(generatePrivateKey()) }), terms, code("recipient_mismatch")],
    ["less money", await differing({ amount: "9999" }), terms, wrongValue],
    ["more money", await differing({ amount: "10001" }), terms, wrongValue],
    ["expired", await differing({ maxTimeoutSeconds: -60 }), terms, code("payload_authorization_valid_before")],
    ["expiring in a moment", await differing({ maxTimeoutSeconds: 3 }), terms, code("payload_authorization_valid_before")],
    ["signed for another domain", await differing({ extra: { name: "USD Coin", version: "2" } }), terms, code("signature")],
    ["terms without a domain", accepting(good, bare), bare, code("missing_eip712_domain")],
    ["no balance", await signed(version, pauper.key, terms), terms, code("insufficient_balance")],
  ];
}
