// The official fetch client with sign-in-with-x: it pays once, and signs in when it comes back.
import { registerExactEvmScheme } from "@x402/evm/exact/client";
import { wrapFetchWithSIWx } from "@x402/extensions/sign-in-with-x";
import { wrapFetchWithPayment, x402Client } from "@x402/fetch";
import { account, options } from "./common.mjs";

const told = async (response) => ({
  status: response.status,
  body: await response.text(),
  receipt: response.headers.get("payment-response"),
});
const client = new x402Client();
registerExactEvmScheme(client, { signer: account });
const early = await told(await wrapFetchWithSIWx(fetch, account)(options.url));
const paid = await told(await wrapFetchWithPayment(fetch, client)(options.url));
const again = [];
for (let i = 0; i < 2; i += 1) again.push(await told(await wrapFetchWithSIWx(fetch, account)(options.url)));
process.stdout.write(`${JSON.stringify({ early, paid, again })}\n`);
