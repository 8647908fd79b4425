// A page that knows nothing of payments.
import { exchanges, watchedFetch } from "./common.mjs";

export async function run({ url }) {
  await watchedFetch(url);
  return exchanges;
}
