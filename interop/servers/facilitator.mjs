// A facilitator made of the official code: @x402/core and the schemes exact and
// upto of @x402/evm, both protocol versions, behind the three endpoints.
import { x402Facilitator } from "@x402/core/facilitator";
import { toFacilitatorEvmSigner } from "@x402/evm";
import { registerExactEvmScheme } from "@x402/evm/exact/facilitator";
import { UptoEvmScheme } from "@x402/evm/upto/facilitator";
import { createErc20ApprovalGasSponsoringExtension } from "@x402/extensions";
import express from "express";
import { createWalletClient, defineChain, http, parseTransaction, publicActions, recoverTransactionAddress } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { listening, options } from "./common.mjs";

const chain = defineChain({
  id: options.chainId,
  name: "local",
  nativeCurrency: { name: "Ether", symbol: "ETH", decimals: 18 },
  rpcUrls: { default: { http: [options.rpcUrl] } },
});
const account = privateKeyToAccount(options.key);
const wallet = createWalletClient({ account, chain, transport: http(), pollingInterval: 100 }).extend(publicActions);

const signer = toFacilitatorEvmSigner({ ...wallet, address: account.address });
const facilitator = new x402Facilitator();
registerExactEvmScheme(facilitator, { signer, networks: [options.network] });
facilitator.register([options.network], new UptoEvmScheme(signer));

/** What the official code leaves to whoever runs it: gas for a payer's approval, the approval, and what follows it, in order. */
async function sendTransactions(transactions) {
  const hashes = [];
  for (const each of transactions) {
    const approval = typeof each === "string";
    if (approval) {
      const { gas, maxFeePerGas } = parseTransaction(each);
      const payer = await recoverTransactionAddress({ serializedTransaction: each });
      await mined(await wallet.sendTransaction({ to: payer, value: gas * maxFeePerGas }));
    }
    const hash = await (approval ? wallet.sendRawTransaction({ serializedTransaction: each }) : wallet.sendTransaction(each));
    await mined(hash);
    hashes.push(hash);
  }
  return hashes;
}

async function mined(hash) {
  const { status } = await wallet.waitForTransactionReceipt({ hash });
  if (status !== "success") throw new Error(`${hash} reverted`);
}

facilitator.registerExtension(createErc20ApprovalGasSponsoringExtension({ ...signer, sendTransactions }));

const app = express();
app.use(express.json());
const answer = (method) => async (request, response) => {
  try {
    response.json(await facilitator[method](request.body.paymentPayload, request.body.paymentRequirements));
  } catch (error) {
    console.error(error);
    response.status(500).json({ error: error.message });
  }
};
app.post("/verify", answer("verify"));
app.post("/settle", answer("settle"));
app.get("/supported", (_, response) => response.json(facilitator.getSupported()));
const server = app.listen(0, "127.0.0.1", () => listening(server.address()));
