// A Starknet node with accounts of our class, a seller's server, and Tollway before it.
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Account, RpcProvider } from "starknet";

export const project = fileURLToPath(new URL("../../../", import.meta.url));
const built = join(homedir(), ".cache/tollway/starknet-devnet-0.10.1/bin/starknet-devnet");
const node = process.env.STARKNET_DEVNET ?? built;
export const tollway = process.env.TOLLWAY_BIN ?? join(project, "target/debug/tollway");

export const secret = "sunny, 24 degrees";
export const payee = "0x2dd1b492765c064eac4039e3841aa5f382773b598097a40073bd8b48170ab57";
// The node has no dollars: its ether stands in for them.
export const ether = "0x49d36570d4e46f48e99674bd3fcc84644ddd6b96f7c741b1562b82f9e004dc7";
export const price = 10n ** 16n;
export const asset = `USDC=${ether},18,starknet-sepolia`;
// The node's gas is dearer than a public network's.
export const maxFee = "40";

const children = [];
export const home = mkdtempSync(join(tmpdir(), "tollway-starknet-"));

function start(program, args, marker) {
  const env = { PATH: process.env.PATH, HOME: home, TOLLWAY_HOME: join(home, "tollway"), RUST_LOG: "info", NO_COLOR: "1" };
  const child = spawn(program, args, { cwd: home, env, stdio: ["ignore", "pipe", "pipe"] });
  children.push(child);
  return new Promise((resolve, reject) => {
    let text = "";
    const read = (chunk) => {
      text += chunk;
      const found = text.match(marker);
      if (found) resolve(found[1]);
    };
    child.stdout.on("data", read);
    child.stderr.on("data", read);
    child.on("error", reject);
    child.on("exit", (code) => reject(new Error(`${program} ended with ${code}: ${text.slice(-2000)}`)));
    setTimeout(() => reject(new Error(`${program} does not say where it listens: ${text.slice(-2000)}`)), 60_000).unref();
  });
}

function accountClass() {
  const { class: artifact } = JSON.parse(readFileSync(join(project, "contracts/cairo/artifacts/Account.json"), "utf8"));
  artifact.abi = JSON.parse(artifact.abi);
  artifact.sierra_program_debug_info = { type_names: [], libfunc_names: [], user_func_names: [] };
  const file = join(home, "class.json");
  writeFileSync(file, JSON.stringify(artifact));
  return file;
}

async function upstream() {
  const server = createServer((_, response) => response.end(secret)).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  server.unref();
  return `http://127.0.0.1:${server.address().port}`;
}

/** A file that only its owner may read. */
export function keyFile(name, key) {
  const file = join(home, name);
  writeFileSync(file, key, { mode: 0o600 });
  return file;
}

/** A node, and its accounts. */
export async function startNode(...more) {
  const flags = ["--seed", "0", "--accounts", "3", "--port", "0", "--state-archive-capacity", "full"];
  const address = await start(node, [...flags, ...more], /listening on (\S+)/);
  const nodeUrl = `http://${address.replace("http://", "")}/rpc`;
  const provider = new RpcProvider({ nodeUrl });
  const ask = async (method, params) => {
    const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
    const response = await fetch(nodeUrl, { method: "POST", headers: { "content-type": "application/json" }, body });
    return (await response.json()).result;
  };
  const accounts = await ask("devnet_getPredeployedAccounts", {});
  const account = ({ address, private_key: signer }) => new Account({ provider, address, signer });
  return { provider, ask, accounts, account, network: `starknet-sepolia=${nodeUrl}` };
}

const settling = ({ address, private_key: key }) => [
  "--starknet-account", `${address}=${keyFile(`${address}.key`, key)}`, "--starknet-max-fee", maxFee,
];

/** A gate in front of a seller's server, settling by itself. */
export async function startGate(place, executor) {
  const upstreamUrl = await upstream();
  const args = ["--listen", "127.0.0.1:0", "--upstream", upstreamUrl, "--route", "GET /paid/*=$0.01", "--pay-to", payee];
  args.push("--network", place.network, "--facilitator", "local", "--add-asset", asset, ...settling(executor));
  return start(tollway, ["gate", ...args, ...ledger("gate")], /listening on (http\S+)/);
}

/** A facilitator. */
export async function startFacilitator(place, executor) {
  const args = ["--listen", "127.0.0.1:0", "--network", place.network, "--add-asset", asset, ...settling(executor)];
  return start(tollway, ["facilitator", ...args, ...ledger("facilitator")], /listening on (http\S+)/);
}

let ledgers = 0;
const ledger = (name) => ["--ledger", `sqlite:${join(home, `${name}-${(ledgers += 1)}.db`)}`];

/** A node with accounts of our class, those as starknet.js knows them, and a gate and a facilitator. */
export async function open() {
  for (const [what, how] of [[node, "tests/starknet/build-node.sh"], [tollway, "cargo build -p tollway"]]) {
    if (!existsSync(what)) throw new Error(`${what} is missing; run ${how}`);
  }
  const place = await startNode("--account-class-custom", accountClass());
  const [payer, executor, settler] = place.accounts;
  const [gate, facilitator] = await Promise.all([startGate(place, executor), startFacilitator(place, settler)]);
  return { ...place, gate, facilitator, payer, account: place.account(payer) };
}

/** What the payee has. */
export async function earned(provider) {
  const balance = await provider.callContract({ contractAddress: ether, entrypoint: "balance_of", calldata: [payee] });
  return BigInt(balance[0]);
}

/** Runs the binary to its end; told apart by its exit code. */
export function run(args, env) {
  const child = spawn(tollway, args, { cwd: home, env: { PATH: process.env.PATH, HOME: home, TOLLWAY_HOME: join(home, "tollway"), ...env } });
  children.push(child);
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (chunk) => (stdout += chunk));
  child.stderr.on("data", (chunk) => (stderr += chunk));
  return new Promise((resolve) => child.on("close", (code) => resolve({ code, stdout, stderr })));
}

export function close() {
  for (const child of children) {
    child.removeAllListeners("exit");
    child.kill();
  }
  rmSync(home, { recursive: true, force: true });
}
