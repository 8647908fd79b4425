// Official client -> official server -> official facilitator.
import { expectPaid, expectUnpaidRefused } from "../lib/expect.mjs";
import { baselineCase, bothNetworks, paidPath } from "./case.mjs";

const pays = (version, serverName, clientName, clientOptions = {}) => async (test) => {
  const [facilitator, buyer] = await Promise.all([test.officialFacilitator(), test.chain.buyer()]);
  const network = version === 1 ? test.network.name : test.network.caip2;
  const server = await test.server(serverName, { facilitator: facilitator.url, network });
  const url = server.url + paidPath;
  await expectUnpaidRefused(test, url);
  const outcome = await test.client(clientName, { url, key: buyer.key, network: test.network.name, ...clientOptions });
  await expectPaid(test, outcome, { version, buyer, server });
};

export const cases = [
  baselineCase("v2-fetch-express", pays(2, "express-v2.mjs", "fetch-v2.mjs"), bothNetworks),
  baselineCase("v2-axios-hono", pays(2, "hono-v2.mjs", "axios-v2.mjs")),
  baselineCase("v1-fetch-express", pays(1, "express-v1.mjs", "fetch-v1.mjs"), bothNetworks),
  baselineCase("v1-axios-hono", pays(1, "hono-v1.mjs", "axios-v1.mjs")),
  baselineCase("v2-python-httpx-express", pays(2, "express-v2.mjs", "python-v2.py", { library: "httpx" })),
  baselineCase("v2-python-requests-express", pays(2, "express-v2.mjs", "python-v2.py", { library: "requests" })),
];
