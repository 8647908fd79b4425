// One run of one case: its chain, its working directory, its processes.
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { generatePrivateKey, privateKeyToAddress } from "viem/accounts";
import { price } from "./networks.mjs";
import { axiom, project, python, root } from "./paths.mjs";
import { Process } from "./process.mjs";
import { Tollway, weatherBinary } from "./tollway.mjs";

const CLIENT_TIMEOUT_MS = 45_000;
const directories = new Set();

/** What a run that was cut short leaves in the temporary folder. */
process.on("exit", () => {
  for (const directory of directories) rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
});

/** The line of a failed program that names the error: JavaScript's is followed by the stack, Python's is the last. */
function reason(stderr) {
  const lines = stderr.trim().split("\n");
  return lines.findLast((line) => /(Error|Exception)( \[\w+\])?: /.test(line)) ?? lines.at(-1);
}

export class Test {
  constructor(chain) {
    this.chain = chain;
    this.network = chain.network;
    this.directory = mkdtempSync(join(tmpdir(), "tollway-interop-"));
    directories.add(this.directory);
    this.processes = [];
    /** Figures that are worth a line of the report. */
    this.notes = [];
    /** What only a paid answer contains. */
    this.secret = randomBytes(16).toString("hex");
    /** An address that nothing else of the run pays. */
    this.payTo = privateKeyToAddress(generatePrivateKey());
    this.tollway = new Tollway(this);
  }

  note(text) {
    this.notes.push(text);
  }

  /** Registers a process with this case, which will stop it. */
  own(process) {
    this.processes.push(process);
    return process;
  }

  #script(kind, name, options) {
    const path = join(root, kind, name);
    const command = name.endsWith(".py") ? python(options.venv ?? "x402") : process.execPath;
    return this.own(new Process(`${kind}/${name}`, command, [path], { env: { INTEROP: JSON.stringify(options) } }));
  }

  /** Starts servers/NAME; `handled()` counts the requests that reached its handler. */
  async server(name, options = {}) {
    const server = this.#script("servers", name, { secret: this.secret, price: price.text, payTo: this.payTo, ...options });
    const url = await server.ready();
    return { url, process: server, handled: () => server.stdout.split("\n").filter((line) => line === "handled").length };
  }

  /** Starts the weather service of the examples; `told()` counts whom it told the weather. */
  async weather() {
    const server = this.own(new Process("weather", weatherBinary(), ["127.0.0.1:0"]));
    const url = await server.ready();
    return { url, told: () => server.stdout.split("\n").filter((line) => line.startsWith("told the weather")).length };
  }

  /** The facilitator made of the official code. */
  async officialFacilitator() {
    const signer = await this.chain.signer();
    const { chainId, caip2 } = this.network;
    return this.server("facilitator.mjs", { rpcUrl: this.chain.url, chainId, network: caip2, key: signer.key });
  }

  /** Runs clients/NAME to its end and returns the outcome it reported. */
  async client(name, options) {
    const client = this.#script("clients", name, options);
    const { code, stdout, stderr } = await client.result(CLIENT_TIMEOUT_MS);
    if (code !== 0) throw new Error(`${client.name} ended with ${code}: ${reason(stderr)}`);
    return JSON.parse(stdout);
  }

  /** Runs the AxiomKit agent to its end and returns what it saw. */
  async axiomAgent(options) {
    const env = { INTEROP: JSON.stringify(options), NODE_NO_WARNINGS: "1" };
    const agent = this.own(new Process("axiom/buyer.mjs", process.execPath, [join(axiom, "buyer.mjs")], { env }));
    const { code, stdout, stderr } = await agent.result(CLIENT_TIMEOUT_MS);
    if (code !== 0) throw new Error(`${agent.name} ended with ${code}: ${reason(stderr)}`);
    return JSON.parse(stdout);
  }

  /** Runs a program of examples/, which is built where it is missing. */
  async example(name, args) {
    const path = join(project, "target", "debug", name);
    const cargo = ["run", "--quiet", "--locked", "-p", "tollway-examples", "--bin", name, "--"];
    const [command, before] = existsSync(path) ? [path, []] : ["cargo", cargo];
    const program = this.own(new Process(`examples/${name}`, command, [...before, ...args], { cwd: project }));
    return program.result(CLIENT_TIMEOUT_MS);
  }

  /** Stops everything; a Tollway server that does not end cleanly on SIGTERM is an error. */
  async end() {
    const serving = this.processes.filter((process) => !process.exit);
    const clean = await Promise.all(serving.map((process) => process.stop()));
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 5 });
    directories.delete(this.directory);
    const dirty = serving.filter((process, index) => !clean[index] && process.name.startsWith("tollway "));
    if (dirty.length > 0) throw new Error(`did not end cleanly on SIGTERM: ${dirty.map(({ name }) => name).join(", ")}`);
  }
}
