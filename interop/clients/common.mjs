// What every client of the suite shares: arguments come as one JSON object in
// INTEROP, the outcome goes to stdout as one JSON object.
import { privateKeyToAccount } from "viem/accounts";

export const options = JSON.parse(process.env.INTEROP);
export const account = privateKeyToAccount(options.key);

const decode = (header) => (header ? JSON.parse(Buffer.from(header, "base64").toString("utf8")) : null);

export function report(status, getHeader, body) {
  const receiptHeader = ["payment-response", "x-payment-response"].find((name) => getHeader(name));
  const outcome = {
    status,
    body,
    receiptHeader: receiptHeader ?? null,
    receipt: receiptHeader ? decode(getHeader(receiptHeader)) : null,
    settlement: getHeader("tollway-payment") ?? null,
    cacheControl: getHeader("cache-control") ?? null,
  };
  process.stdout.write(`${JSON.stringify(outcome)}\n`);
}

export async function reportFetch(response) {
  const text = await response.text();
  report(response.status, (name) => response.headers.get(name), text);
}

/** axios rejects on a refusal; the outcome is in either place. */
export async function reportAxios(call) {
  const response = await call.catch((error) => {
    if (!error.response) throw error;
    return error.response;
  });
  report(response.status, (name) => response.headers[name], response.data);
}
