// Signs a payment for given terms with the official client and prints the
// headers of the paid request instead of sending it.
import { x402Client, x402HTTPClient } from "@x402/core/client";
import { registerExactEvmScheme } from "@x402/evm/exact/client";
import { account, options } from "./common.mjs";

const client = registerExactEvmScheme(new x402Client(), { signer: account });
const http = new x402HTTPClient(client);
const payload = await http.createPaymentPayload(options.required);
process.stdout.write(JSON.stringify({ payload, headers: http.encodePaymentSignatureHeader(payload) }));
