// Finds browser wallets (EIP-6963), asks the chosen one for the permission
// (ERC-7715), and gives its answer to the program that served this page.
"use strict";

const found = new Map();
let request;

const say = (text) => {
  document.getElementById("said").textContent = text;
};

/** What went wrong, for the program: a wallet's own words are cut, they are only shown. */
const failed = (code, error) => ({ error: { code, message: String(error?.message ?? error ?? "").slice(0, 300) } });

async function answer(body) {
  const headers = { "content-type": "application/json" };
  const response = await fetch("answer", { method: "POST", headers, body: JSON.stringify(body) });
  const { message } = await response.json();
  document.getElementById("wallets").hidden = true;
  say(message);
}

/** Whether the wallet says that it grants such permissions, with such rules, on this chain. */
function supports(supported, { chainId, permission, rules }) {
  const kind = supported?.[permission.type];
  const chains = (kind?.chainIds ?? []).map((id) => Number(BigInt(id)));
  const known = kind?.ruleTypes ?? [];
  return chains.includes(Number(BigInt(chainId))) && rules.every(({ type }) => known.includes(type));
}

async function grant(provider, params) {
  try {
    const supported = await provider.request({ method: "wallet_getSupportedExecutionPermissions", params: [] });
    if (!supports(supported, params)) return failed("unsupported", JSON.stringify(supported));
  } catch (error) {
    return failed(error?.code === 4001 ? "denied" : "unsupported", error);
  }
  try {
    return { granted: await provider.request({ method: "wallet_requestExecutionPermissions", params: [params] }) };
  } catch (error) {
    return failed(error?.code === 4001 ? "denied" : "failed", error);
  }
}

async function revoke(provider, params) {
  try {
    await provider.request({ method: "wallet_revokeExecutionPermission", params });
    return { revoked: true };
  } catch (error) {
    return failed({ 4001: "denied", 4200: "unsupported", "-32601": "unsupported" }[error?.code] ?? "failed", error);
  }
}

async function ask(provider) {
  say("Waiting for the wallet …");
  const asks = request.kind === "revoke" ? revoke : grant;
  return answer(await asks(provider, request.params));
}

function show({ info, provider }) {
  if (!info?.uuid || found.has(info.uuid) || found.size >= 32) return;
  found.set(info.uuid, provider);
  const button = document.createElement("button");
  button.textContent = String(info.name).slice(0, 60);
  button.addEventListener("click", () => {
    for (const each of document.querySelectorAll("button")) each.disabled = true;
    ask(provider).catch((error) => say(`The answer could not be handed over: ${error.message}`));
  });
  const wallets = document.getElementById("wallets");
  wallets.append(button);
  wallets.hidden = false;
  say("Nothing was asked yet.");
}

async function start() {
  const { wish, ...rest } = await (await fetch("request")).json();
  request = rest.request;
  if (request.kind === "revoke") document.querySelector("h1").textContent = document.title = "Revoke a permission";
  const list = document.getElementById("wish");
  for (const [name, value] of wish) {
    const [term, description] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = name;
    description.textContent = value;
    list.append(term, description);
  }
  addEventListener("eip6963:announceProvider", (event) => show(event.detail));
  dispatchEvent(new Event("eip6963:requestProvider"));
  setTimeout(() => {
    if (found.size === 0) say("There is no wallet in this browser that says so (EIP-6963). Open this page in the browser that has yours.");
  }, 3000);
}

start().catch((error) => say(`This page cannot ask for anything: ${error.message}`));
