import { registerExactEvmScheme } from "@x402/evm/exact/client";
import { wrapFetchWithPayment, x402Client } from "@x402/fetch";
import { account, options, reportFetch } from "./common.mjs";

const client = new x402Client();
registerExactEvmScheme(client, { signer: account });
await reportFetch(await wrapFetchWithPayment(fetch, client)(options.url));
