// The official v2 resource server on express, which signs its offers and receipts by the published extension.
import { HTTPFacilitatorClient } from "@x402/core/server";
import { registerExactEvmScheme } from "@x402/evm/exact/server";
import { paymentMiddleware, x402ResourceServer } from "@x402/express";
import { createEIP712OfferReceiptIssuer, createOfferReceiptExtension, declareOfferReceiptExtension } from "@x402/extensions/offer-receipt";
import express from "express";
import { privateKeyToAccount } from "viem/accounts";
import { handler, listening, options } from "./common.mjs";

const account = privateKeyToAccount(options.receiptKey);
const issuer = createEIP712OfferReceiptIssuer(`did:pkh:eip155:1:${account.address}`, (typed) => account.signTypedData(typed));
const resourceServer = new x402ResourceServer(new HTTPFacilitatorClient({ url: options.facilitator }));
registerExactEvmScheme(resourceServer, { networks: [options.network] });
resourceServer.registerExtension(createOfferReceiptExtension(issuer));
const route = {
  accepts: { scheme: "exact", network: options.network, price: options.price, payTo: options.payTo },
  extensions: declareOfferReceiptExtension({ includeTxHash: true }),
};

const app = express();
app.use(paymentMiddleware({ "GET /paid/*": route }, resourceServer));
app.get("/paid/report", (_, response) => response.json(handler()));
const server = app.listen(0, "127.0.0.1", () => listening(server.address()));
