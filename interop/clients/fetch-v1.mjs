import { createSigner, wrapFetchWithPayment } from "x402-fetch";
import { options, reportFetch } from "./common.mjs";

const signer = await createSigner(options.network, options.key);
await reportFetch(await wrapFetchWithPayment(fetch, signer)(options.url));
