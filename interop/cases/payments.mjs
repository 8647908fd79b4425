// Payments made by the official client, and ways to spoil them that leave the
// rest right, so that the verdict comes from the check that is meant.
import { ExactEvmScheme } from "@x402/evm/exact/client";
import { ExactEvmSchemeV1 } from "@x402/evm/exact/v1/client";
import { UptoEvmScheme } from "@x402/evm/upto/client";
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

async function signedPermit2(key, terms) {
  const Scheme = terms.scheme === "upto" ? UptoEvmScheme : ExactEvmScheme;
  const { payload } = await new Scheme(privateKeyToAccount(key)).createPaymentPayload(2, terms);
  return { x402Version: 2, resource: { url: "http://127.0.0.1/paid/report" }, accepted: terms, payload };
}

/** The same for Permit2, in both schemes; a payment whose verdict is undefined is good. `stranger` has given Permit2 no allowance. */
export async function spoiltPermit2(test, { buyer, pauper, stranger, facilitatorAddress }) {
  const another = privateKeyToAddress(generatePrivateKey());
  const of = async (scheme) => {
    const extra = { ...test.network.domain, assetTransferMethod: "permit2", ...(scheme === "upto" && { facilitatorAddress }) };
    const terms = requirements(test, 2, { scheme, extra });
    const good = await signedPermit2(buyer.key, terms);
    const foreign = await signedPermit2(generatePrivateKey(), terms);
    const differing = async (changes) => accepting(await signedPermit2(buyer.key, { ...terms, ...changes }), terms);
    const saying = (changes) => {
      const permit2Authorization = { ...good.payload.permit2Authorization, ...changes };
      return { ...good, payload: { ...good.payload, permit2Authorization } };
    };
    const later = String(Math.floor(Date.now() / 1000) + 600);
    const { witness } = good.payload.permit2Authorization;
    return [
      ["nothing", good, terms, undefined],
      ["another key's signature", { ...good, payload: { ...good.payload, signature: foreign.payload.signature } }, terms, "invalid_permit2_signature"],
      ["another spender", saying({ spender: another }), terms, "invalid_permit2_spender"],
      ["another payee", await differing({ payTo: another }), terms, "invalid_permit2_recipient_mismatch"],
      ["less money", await differing({ amount: "9999" }), terms, "permit2_amount_mismatch"],
      ["more money", await differing({ amount: "10001" }), terms, "permit2_amount_mismatch"],
      ["another token", await differing({ asset: another }), terms, "permit2_token_mismatch"],
      ["expired", await differing({ maxTimeoutSeconds: -60 }), terms, "permit2_deadline_expired"],
      ["expiring in a moment", await differing({ maxTimeoutSeconds: 3 }), terms, "permit2_deadline_expired"],
      ["not yet valid", saying({ witness: { ...witness, validAfter: later } }), terms, "permit2_not_yet_valid"],
      ["a deadline that was not signed", saying({ deadline: later }), terms, "invalid_permit2_signature"],
      ["no allowance", await signedPermit2(stranger.key, terms), terms, "permit2_allowance_required"],
      ["no balance", await signedPermit2(pauper.key, terms), terms, "permit2_insufficient_balance"],
    ].map(([what, ...rest]) => [`${scheme}: ${what}`, ...rest]);
  };
  const terms = requirements(test, 2, {
    scheme: "upto",
    extra: { ...test.network.domain, assetTransferMethod: "permit2", facilitatorAddress: another },
  });
  const elsewhere = ["upto: for another facilitator", await signedPermit2(buyer.key, terms), terms, "upto_facilitator_mismatch"];
  return [...(await of("exact")), ...(await of("upto")), elsewhere];
}
