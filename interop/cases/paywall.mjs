// The page on which a person pays: in a browser, with a wallet of the browser.
import { strict as assert } from "node:assert";
import { existsSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { browserBinary } from "../lib/browser.mjs";
import { expectBalances, expectMoved } from "../lib/expect.mjs";
import { decodeHeader } from "../lib/http-text.mjs";
import { price } from "../lib/networks.mjs";
import { project } from "../lib/paths.mjs";
import { paidPath, tollwayCase } from "./case.mjs";

const PICTURE = join(project, "docs", "images", "paywall.png");
const MOST_PICTURE_BYTES = 100_000;
const PAY = "Pay with Test wallet";
const PAID = "Paid. Here it is.";
const ELSEWHERE = 1;

async function opened(test, { funds, upstream: served, wallet, ...options } = {}, gateOptions = {}) {
  const [upstream, buyer] = await Promise.all([test.server("upstream.mjs", served), test.chain.buyer(funds)]);
  const gate = await test.tollway.gate({ upstream: upstream.url, payTo: test.payTo, ...gateOptions });
  const own = { key: buyer.key, chainId: test.network.chainId, rpcUrl: test.chain.url, ...wallet };
  const seen = await test.client("paywall.mjs", { url: gate.url + paidPath, wallet: own, browser: browserBinary(), directory: test.directory, ...options });
  expectOwnOnly(seen, gate.url);
  return { seen, buyer, upstream };
}

/** The page came with the terms, broke no rule of its own policy, and loaded nothing from elsewhere. */
function expectOwnOnly({ status, headers, complaints, loaded }, origin) {
  assert.equal(status, 402);
  assert.match(headers["content-type"], /^text\/html/);
  assert.equal(decodeHeader(headers["payment-required"]).accepts.length > 0, true);
  // The browser itself notes each answer of 402.
  assert.deepEqual(complaints.filter((text) => !/status of 402|ERR_CONNECTION_RESET/.test(text)), []);
  const strange = loaded.filter((each) => !each.startsWith(origin) && !/^(data|blob|about):/.test(each));
  assert.deepEqual(strange, []);
}

const count = (all, wanted) => all.filter((each) => each === wanted).length;

/** One payment moved, the goods are shown, and the receipt leads to the transaction. */
async function expectBought(test, { seen, buyer, upstream }, { signatures = 1 } = {}) {
  const { goods, receipt, link, asked } = seen;
  assert.deepEqual(JSON.parse(goods), { secret: test.secret });
  const [transaction] = receipt.match(/0x[0-9a-f]{64}/i) ?? [];
  await expectMoved(test, { transaction, buyer });
  assert.deepEqual(link, [`https://sepolia.basescan.org/tx/${transaction}`]);
  assert.ok(receipt.toLowerCase().includes(buyer.address.toLowerCase()));
  assert.equal(count(asked, "eth_signTypedData_v4"), signatures);
  assert.equal(upstream.handled(), 1, "the handler ran other than once");
}

async function expectNothing(test, { seen, buyer, upstream }) {
  assert.equal(count(seen.asked, "eth_signTypedData_v4"), 0, "the wallet was asked for a signature");
  assert.equal(upstream.handled(), 0);
  assert.ok(seen.canBuy, "the person cannot try again");
  await expectBalances(test, { buyer, spent: 0n });
}

/** Paid; and shown again after the page was loaded anew, without another payment. */
async function eip3009(test) {
  const steps = [["said", "Nothing is paid before you sign"], ["click", PAY], ["said", PAID], ["reload"], ["click", "Show it again"], ["said", PAID]];
  await expectBought(test, await opened(test, { steps }));
}

/** Permit2 may not move the money yet: the page says so, and the wallet allows it first. */
async function permit2(test) {
  const [upstream, buyer] = await Promise.all([test.server("upstream.mjs"), test.chain.buyer()]);
  await test.chain.fuel(buyer.address);
  const gate = await test.tollway.gate({ upstream: upstream.url, payTo: test.payTo, terms: "; methods=permit2" });
  const steps = [["click", PAY], ["said", "may not move your USDC yet"], ["click", "Allow Permit2 0.01 USDC"], ["said", PAID]];
  const wallet = { key: buyer.key, chainId: test.network.chainId, rpcUrl: test.chain.url };
  const seen = await test.client("paywall.mjs", { url: gate.url + paidPath, wallet, steps, browser: browserBinary(), directory: test.directory });
  expectOwnOnly(seen, gate.url);
  assert.equal(count(seen.asked, "eth_sendTransaction"), 1);
  await expectBought(test, { seen, buyer, upstream });
}

/** A wallet that is elsewhere and does not know the network learns it. */
async function wrongNetwork(test) {
  const steps = [["click", PAY], ["said", PAID]];
  const bought = await opened(test, { steps, wallet: { chainId: ELSEWHERE } });
  assert.deepEqual(bought.seen.asked.filter((method) => method.startsWith("wallet_")), ["wallet_switchEthereumChain", "wallet_addEthereumChain"]);
  await expectBought(test, bought);
}

/** Who stays on another network is told so, and has signed nothing. */
async function staysElsewhere(test) {
  const steps = [["click", PAY], ["said", "this is paid on Base Sepolia. Nothing was paid."]];
  const wallet = { chainId: ELSEWHERE, declines: ["wallet_switchEthereumChain"] };
  await expectNothing(test, await opened(test, { steps, wallet }));
}

async function insufficient(test) {
  const steps = [["click", PAY], ["said", "holds 0.009999 USDC on Base Sepolia, and this costs 0.01 USDC"]];
  await expectNothing(test, await opened(test, { steps, funds: price.atomic - 1n }));
}

/** Who declines has paid nothing, and may think better of it. */
async function declined(test) {
  const steps = [["click", PAY], ["said", "You declined in the wallet. Nothing was paid."], ["click", PAY], ["said", PAID]];
  const bought = await opened(test, { steps, wallet: { declines: ["eth_signTypedData_v4"] } });
  await expectBought(test, bought, { signatures: 2 });
}

/** Without a mouse: everything can be reached, and the focus is where the answer is. */
async function keyboard(test) {
  const steps = [["said", "Nothing is paid before"], ["press", [PAY, "Enter"]], ["said", PAID]];
  const bought = await opened(test, { steps });
  assert.equal(bought.seen.story.at(-1).focus, "Paid");
  for (const part of ["heading", "status", 'heading "Paid"', "link"]) assert.ok(bought.seen.tree.includes(part), `no ${part} for a screen reader: ${bought.seen.tree}`);
  await expectBought(test, bought);
}

/** The outcome is open: the page signs nothing else, and the same payment brings the goods. */
const open = (lose, told) => async (test) => {
  const steps = [["click", PAY], ["said", told], ["reload"], ["said", "A payment of yours for this is under way."], ["click", "Ask again with the same payment"], ["said", PAID]];
  const bought = await opened(test, { steps, lose });
  await expectBought(test, bought);
};

/** While the outcome is open there is nothing to buy with, and the hash is shown. */
async function pending(test) {
  const steps = [["click", PAY], ["said", "The outcome is not known yet."]];
  const { seen, buyer } = await opened(test, { steps, lose: "pending" });
  assert.equal(seen.canBuy, false, "a second payment can be signed while the first is open");
  assert.equal(seen.story.at(-1).focus, "Ask again with the same payment");
  const [transaction] = seen.receipt.match(/0x[0-9a-f]{64}/i) ?? [];
  await expectMoved(test, { transaction, buyer });
}

/** Who forgot a payment that was shown once does not make a person pay again while it may still be taken. */
async function forgotten(test) {
  const held = [["said", "it may still be taken"], ["reload"], ["said", "A payment of yours for this is under way."]];
  const again = ["click", "Ask again with the same payment"];
  const steps = [["click", PAY], ["said", "The answer did not arrive"], again, ...held, again, ["said", PAID]];
  const bought = await opened(test, { steps, lose: "cut", forgets: 1 });
  const told = bought.seen.story.filter(({ said }) => said.includes("Nothing was paid"));
  assert.deepEqual(told, [], "the page says that nothing was paid, and it was");
  assert.equal(bought.seen.story[3].canBuy, false, "a second payment can be signed while the first may be taken");
  await expectBought(test, bought);
}

/** When its time is over another can be signed, and the page says only what it knows. */
async function forgottenForGood(test) {
  const steps = [["click", PAY], ["said", "The answer did not arrive"], ["late", 3600], ["click", "Ask again with the same payment"], ["said", "can no longer be taken. If your wallet shows that it was, ask the seller"]];
  const { seen, buyer } = await opened(test, { steps, lose: "cut", forgets: 1 });
  assert.ok(seen.canBuy, "the person cannot buy any more");
  await expectBalances(test, { buyer, spent: price.atomic });
}

/** A payment that was never shown before and is refused: nothing was paid. */
async function refusedAtOnce(test) {
  const steps = [["click", PAY], ["said", "The server asks for another price. Nothing was paid."]];
  const bought = await opened(test, { steps, lose: "refused", forgets: 1 });
  await expectBalances(test, { buyer: bought.buyer, spent: 0n });
  assert.ok(bought.seen.canBuy, "the person cannot try again");
}

/** A redirect that was paid for is shown as a link with its receipt, also when it is shown again. */
async function redirected(test) {
  const location = "https://files.example/signed?key=1&name=%22a%22";
  const steps = [["click", PAY], ["said", PAID], ["reload"], ["click", "Show it again"], ["said", PAID]];
  const bought = await opened(test, { steps, upstream: { status: 302, location } });
  assert.deepEqual(bought.seen.leads, [{ href: location, rel: "noopener noreferrer", target: "_blank", download: "" }]);
  await expectMoved(test, { transaction: bought.seen.receipt.match(/0x[0-9a-f]{64}/i)?.[0], buyer: bought.buyer });
  assert.equal(bought.upstream.handled(), 1);
}

/** Where a redirect is no address of the web, it is text and no link. */
async function redirectedOddly(test) {
  const steps = [["click", PAY], ["said", PAID]];
  const { seen, buyer } = await opened(test, { steps, upstream: { status: 307, location: "javascript://files.example/%0aalert(1)" } });
  assert.deepEqual(seen.leads, []);
  assert.ok(seen.tree.includes("It is at javascript://files.example/"), seen.tree);
  await expectBalances(test, { buyer, spent: price.atomic });
}

/** A page that is bought is shown where nothing of it can run. */
async function framed(test) {
  const page = "<h1>Bought</h1><script>document.body.append('it ran'); parent.document.title = 'it ran';</script><img src=x onerror=\"document.body.append('it ran')\">";
  const steps = [["click", PAY], ["said", PAID]];
  // The browser complains of what it does not run, which is the point.
  const [upstream, buyer] = await Promise.all([test.server("upstream.mjs", { page }), test.chain.buyer()]);
  const gate = await test.tollway.gate({ upstream: upstream.url, payTo: test.payTo });
  const wallet = { key: buyer.key, chainId: test.network.chainId, rpcUrl: test.chain.url };
  const seen = await test.client("paywall.mjs", { url: gate.url + paidPath, wallet, steps, browser: browserBinary(), directory: test.directory });
  assert.ok(seen.framed.includes("Bought") && seen.framed.includes(test.secret), seen.framed);
  assert.ok(!seen.framed.includes("it ran"), seen.framed);
  await expectBalances(test, { buyer, spent: price.atomic });
}

/** The page in the dark, as the documentation shows it: drawn anew if it is missing or asked for. */
async function dark(test) {
  const config = join(test.directory, "page.toml");
  writeFileSync(config, '[gate.page]\nname = "Example Weather"\ntext = "Forecasts for people and their agents, a cent each."\n[[gate.about]]\nroute = "GET /paid/*"\ndescription = "The weather of a city, hour by hour"\n');
  const steps = [["said", "Nothing is paid before you sign"]];
  const isWanted = process.env.TOLLWAY_PICTURES === "1" || !existsSync(PICTURE);
  if (isWanted) {
    mkdirSync(dirname(PICTURE), { recursive: true });
    steps.push(["picture", PICTURE]);
  }
  const flags = ["--config", config, "--public-url", "https://weather.example"];
  const { seen } = await opened(test, { steps, dark: true }, { flags });
  assert.equal(seen.paper, "rgb(15, 18, 22)");
  for (const said of ["Example Weather", "The weather of a city, hour by hour"]) assert.ok(seen.tree.includes(said), seen.tree);
  assert.ok(statSync(PICTURE).size <= MOST_PICTURE_BYTES, "the picture is too large for a document");
}

const inBrowser = (each) => ({ ...each, browser: true });
const once = (each) => ({ ...each, chains: ["devnet"] });

export const cases = [
  tollwayCase("paywall-eip3009", eip3009),
  tollwayCase("paywall-permit2", permit2),
  ...[
    tollwayCase("paywall-wrong-network", wrongNetwork),
    tollwayCase("paywall-stays-elsewhere", staysElsewhere),
    tollwayCase("paywall-insufficient", insufficient),
    tollwayCase("paywall-declined", declined),
    tollwayCase("paywall-keyboard", keyboard),
    tollwayCase("paywall-answer-lost", open("cut", "The answer did not arrive")),
    tollwayCase("paywall-outcome-open", open("pending", "The outcome is not known yet.")),
    tollwayCase("paywall-pending", pending),
    tollwayCase("paywall-forgotten", forgotten),
    tollwayCase("paywall-forgotten-for-good", forgottenForGood),
    tollwayCase("paywall-refused-at-once", refusedAtOnce),
    tollwayCase("paywall-redirected", redirected),
    tollwayCase("paywall-redirected-oddly", redirectedOddly),
    tollwayCase("paywall-framed", framed),
    tollwayCase("paywall-dark", dark),
  ].map(once),
].map(inBrowser);
