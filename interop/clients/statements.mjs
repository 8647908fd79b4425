// The official fetch client, which then reads what the seller signed with the published extension.
import { registerExactEvmScheme } from "@x402/evm/exact/client";
import {
  decodeSignedOffers,
  extractOffersFromPaymentRequired,
  extractReceiptFromResponse,
  findAcceptsObjectFromSignedOffer,
  verifyOfferSignatureEIP712,
  verifyReceiptMatchesOffer,
  verifyReceiptSignatureEIP712,
} from "@x402/extensions/offer-receipt";
import { wrapFetchWithPayment, x402Client } from "@x402/fetch";
import { account, options } from "./common.mjs";

const asked = await fetch(options.url);
const required = JSON.parse(Buffer.from(asked.headers.get("payment-required"), "base64").toString("utf8"));
const offers = extractOffersFromPaymentRequired(required);
const [offer] = decodeSignedOffers(offers);

const client = new x402Client();
registerExactEvmScheme(client, { signer: account });
const paid = await wrapFetchWithPayment(fetch, client)(options.url);
const receipt = extractReceiptFromResponse(paid);
const outcome = {
  status: paid.status,
  body: await paid.text(),
  offers: offers.length,
  offered: findAcceptsObjectFromSignedOffer(offer, required.accepts),
  offerer: (await verifyOfferSignatureEIP712(offers[0])).signer,
  signer: (await verifyReceiptSignatureEIP712(receipt)).signer,
  matches: verifyReceiptMatchesOffer(receipt, offer, [account.address]),
  receipt,
};
process.stdout.write(`${JSON.stringify(outcome)}\n`);
