// Other people's x402 programs against Tollway, in one command:
//   node run.mjs [--list] [--only TEXT]... [--baseline] [--jobs N]
import { parseArgs } from "node:util";
import { install } from "./lib/install.mjs";

const USAGE = `usage: node run.mjs [--list] [--only TEXT]... [--baseline] [--jobs N]
  --list       print the names of the cases and end
  --only TEXT  run the cases whose name contains TEXT (repeatable)
  --baseline   run only the cases that need no tollway binary
  --jobs N     cases at a time (default 6)
The binary is $TOLLWAY_BIN, or ../target/debug/tollway.`;

function options() {
  const { values } = parseArgs({
    options: {
      help: { type: "boolean" },
      list: { type: "boolean" },
      baseline: { type: "boolean" },
      only: { type: "string", multiple: true },
      jobs: { type: "string", default: "6" },
    },
  });
  if (!(Number(values.jobs) >= 1)) throw new Error(`--jobs wants a number of at least 1, not ${values.jobs}`);
  return values;
}

async function selected({ only, baseline }) {
  const { cases } = await import("./cases/all.mjs");
  const { expand } = await import("./lib/runner.mjs");
  return expand(cases).filter(
    (run) => (!baseline || run.baseline) && (!only || only.some((text) => run.id.includes(text))),
  );
}

async function main() {
  const values = options();
  if (values.help) return console.log(USAGE);
  await install();
  const runs = await selected(values);
  if (values.list) return runs.forEach(({ id }) => console.log(id));
  if (runs.length === 0) throw new Error("no case has such a name; see --list");
  if (runs.some((run) => !run.baseline)) (await import("./lib/tollway.mjs")).ensureTollway();
  if (runs.some((run) => run.alloy)) (await import("./lib/alloy.mjs")).ensureAlloy();
  if (runs.some((run) => run.browser)) (await import("./lib/browser.mjs")).ensureBrowser();
  const { runAll } = await import("./lib/runner.mjs");
  const { passed, failed } = await runAll(runs, { jobs: Number(values.jobs) });
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = failed === 0 ? 0 : 1;
}

main().catch((error) => {
  console.error(`${error.message}\n${USAGE}`);
  process.exitCode = 1;
});
