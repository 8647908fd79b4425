import { ExactEvmScheme } from "@x402/evm/exact/client";
import { wrapAxiosWithPayment, x402Client } from "@x402/axios";
import axios from "axios";
import { account, options, reportAxios } from "./common.mjs";

const client = new x402Client().register("eip155:*", new ExactEvmScheme(account));
const http = wrapAxiosWithPayment(axios.create({ responseType: "text", transformResponse: (data) => data }), client);
await reportAxios(http.get(options.url));
