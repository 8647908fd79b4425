import { createSigner, wrapFetchWithPayment } from "x402-fetch";
import { exchanges, watchedFetch } from "./common.mjs";

export async function run({ url, key, network }) {
  const signer = await createSigner(network, key);
  await wrapFetchWithPayment(watchedFetch, signer)(url);
  return exchanges;
}
