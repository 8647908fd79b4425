// The route of the AxiomKit demo on Sei: a hash of a transaction is proof enough,
// if it succeeded and its target was the token. That is its exchange and its
// check; what a seller should do is another matter.
import { randomBytes } from "node:crypto";
import { createServer } from "node:http";
import { createPublicClient, http } from "viem";
import { handler, listening, options } from "./common.mjs";

const chain = createPublicClient({ transport: http(options.rpcUrl) });
const same = (left, right) => left?.toLowerCase() === right?.toLowerCase();

const challenge = (error) => ({
  x402Version: 1,
  accepts: [
    {
      scheme: "exact",
      network: options.network,
      maxAmountRequired: options.amount,
      resource: "/api/weather",
      description: "Get current weather data",
      mimeType: "application/json",
      payTo: options.payTo,
      maxTimeoutSeconds: 300,
      asset: options.asset,
      extra: { name: "USDC", version: "2", reference: `sei-${Date.now()}-${randomBytes(6).toString("hex")}` },
    },
  ],
  ...(error && { error }),
});

async function accepts(header) {
  const { payload } = JSON.parse(Buffer.from(header, "base64").toString("utf8"));
  const receipt = await chain.getTransactionReceipt({ hash: payload.txHash }).catch(() => null);
  return receipt?.status === "success" && same(receipt.to, options.asset) ? payload.txHash : undefined;
}

const server = createServer(async (request, response) => {
  const header = request.headers["x-payment"];
  const txHash = header && (await accepts(header));
  const body = txHash ? { ...handler(), payment: { isValid: true, txHash } } : challenge(header && "Transaction failed or not found");
  response.writeHead(txHash ? 200 : 402, { "content-type": "application/json" });
  response.end(JSON.stringify(body));
});
server.listen(0, "127.0.0.1", () => listening(server.address()));
