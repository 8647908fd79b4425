// The official client with what it needs to pay by Permit2: a node to ask for
// its allowance, and the scheme upto.
import { registerExactEvmScheme } from "@x402/evm/exact/client";
import { UptoEvmScheme } from "@x402/evm/upto/client";
import { wrapFetchWithPayment, x402Client } from "@x402/fetch";
import { account, options, reportFetch } from "./common.mjs";

const rpc = { rpcUrl: options.rpcUrl };
const client = new x402Client();
registerExactEvmScheme(client, { signer: account, schemeOptions: rpc });
client.register("eip155:*", new UptoEvmScheme(account, rpc));
await reportFetch(await wrapFetchWithPayment(fetch, client)(options.url));
