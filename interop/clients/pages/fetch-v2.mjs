import { registerExactEvmScheme } from "@x402/evm/exact/client";
import { wrapFetchWithPayment, x402Client } from "@x402/fetch";
import { privateKeyToAccount } from "viem/accounts";
import { exchanges, watchedFetch } from "./common.mjs";

export async function run({ url, key, request }) {
  const client = new x402Client();
  registerExactEvmScheme(client, { signer: privateKeyToAccount(key) });
  await wrapFetchWithPayment(watchedFetch, client)(url, request);
  return exchanges;
}
