// The official v2 resource server on hono.
import { serve } from "@hono/node-server";
import { HTTPFacilitatorClient } from "@x402/core/server";
import { registerExactEvmScheme } from "@x402/evm/exact/server";
import { paymentMiddleware, x402ResourceServer } from "@x402/hono";
import { Hono } from "hono";
import { handler, listening, options } from "./common.mjs";

const resourceServer = new x402ResourceServer(new HTTPFacilitatorClient({ url: options.facilitator }));
registerExactEvmScheme(resourceServer, { networks: [options.network] });
const accepts = { scheme: "exact", network: options.network, price: options.price, payTo: options.payTo };

const app = new Hono();
app.use(paymentMiddleware({ "GET /paid/*": { accepts, description: "a paid report" } }, resourceServer));
app.get("/paid/report", (context) => context.json(handler()));
serve({ fetch: app.fetch, hostname: "127.0.0.1", port: 0 }, listening);
