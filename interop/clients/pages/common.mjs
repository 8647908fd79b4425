// Runs inside the browser: what a script of a page sees of the answers of
// another origin. A browser hides every header that CORS does not expose.
export const exchanges = [];

/** fetch, with a note of each answer as the page can read it. */
export async function watchedFetch(...request) {
  const response = await fetch(...request);
  const body = await response.clone().text();
  exchanges.push({ status: response.status, headers: Object.fromEntries(response.headers), body });
  return response;
}
