"use strict";
(() => {
const PERMIT2 = "0x000000000022D473030F116dDEE9F6B43aC78BA3";
const PROXY = "0x402085c248EeA27D92E8b30b2C58ed07f9E20001";
const KEPT = `tollway ${location.pathname}${location.search}`;
const MOST_SHOWN = 200000;
const HEADERS = { Accept: "text/html,application/json;q=0.9,*/*;q=0.8", "Tollway-Page": "1" };
// From the end of a payment's time until no clock has it before that.
const MARGIN = 60;

const at = (id) => document.getElementById(id);
const sold = JSON.parse(at("sold").textContent);
// The seller's clock: a payment's deadline is read by it.
const ahead = sold.now - Date.now() / 1000;
const now = () => Math.floor(Date.now() / 1000 + ahead);
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/** What went wrong, in words for the person who pays. */
class Stop extends Error {}

function say(text, bad = false) {
  at("said").className = bad ? "bad" : "";
  at("said").textContent = text;
}

function make(tag, fields = {}, ...within) {
  const element = Object.assign(document.createElement(tag), fields);
  element.append(...within);
  return element;
}

// One thing at a time; a button keeps the focus while it works.
let busy = false;
async function work(deed) {
  if (busy) return;
  const buttons = document.querySelectorAll("button");
  const mark = (value) => buttons.forEach((button) => button.setAttribute("aria-disabled", value));
  busy = true;
  mark("true");
  try {
    await deed();
  } catch (error) {
    if (error instanceof Stop) say(error.message, true);
    else if (error?.code === 4001) say("You declined in the wallet. Nothing was paid.", true);
    else say(`That did not work: ${String(error?.message ?? error).slice(0, 200)}.${at("buy").hidden ? "" : " Nothing was paid."}`, true);
  }
  busy = false;
  mark("false");
}

/** Offers one deed beside the wallets, or none. */
function offer(text, deed) {
  at("next").hidden = !deed;
  if (!deed) return;
  at("deed").textContent = text;
  at("deed").onclick = () => work(deed);
  at("deed").focus();
}

// ---- the wallet

const word = (hex) => hex.replace(/^0x/, "").toLowerCase().padStart(64, "0");

/** A number that a contract tells, or none where the wallet cannot ask. */
async function told(wallet, to, data) {
  try {
    return BigInt(await wallet.request({ method: "eth_call", params: [{ to, data }, "latest"] }));
  } catch {
    return null;
  }
}

function inUnits(atomic, { decimals, symbol }) {
  const digits = atomic.toString().padStart(decimals + 1, "0");
  const whole = digits.slice(0, digits.length - decimals);
  const part = digits.slice(digits.length - decimals).replace(/0+$/, "");
  return `${whole}${part && `.${part}`} ${symbol}`;
}

async function isOn(wallet, chain) {
  return BigInt(await wallet.request({ method: "eth_chainId" })) === BigInt(chain.id);
}

/** Brings the wallet to the network, which it may have to learn first. */
async function goTo(wallet, chain) {
  if (await isOn(wallet, chain)) return;
  const chainId = `0x${BigInt(chain.id).toString(16)}`;
  say(`Your wallet is on another network. Let it change to ${chain.name} …`);
  try {
    await wallet.request({ method: "wallet_switchEthereumChain", params: [{ chainId }] });
  } catch (error) {
    const code = error?.data?.originalError?.code ?? error?.code;
    if (code === 4001) throw new Stop(`Your wallet stayed on another network, and this is paid on ${chain.name}. Nothing was paid.`);
    if (code !== 4902 || !chain.add) throw new Stop(`Your wallet does not know ${chain.name}. Add that network to it, then pay. Nothing was paid.`);
    await wallet.request({ method: "wallet_addEthereumChain", params: [{ chainId, ...chain.add }] });
  }
  if (!(await isOn(wallet, chain))) throw new Stop(`Your wallet is still on another network. Change it to ${chain.name}, then pay. Nothing was paid.`);
}

const random = () => `0x${[...crypto.getRandomValues(new Uint8Array(32))].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;

const fields = (text) => text.split(",").map((each) => ({ type: each.split(" ")[0], name: each.split(" ")[1] }));

async function sign(wallet, from, data) {
  const types = Object.fromEntries(Object.entries(data.types).map(([name, text]) => [name, fields(text)]));
  const signature = await wallet.request({ method: "eth_signTypedData_v4", params: [from, JSON.stringify({ ...data, types })] });
  // Some wallets number the two curve points 0 and 1.
  return /^0x[0-9a-f]{128}0[01]$/i.test(signature) ? signature.slice(0, -2) + (27 + Number(signature.slice(-2))).toString(16) : signature;
}

async function authorization(wallet, from, { terms, chain }) {
  const message = { from, to: terms.payTo, value: terms.amount, validAfter: "0", validBefore: String(now() + terms.maxTimeoutSeconds), nonce: random() };
  const signature = await sign(wallet, from, {
    domain: { name: terms.extra.name, version: terms.extra.version, chainId: chain.id, verifyingContract: terms.asset },
    primaryType: "TransferWithAuthorization",
    types: {
      EIP712Domain: "string name,string version,uint256 chainId,address verifyingContract",
      TransferWithAuthorization: "address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce",
    },
    message,
  });
  return { signature, authorization: message };
}

async function permit(wallet, from, { terms, chain }) {
  const message = {
    permitted: { token: terms.asset, amount: terms.amount },
    spender: PROXY,
    nonce: BigInt(random()).toString(),
    deadline: String(now() + terms.maxTimeoutSeconds),
    witness: { to: terms.payTo, validAfter: "0" },
  };
  const signature = await sign(wallet, from, {
    domain: { name: "Permit2", chainId: chain.id, verifyingContract: PERMIT2 },
    primaryType: "PermitWitnessTransferFrom",
    types: {
      EIP712Domain: "string name,uint256 chainId,address verifyingContract",
      PermitWitnessTransferFrom: "TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,Witness witness",
      TokenPermissions: "address token,uint256 amount",
      Witness: "address to,uint256 validAfter",
    },
    message,
  });
  return { signature, permit2Authorization: { from, ...message } };
}

// ---- paying

function chosen() {
  const marked = document.querySelector("input[name=offer]:checked");
  return sold.offers[marked ? Number(marked.value) : 0];
}

async function pay(wallet, settled) {
  const way = chosen();
  offer();
  say("Let your wallet say which account pays …");
  const [from] = await wallet.request({ method: "eth_requestAccounts" });
  if (!from) throw new Stop("Your wallet named no account. Nothing was paid.");
  await goTo(wallet, way.chain);
  const price = BigInt(way.terms.amount);
  const held = await told(wallet, way.terms.asset, `0x70a08231${word(from)}`);
  if (held !== null && held < price) throw new Stop(`Not enough money: ${from} holds ${inUnits(held, way)} on ${way.chain.name}, and this costs ${inUnits(price, way)}. Nothing was paid.`);
  if (way.method === "permit2" && !settled) {
    const allowed = await told(wallet, way.terms.asset, `0xdd62ed3e${word(from)}${word(PERMIT2)}`);
    if (allowed !== null && allowed < price) return askAllowance(wallet, from, way);
  }
  say(`Sign in your wallet: ${way.words}. Signing costs no gas …`);
  const payload = await (way.method === "permit2" ? permit : authorization)(wallet, from, way);
  const extensions = structuredClone(sold.extensions);
  if (extensions["payment-identifier"]) extensions["payment-identifier"].info.id = `pay_${random().slice(2, 34)}`;
  const payment = { x402Version: 2, resource: sold.resource, accepted: way.terms, payload, extensions };
  const text = String.fromCharCode(...new TextEncoder().encode(JSON.stringify(payment)));
  return present({ payment: btoa(text), explorer: way.chain.explorer, until: now() + way.terms.maxTimeoutSeconds });
}

/** Permit2 may not move the token yet: one transaction of the payer's own changes that. */
function askAllowance(wallet, from, way) {
  const price = BigInt(way.terms.amount);
  say(`Permit2, the contract that makes this payment, may not move your ${way.symbol} yet. Allow it ${inUnits(price, way)} first: a transaction of your own, which costs gas.`, true);
  offer(`Allow Permit2 ${inUnits(price, way)}`, async () => {
    say("Confirm the transaction in your wallet …");
    const data = `0x095ea7b3${word(PERMIT2)}${word(price.toString(16))}`;
    const hash = await wallet.request({ method: "eth_sendTransaction", params: [{ from, to: way.terms.asset, data }] });
    say("Waiting until the transaction is in a block …");
    for (let turn = 0; turn < 180; turn += 1) {
      const receipt = await wallet.request({ method: "eth_getTransactionReceipt", params: [hash] });
      if (receipt?.status && BigInt(receipt.status) !== 1n) throw new Stop("The transaction failed, so Permit2 may still not move your money. Nothing was paid.");
      if (receipt) return pay(wallet, true);
      await pause(1000);
    }
    throw new Stop("The transaction is in no block yet. Wait until your wallet shows it as done, then pay.");
  });
}

// ---- what became of it

function keep(kept) {
  try {
    if (kept) sessionStorage.setItem(KEPT, JSON.stringify(kept));
    else sessionStorage.removeItem(KEPT);
  } catch {
    // A browser that stores nothing loses it with the page only.
  }
}

function decoded(header) {
  try {
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(header), (each) => each.charCodeAt(0))));
  } catch {
    return null;
  }
}

/** Shows a signed payment. Until its end is certain it is the only one that is ever shown. */
async function present(kept) {
  const isFirst = !kept.shown;
  kept.shown = true;
  keep(kept);
  at("buy").hidden = true;
  offer();
  say("Paying …");
  let answer, receipt, goods;
  try {
    answer = await fetch(location.href, { headers: { ...HEADERS, "PAYMENT-SIGNATURE": kept.payment }, cache: "no-store" });
    receipt = decoded(answer.headers.get("PAYMENT-RESPONSE"));
    goods = await answer.blob();
  } catch {
    return wait(kept, receipt, "The answer did not arrive, so it is not known whether this is paid.");
  }
  if (receipt?.success || answer.ok) return deliver(kept, isFirst, answer, receipt, goods);
  const said = await goods.text().then(JSON.parse).catch(() => ({}));
  const hasTerms = answer.headers.has("PAYMENT-REQUIRED");
  const isOpen = answer.status >= 500 || [408, 425, 429].includes(answer.status) || (answer.status === 402 && !hasTerms && receipt?.errorReason !== "duplicate_settlement");
  if (isOpen) return wait(kept, receipt, said.message ?? "It is not known yet whether this is paid.");
  const why = said.message ?? `The server answered ${answer.status}.`;
  // Who knows nothing of a payment that was shown before may have forgotten it.
  const isForgotten = !isFirst && !receipt;
  const end = kept.until + MARGIN;
  if (isForgotten && !kept.paid && now() < end) return wait(kept, receipt, `${why} You showed this payment before: until ${new Date((end - ahead) * 1000).toLocaleTimeString()} it may still be taken.`);
  if (!kept.paid) keep();
  at("buy").hidden = false;
  say(`${why} ${whatIsCertain(kept, isForgotten, receipt)}`.trim(), true);
  at("wallets").querySelector("button")?.focus();
}

/** What a person may rely on after a refusal, before anything is signed anew. */
function whatIsCertain(kept, isForgotten, receipt) {
  if (receipt?.transaction || receipt?.errorReason === "duplicate_settlement") return "";
  if (kept.paid) return "You paid for this before: ask the seller for it.";
  return isForgotten ? "The payment that you showed before can no longer be taken. If your wallet shows that it was, ask the seller before you pay again." : "Nothing was paid.";
}

/** The outcome is open: the same payment is shown again, and nothing else is signed. */
function wait(kept, receipt, why) {
  at("buy").hidden = true;
  say(`${why} Ask again with the same payment; it is never taken twice.`, true);
  showReceipt(kept, receipt, "Under way");
  offer("Ask again with the same payment", () => present(kept));
}

function showReceipt(kept, receipt, state) {
  const rows = [];
  const hash = receipt?.transaction;
  if (typeof hash === "string" && /^0x[0-9a-f]{64}$/i.test(hash)) {
    const link = kept.explorer && { href: kept.explorer + hash, target: "_blank", rel: "noopener noreferrer" };
    rows.push(["Transaction", link ? make("a", link, hash) : hash]);
  }
  if (receipt?.payer) rows.push(["From", String(receipt.payer)]);
  at("paid").textContent = state;
  at("receipt").replaceChildren(...rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
  at("goods").hidden = rows.length === 0;
}

const ENDINGS = { "text/html": "html", "application/json": "json", "text/plain": "txt", "text/csv": "csv", "application/pdf": "pdf" };

function fileName(type) {
  const last = location.pathname.split("/").pop() || "answer";
  return last.includes(".") ? last : `${last}.${ENDINGS[type] ?? "bin"}`;
}

async function deliver(kept, isFirst, answer, receipt, goods) {
  if (receipt?.success) keep({ ...kept, paid: true });
  else if (isFirst) keep();
  at("other").hidden = true;
  document.querySelector("main").classList.add("wide");
  showReceipt(kept, receipt, receipt?.success ? "Paid" : "Delivered");
  at("goods").hidden = false;
  const type = (answer.headers.get("Content-Type") ?? "").split(";")[0].trim().toLowerCase();
  const pass = answer.headers.get("Tollway-Pass");
  if (pass) at("receipt").append(make("dt", {}, "Access token"), make("dd", {}, pass));
  const isElsewhere = answer.headers.get("Tollway-Page") === "location";
  at("shown").replaceChildren(...(isElsewhere ? [led(JSON.parse(await goods.text()).location)] : [await shown(type, goods), saved(type, goods)].filter(Boolean)));
  const how = receipt?.success ? "Paid" : "Nothing was asked for";
  say(answer.ok ? `${how}. Here it is.` : `${how}, and the server answered ${answer.status}.`, !answer.ok);
  at("paid").focus();
}

/** Never opened as a page of the seller's. */
function saved(type, goods) {
  const href = URL.createObjectURL(new Blob([goods], { type: "application/octet-stream" }));
  return make("p", {}, make("a", { className: "save", href, download: fileName(type) }, "Save it"));
}

/** Where the answer leads: opened by the person only, and never where it would run here. */
function led(place) {
  const url = URL.canParse(place, location.href) ? new URL(place, location.href) : null;
  const isWeb = /^https?:$/.test(url?.protocol);
  return make("p", {}, "It is at ", isWeb ? make("a", { href: url.href, target: "_blank", rel: "noopener noreferrer" }, url.href) : place);
}

/** A view in which nothing of it can run, where there is one. */
async function shown(type, goods) {
  if (/^image\/(png|jpeg|gif|webp|avif|svg\+xml)$/.test(type)) return make("img", { src: URL.createObjectURL(goods), alt: "What you paid for" });
  if (goods.size > MOST_SHOWN) return null;
  if (type === "text/html") {
    const frame = make("iframe", { title: "What you paid for" });
    frame.setAttribute("sandbox", "");
    frame.srcdoc = await goods.text();
    return frame;
  }
  const isText = type.startsWith("text/") || /[/+](json|xml|yaml)$/.test(type);
  return isText ? make("pre", { tabIndex: 0 }, await goods.text()) : null;
}

// ---- the start

const found = new Map();
function add({ uuid, name, icon }, wallet) {
  if (!sold.offers.length || !wallet || !uuid || found.has(uuid) || found.size >= 16) return;
  const button = make("button", { type: "button", onclick: () => work(() => pay(wallet)) });
  if (/^data:image\//.test(icon)) button.append(make("img", { src: icon, alt: "" }));
  button.append(`Pay with ${String(name).slice(0, 40)}`);
  if (!found.size && !busy && !at("buy").hidden && at("next").hidden) say("Nothing is paid before you sign in your wallet.");
  found.set(uuid, wallet);
  at("wallets").append(button);
}

addEventListener("eip6963:announceProvider", ({ detail }) => add(detail?.info ?? {}, detail?.provider));
at("copy").onclick = async () => {
  const text = at("command").textContent;
  try {
    await navigator.clipboard.writeText(text);
    say("Copied.");
  } catch {
    getSelection().selectAllChildren(at("command"));
    say("Press Ctrl+C to copy the command.");
  }
};

let kept = null;
try {
  kept = JSON.parse(sessionStorage.getItem(KEPT));
} catch {
  // Nothing was kept.
}
if (kept?.paid) {
  say("You paid for this in this tab. It is shown again without another payment.");
  offer("Show it again", () => present(kept));
} else if (kept?.payment) {
  wait(kept, null, "A payment of yours for this is under way.");
}
dispatchEvent(new Event("eip6963:requestProvider"));
setTimeout(() => {
  if (!found.size && window.ethereum) add({ uuid: "injected", name: "the wallet of this browser" }, window.ethereum);
  if (!found.size && !kept && sold.offers.length) say("No wallet was found in this browser. Open this page where your wallet is, or use the command below.");
}, 1000);
})();
