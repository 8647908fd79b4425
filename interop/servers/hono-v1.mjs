// The official v1 resource server on hono.
import { serve } from "@hono/node-server";
import { Hono } from "hono";
import { paymentMiddleware } from "x402-hono";
import { handler, listening, options } from "./common.mjs";

const app = new Hono();
const routes = { "GET /paid/*": { price: options.price, network: options.network } };
app.use(paymentMiddleware(options.payTo, routes, { url: options.facilitator }));
app.get("/paid/report", (context) => context.json(handler()));
serve({ fetch: app.fetch, hostname: "127.0.0.1", port: 0 }, listening);
