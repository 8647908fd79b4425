// A person at the gate's own page, in a headless Chromium with a wallet of its own
// (EIP-1193, EIP-6963) whose key is in this process. Takes the steps it is given and
// prints what the page said, what the wallet was asked, and what the browser loaded.
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { createWalletClient, defineChain, http } from "viem";
import { privateKeyToAccount } from "viem/accounts";

const { url, wallet, steps, lose, forgets, dark, browser, directory } = JSON.parse(process.env.INTEROP);
const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const WAIT_MS = 20_000;

const account = privateKeyToAccount(wallet.key);
const asked = [];
let chainId = wallet.chainId;
const known = new Set([wallet.chainId, ...(wallet.knows ?? [])]);

const refusal = (code, message) => Object.assign(new Error(message), { code });

async function node(method, params) {
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
  const answer = await (await fetch(wallet.rpcUrl, { method: "POST", headers: { "content-type": "application/json" }, body })).json();
  if (answer.error) throw refusal(answer.error.code, answer.error.message);
  return answer.result;
}

async function sent([{ to, data }]) {
  const chain = defineChain({ id: chainId, name: "chain", nativeCurrency: { name: "Ether", symbol: "ETH", decimals: 18 }, rpcUrls: { default: { http: [wallet.rpcUrl] } } });
  return createWalletClient({ account, chain, transport: http(wallet.rpcUrl) }).sendTransaction({ to, data, gas: 100_000n });
}

function switched([{ chainId: wanted }]) {
  if (!known.has(Number(wanted))) throw refusal(4902, "Unrecognized chain");
  chainId = Number(wanted);
  return null;
}

function added([{ chainId: wanted, chainName, rpcUrls, nativeCurrency }]) {
  if (!chainName || !rpcUrls?.[0].startsWith("https://") || nativeCurrency?.decimals !== 18) throw refusal(-32602, "incomplete");
  known.add(Number(wanted));
  chainId = Number(wanted);
  return null;
}

function signed([address, text]) {
  const { domain, types, primaryType, message } = JSON.parse(text);
  if (address.toLowerCase() !== account.address.toLowerCase()) throw refusal(4100, "unknown account");
  if (Number(domain.chainId) !== chainId) throw refusal(-32602, "another chain");
  return account.signTypedData({ domain, types, primaryType, message });
}

const methods = {
  eth_requestAccounts: () => [account.address],
  eth_chainId: () => `0x${chainId.toString(16)}`,
  wallet_switchEthereumChain: switched,
  wallet_addEthereumChain: added,
  eth_signTypedData_v4: signed,
  eth_sendTransaction: sent,
};

async function request(method, params) {
  asked.push(method);
  try {
    const declines = wallet.declines?.indexOf(method) ?? -1;
    if (declines >= 0) {
      wallet.declines.splice(declines, 1);
      throw refusal(4001, "User rejected the request.");
    }
    return { result: await (methods[method] ? methods[method](params) : node(method, params)) };
  } catch ({ code, message }) {
    return { error: { code, message } };
  }
}

function announced() {
  const provider = {
    request: async ({ method, params }) => {
      const { result, error } = await globalThis.walletRequest(method, params ?? []);
      if (error) throw Object.assign(new Error(error.message), { code: error.code });
      return result;
    },
  };
  const info = { uuid: "350670db-19fa-4704-a166-e52e178b59d2", name: "Test wallet", icon: "data:image/svg+xml;base64,PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciLz4=", rdns: "example.wallet" };
  const announce = () => dispatchEvent(new CustomEvent("eip6963:announceProvider", { detail: Object.freeze({ info, provider }) }));
  addEventListener("eip6963:requestProvider", announce);
  announce();
}

const REFUSED = { status: 402, headers: { "payment-required": "e30=", "content-type": "application/json" }, body: JSON.stringify({ message: "The server asks for another price." }) };

/** The first payment arrives, and its answer does not: it is cut off, or it tells of an open outcome.
 *  Where it is forgotten, the server then knows nothing of it, as often as it is said. */
async function loseAnswer(page) {
  const lost = lose === "refused" ? 0 : 1;
  let shown = 0;
  await page.route("**", async (route) => {
    if (!route.request().headers()["payment-signature"]) return route.continue();
    shown += 1;
    if (shown > lost) return shown > lost + (forgets ?? 0) ? route.continue() : route.fulfill(REFUSED);
    const answer = await route.fetch();
    const receipt = answer.headers()["payment-response"];
    if (lose === "cut") return route.abort("connectionreset");
    const pending = { ...JSON.parse(Buffer.from(receipt, "base64")), success: false, errorReason: "settlement_pending" };
    const headers = { "payment-response": Buffer.from(JSON.stringify(pending)).toString("base64"), "content-type": "application/json", "retry-after": "1" };
    return route.fulfill({ status: 402, headers, body: JSON.stringify({ error: "settlement_pending", message: "The outcome is not known yet." }) });
  });
}

const focused = (page) => page.evaluate(() => document.activeElement?.textContent?.trim().slice(0, 80) ?? "");

const take = {
  click: (page, name) => page.getByRole("button", { name }).click({ timeout: WAIT_MS }),
  said: (page, text) => page.getByRole("status").getByText(text).waitFor({ timeout: WAIT_MS }),
  reload: (page) => page.reload(),
  /** As if so many seconds had gone by since the payment was signed. */
  async late(page, seconds) {
    await page.evaluate((gone) => {
      for (const [key, text] of Object.entries(sessionStorage)) sessionStorage.setItem(key, JSON.stringify({ ...JSON.parse(text), until: JSON.parse(text).until - gone }));
    }, seconds);
    await page.reload();
  },
  choose: (page, name) => page.getByRole("radio", { name }).check(),
  picture: (page, path) => page.screenshot({ path, animations: "disabled" }),
  /** Goes on with the tab key until something has the focus, then presses a key. */
  async press(page, [name, key]) {
    for (let turn = 0; turn < 20; turn += 1) {
      if ((await focused(page)).includes(name)) return page.keyboard.press(key);
      await page.keyboard.press("Tab");
    }
    throw new Error(`the tab key never reaches ${name}`);
  },
};

async function visited(page) {
  const [complaints, loaded, story] = [[], [], []];
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("request", (each) => loaded.push(each.url()));
  await page.exposeFunction("walletRequest", request);
  await page.addInitScript(announced);
  if (lose) await loseAnswer(page);
  const first = await page.goto(url);
  for (const [step, value] of steps) {
    await take[step](page, value);
    story.push({ step, said: await page.getByRole("status").textContent(), focus: await focused(page), canBuy: await page.locator("#buy").isVisible() });
  }
  const text = (selector) => page.locator(selector).allTextContents();
  const frame = page.frames().find((each) => each !== page.mainFrame());
  return {
    status: first.status(),
    headers: first.headers(),
    story,
    asked,
    complaints,
    loaded,
    goods: (await text("#shown pre")).join(""),
    leads: await page.locator("#shown a").evaluateAll((all) => all.map(({ href, rel, target, download }) => ({ href, rel, target, download }))),
    framed: frame ? await frame.locator("body").innerText() : null,
    receipt: (await text("#receipt dd")).join(" "),
    link: await page.locator("#receipt a").evaluateAll((all) => all.map(({ href }) => href)),
    canBuy: await page.locator("#buy").isVisible(),
    tree: await page.locator("main").ariaSnapshot(),
    paper: await page.evaluate(() => getComputedStyle(document.body).backgroundColor),
  };
}

const context = await chromium.launchPersistentContext(join(directory, randomUUID()), {
  executablePath: browser,
  args: FLAGS,
  headless: true,
  colorScheme: dark ? "dark" : "light",
  viewport: { width: 720, height: 860 },
});
try {
  console.log(JSON.stringify(await visited(context.pages()[0] ?? (await context.newPage()))));
} finally {
  await context.close();
}
