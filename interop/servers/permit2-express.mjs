// The official v2 resource server on express, paid by Permit2: scheme exact, or
// upto with what the handler says is due.
import { HTTPFacilitatorClient } from "@x402/core/server";
import { registerExactEvmScheme } from "@x402/evm/exact/server";
import { UptoEvmScheme } from "@x402/evm/upto/server";
import { paymentMiddleware, setSettlementOverrides, x402ResourceServer } from "@x402/express";
import { declareEip2612GasSponsoringExtension, declareErc20ApprovalGasSponsoringExtension } from "@x402/extensions";
import express from "express";
import { handler, listening, options } from "./common.mjs";

const resourceServer = new x402ResourceServer(new HTTPFacilitatorClient({ url: options.facilitator }));
registerExactEvmScheme(resourceServer, { networks: [options.network] });
resourceServer.register(options.network, new UptoEvmScheme());

const declared = { permit: declareEip2612GasSponsoringExtension, approval: declareErc20ApprovalGasSponsoringExtension };
const route = {
  accepts: {
    scheme: options.scheme,
    network: options.network,
    price: { ...options.amount, extra: { ...options.amount.extra, assetTransferMethod: "permit2" } },
    payTo: options.payTo,
  },
  description: "a paid report",
  mimeType: "application/json",
  ...(options.sponsoring && { extensions: declared[options.sponsoring]() }),
};

const app = express();
app.use(paymentMiddleware({ "GET /paid/*": route }, resourceServer));
app.get("/paid/report", (_, response) => {
  if (options.due !== undefined) setSettlementOverrides(response, { amount: options.due });
  response.json(handler());
});
const server = app.listen(0, "127.0.0.1", () => listening(server.address()));
