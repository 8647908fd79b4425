// The official v2 resource server on express, which lets who paid sign in.
import { HTTPFacilitatorClient } from "@x402/core/server";
import { registerExactEvmScheme } from "@x402/evm/exact/server";
import { paymentMiddlewareFromHTTPServer, x402HTTPResourceServer, x402ResourceServer } from "@x402/express";
import { createSIWxResourceServerExtension, declareSIWxExtension, InMemorySIWxStorage } from "@x402/extensions/sign-in-with-x";
import express from "express";
import { createServer } from "node:http";
import { handler, listening, options } from "./common.mjs";

const app = express();
const server = createServer(app);
server.listen(0, "127.0.0.1", () => {
  const origin = `http://127.0.0.1:${server.address().port}`;
  const resourceServer = new x402ResourceServer(new HTTPFacilitatorClient({ url: options.facilitator }));
  registerExactEvmScheme(resourceServer, { networks: [options.network] });
  resourceServer.registerExtension(createSIWxResourceServerExtension({ origin, storage: new InMemorySIWxStorage() }));
  const routes = {
    "GET /paid/*": {
      accepts: { scheme: "exact", network: options.network, price: options.price, payTo: options.payTo },
      extensions: declareSIWxExtension({ statement: "Sign in to read it again.", expirationSeconds: 300 }),
    },
  };
  app.use(paymentMiddlewareFromHTTPServer(new x402HTTPResourceServer(resourceServer, routes)));
  app.get("/paid/report", (_, response) => response.json(handler()));
  listening(server.address());
});
