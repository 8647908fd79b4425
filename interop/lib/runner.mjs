// Runs the selected cases, a few at a time, each with a time limit, and prints
// one line a case. The last lines of every process involved explain a failure.
import { Chain } from "./chain.mjs";
import { isEnding } from "./process.mjs";
import { Test } from "./test.mjs";

const CASE_TIMEOUT_MS = 90_000;
const TAIL_LINES = 40;

/** Every case on every chain and network it names. `baseline` is true for runs that need nothing of Tollway. */
export function expand(cases) {
  const runs = (each, kind) =>
    each.networks.map((network) => ({
      run: each.run,
      kind,
      network,
      browser: each.browser ?? false,
      alloy: each.alloy ?? false,
      id: `${each.name}/${kind}/${network}`,
      baseline: each.baseline && kind === "anvil",
    }));
  return cases.flatMap((each) => each.chains.flatMap((kind) => runs(each, kind)));
}

class Chains {
  #started = new Map();

  get(kind, network) {
    const key = `${kind} ${network}`;
    if (!this.#started.has(key)) this.#started.set(key, Chain.start(kind, network));
    return this.#started.get(key);
  }

  async stop() {
    const chains = await Promise.allSettled(this.#started.values());
    await Promise.all(chains.map(({ value }) => value?.stop()));
  }
}

function withTimeout(promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`the case did not end within ${CASE_TIMEOUT_MS} ms`)), CASE_TIMEOUT_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

function report(run, error, { processes, notes }, ms) {
  if (!error) {
    console.log(`ok    ${run.id}  ${ms} ms`);
    for (const note of notes) console.log(`      ${note}`);
    return;
  }
  console.log(`FAIL  ${run.id}  ${ms} ms\n${error.stack ?? error}`);
  for (const process of processes) {
    console.log(`--- ${process.name}${process.exit ? ` (exit ${process.exit.code ?? process.exit.signal})` : ""}`);
    for (const line of process.tail(TAIL_LINES)) console.log(line);
  }
}

async function runOne(run, chains) {
  const started = performance.now();
  let test;
  let error;
  try {
    test = new Test(await chains.get(run.kind, run.network));
    await withTimeout(run.run(test));
  } catch (caught) {
    error = caught;
  }
  await test?.end().catch((caught) => {
    error ??= caught;
  });
  if (isEnding()) return false;
  const processes = test ? [...test.processes, test.chain.server] : [];
  report(run, error, { processes, notes: test?.notes ?? [] }, Math.round(performance.now() - started));
  return !error;
}

/** Resolves to the number of passed and failed runs. */
export async function runAll(runs, { jobs }) {
  const chains = new Chains();
  const waiting = [...runs];
  let passed = 0;
  const worker = async () => {
    for (let run = waiting.shift(); run && !isEnding(); run = waiting.shift()) {
      if (await runOne(run, chains)) passed += 1;
    }
  };
  await Promise.all(Array.from({ length: jobs }, worker));
  await chains.stop();
  return { passed, failed: runs.length - passed };
}
