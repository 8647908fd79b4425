// The official v1 resource server on express.
import express from "express";
import { paymentMiddleware } from "x402-express";
import { handler, listening, options } from "./common.mjs";

const app = express();
const routes = { "GET /paid/*": { price: options.price, network: options.network } };
app.use(paymentMiddleware(options.payTo, routes, { url: options.facilitator }));
app.get("/paid/report", (_, response) => response.json(handler()));
const server = app.listen(0, "127.0.0.1", () => listening(server.address()));
