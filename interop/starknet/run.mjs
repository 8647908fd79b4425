// starknet.js as an independent signer: what it hashes and signs, our gate and our facilitator settle, and what we
// sign, it verifies; and an account's whole life, from declaring its class to the end of its sessions.
//   node run.mjs      needs tests/starknet/build-node.sh and cargo build -p tollway
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
if (!existsSync(new URL("node_modules/starknet", import.meta.url))) {
  execFileSync("npm", ["ci", "--no-audit", "--no-fund", "--loglevel=error"], { cwd: here, stdio: "inherit" });
}
const { config } = await import("starknet");
// A fresh node has no blocks yet to learn tips from, and every transaction here has its own bounds.
config.set("logLevel", "ERROR");
const { close, open } = await import("./lib/town.mjs");
const suites = await Promise.all(["gate", "facilitator", "life"].map((name) => import(`./cases/${name}.mjs`)));
const cases = suites.flatMap((suite) => Object.entries(suite.cases));

let [passed, failed] = [0, 0];
try {
  const town = await open();
  for (const [name, test] of cases) {
    const began = performance.now();
    try {
      await test(town);
      passed += 1;
      console.log(`ok    ${name}  ${Math.round(performance.now() - began)} ms`);
    } catch (error) {
      failed += 1;
      console.log(`FAIL  ${name}\n${error.stack}`);
    }
  }
} finally {
  close();
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
