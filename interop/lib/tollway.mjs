// Tollway's own programs, started through the command line only.
import { execFileSync } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { price } from "./networks.mjs";
import { project } from "./paths.mjs";
import { Process } from "./process.mjs";

const PAY_TIMEOUT_MS = 60_000;

/** TOLLWAY_BIN, or the debug build of this workspace. */
export function tollwayBinary() {
  return process.env.TOLLWAY_BIN ? resolve(process.env.TOLLWAY_BIN) : join(project, "target", "debug", "tollway");
}

/** The weather service of the examples, which knows nothing of payments: WEATHER_BIN, or the debug build. */
export function weatherBinary() {
  return process.env.WEATHER_BIN ? resolve(process.env.WEATHER_BIN) : join(project, "target", "debug", "weather");
}

function build(what, ...target) {
  console.log(`building ${what} …`);
  execFileSync("cargo", ["build", "--quiet", ...target], { cwd: project, stdio: ["ignore", "inherit", "inherit"] });
}

/** Builds the default binaries if they are not there yet. */
export function ensureTollway() {
  for (const [variable, path, ...target] of [
    ["TOLLWAY_BIN", tollwayBinary(), "-p", "tollway"],
    ["WEATHER_BIN", weatherBinary(), "-p", "tollway-examples", "--bin", "weather"],
  ]) {
    if (existsSync(path)) continue;
    if (process.env[variable]) throw new Error(`${variable} is ${path}, which does not exist`);
    build(path.split("/").at(-1), ...target);
  }
}

let files = 0;

/** Writes a key as the programs want it: hex, readable by the owner alone. */
export function keyFile(directory, key) {
  const path = join(directory, `key-${(files += 1)}`);
  writeFileSync(path, `${key}\n`, { mode: 0o600 });
  return path;
}

/** The Tollway roles of one case: each start is registered with the case, which stops it. */
export class Tollway {
  constructor(test) {
    this.test = test;
  }

  #start(name, args, env = {}) {
    return this.test.own(new Process(`tollway ${name}`, tollwayBinary(), [name, ...args], { cwd: this.test.directory, env }));
  }

  #ledger(name) {
    return ["--ledger", `sqlite:${join(this.test.directory, `${name}-${(files += 1)}.db`)}`];
  }

  #network(node = this.test.chain.url) {
    return ["--network", `${this.test.chain.network.caip2}=${node}`];
  }

  /** An account without rights that deploys what these factories make, and its flags. */
  async helper(...factories) {
    const { key, address } = await this.test.chain.signer();
    const flags = ["--max-help-per-day", "1", "--helper-key-file", keyFile(this.test.directory, key), ...factories.flatMap((factory) => ["--wallet-factory", factory])];
    return { address, flags };
  }

  /** `like` is one that ran before: the same account and record. */
  async facilitator({ flags = [], node, like } = {}) {
    const signer = like?.signer ?? (await this.test.chain.signer());
    const ledger = like?.ledger ?? this.#ledger("facilitator");
    const args = ["--listen", "127.0.0.1:0", ...this.#network(node), "--signer-key-file", keyFile(this.test.directory, signer.key)];
    // Official servers send no key, and their charges are taken all the same.
    args.push("--open-upto");
    const server = this.#start("facilitator", [...args, ...flags, ...ledger]);
    return { url: await server.ready(), signer, ledger, process: server };
  }

  /** A gate in front of `upstream`; with no facilitator URL it settles by itself. `terms` is what follows a route's price. */
  async gate({ upstream, payTo, route = "GET /paid/*", amount = price.text, terms = "", settle = "after", facilitator = "local", flags = [] }) {
    const args = ["--listen", "127.0.0.1:0", "--upstream", upstream, "--route", `${route}=${amount}${terms}`];
    const ledger = this.#ledger("gate");
    args.push("--pay-to", payTo, "--settle", settle, "--facilitator", facilitator, ...this.#network(), ...ledger, ...flags);
    if (/methods=.*(?<!unsigned-)txid/.test(terms)) args.push("--proof-key-file", join(this.test.directory, "proof.keys"));
    if (terms.includes("pass=")) args.push("--token-key-file", join(this.test.directory, "token.keys"));
    if (facilitator === "local") {
      const signer = await this.test.chain.signer();
      args.push("--signer-key-file", keyFile(this.test.directory, signer.key));
    }
    const server = this.#start("gate", args);
    return { url: await server.ready(), process: server, ledger };
  }

  /** `tollway mcp-gate` before a program that serves tools; it settles by itself. */
  async mcpGate({ payTo, tools, command, env }) {
    const signer = await this.test.chain.signer();
    const args = ["--listen", "127.0.0.1:0", "--pay-to", payTo, "--facilitator", "local", ...this.#network()];
    args.push("--signer-key-file", keyFile(this.test.directory, signer.key), ...this.#ledger("gate"));
    args.push(...tools.flatMap((tool) => ["--tool", tool]), "--", ...command);
    const server = this.#start("mcp-gate", args, env);
    return { url: `${await server.ready()}/mcp`, process: server };
  }

  /** `tollway ledger VERB …` of a ledger's flags, to its end: what it printed. */
  async ledger(verb, ledger, ...args) {
    const { code, stdout, stderr } = await this.#start("ledger", [verb, ...ledger, ...args]).result(PAY_TIMEOUT_MS);
    if (code !== 0) throw new Error(`ledger ${verb} ended with ${code}: ${stderr}${stdout}`);
    return stdout;
  }

  /** `tollway pay URL`: its exit code, and what a shell would see on stdout and stderr. */
  async pay(url, { key, max = "0.02", flags = [], ledger = this.#ledger("payer") }) {
    const args = [url, "--max", max, "--key-file", keyFile(this.test.directory, key)];
    args.push(...this.#network(), ...ledger, ...flags);
    return this.#start("pay", args).result(PAY_TIMEOUT_MS);
  }

  /** Where this case's permissions and its payer's record live, and the passphrase of both. */
  #home() {
    const passphrase = join(this.test.directory, "passphrase");
    if (!existsSync(passphrase)) writeFileSync(passphrase, "open sesame\n", { mode: 0o600 });
    return { TOLLWAY_HOME: join(this.test.directory, "home"), TOLLWAY_PASSPHRASE_FILE: passphrase };
  }

  /** `tollway pay URL --permission NAME`, with one record for all payments of a case. */
  async payBy(permission, url, { max = "0.02", flags = [] } = {}) {
    const args = [url, "--max", max, "--permission", permission, ...this.#network(), ...flags];
    return this.#start("pay", args, this.#home()).result(PAY_TIMEOUT_MS);
  }

  /** `tollway permission VERB …`, to its end. */
  permission(verb, ...args) {
    return this.startPermission(verb, ...args).result(PAY_TIMEOUT_MS);
  }

  startPermission(verb, ...args) {
    return this.#start("permission", [verb, ...args], this.#home());
  }

  keyFlags(key, flag = "--key-file") {
    return [flag, keyFile(this.test.directory, key)];
  }

  get networkFlags() {
    return this.#network();
  }
}
