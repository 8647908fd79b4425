import axios from "axios";
import { createSigner, withPaymentInterceptor } from "x402-axios";
import { options, reportAxios } from "./common.mjs";

// The interceptor reads the terms from a parsed body, so axios keeps its JSON parsing.
const signer = await createSigner(options.network, options.key);
const http = withPaymentInterceptor(axios.create(), signer);
await reportAxios(http.get(options.url).then((response) => ({ ...response, data: JSON.stringify(response.data) })));
