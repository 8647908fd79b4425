// The official v2 resource server on express.
import { HTTPFacilitatorClient } from "@x402/core/server";
import { registerExactEvmScheme } from "@x402/evm/exact/server";
import { paymentMiddleware, x402ResourceServer } from "@x402/express";
import cors from "cors";
import express from "express";
import { handler, listening, options } from "./common.mjs";

const resourceServer = new x402ResourceServer(new HTTPFacilitatorClient({ url: options.facilitator }));
registerExactEvmScheme(resourceServer, { networks: [options.network] });
const route = {
  accepts: {
    scheme: "exact",
    network: options.network,
    price: options.price,
    payTo: options.payTo,
    ...(options.flow && { extra: { paymentFlow: options.flow } }),
  },
  description: "a paid report",
  mimeType: "application/json",
};

const app = express();
if (options.cors) app.use(cors({ exposedHeaders: ["PAYMENT-REQUIRED", "PAYMENT-RESPONSE"] }));
app.use(paymentMiddleware({ "GET /paid/*": route }, resourceServer));
app.get("/paid/report", (_, response) => response.json(handler()));
const server = app.listen(0, "127.0.0.1", () => listening(server.address()));
