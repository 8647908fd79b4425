// The dashboard of a running gate, as Chromium shows it: its figures are the record's.
import { strict as assert } from "node:assert";
import { copyFileSync, mkdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { browserBinary } from "../lib/browser.mjs";
import { project } from "../lib/paths.mjs";
import { paidPath, tollwayCase } from "./case.mjs";

/** Pictures for the documentation are small. */
const MOST_BYTES = 200_000;

async function dashboardAddress({ process }) {
  for (let tries = 0; tries < 100; tries += 1) {
    const said = /dashboard at (http:\/\/\S+)/.exec(process.stdout);
    if (said) return said[1];
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error("the gate does not say where its dashboard is");
}

async function figures(test) {
  const [upstream, ...buyers] = await Promise.all([test.server("upstream.mjs"), ...Array.from({ length: 3 }, () => test.chain.buyer())]);
  const flags = ["--dashboard", "127.0.0.1:0", "--route", "/other=$0.03"];
  const gate = await test.tollway.gate({ upstream: upstream.url, payTo: test.payTo, flags });
  assert.equal((await fetch(`${gate.url}/other`)).status, 402);
  for (const [index, buyer] of [...buyers, buyers[0], buyers[0]].entries()) {
    const paid = await test.tollway.pay(`${gate.url}${paidPath}?n=${index}`, { key: buyer.key });
    assert.equal(paid.code, 0, paid.stderr);
  }
  const address = await dashboardAddress(gate);
  const directory = join(test.directory, "pages");
  mkdirSync(directory, { recursive: true });
  const seen = await test.client("dashboard-browser.mjs", { address, directory, browser: browserBinary() });

  const listed = JSON.parse(await test.tollway.ledger("list", gate.ledger, "--json"));
  const settled = listed.filter(({ state }) => state === "settled");
  assert.equal(settled.length, 5);
  assert.equal(seen.total, "0.05");
  assert.deepEqual(seen.ids.toSorted(), settled.map(({ id }) => id).toSorted());
  assert.deepEqual(seen.amounts, settled.map(() => "0.01"));
  assert.deepEqual(seen.transactions.toSorted(), settled.map(({ transaction }) => transaction).toSorted());
  assert.equal(seen.story.atomic, settled.find(({ id }) => id === seen.story.id).amount);
  for (const kind of ["claimed", "accepted", "settled", "released"]) assert.ok(seen.story.kinds.includes(kind), kind);
  assert.deepEqual(seen.complaints, [], "the browser complains");
  assert.equal(seen.scripts, 0);
  await test.tollway.ledger("verify", gate.ledger, ...test.tollway.networkFlags);

  for (const name of ["dashboard.png", "payment.png"]) {
    const { size } = statSync(join(directory, name));
    assert.ok(size > 5_000 && size < MOST_BYTES, `${name} has ${size} bytes`);
    test.note(`${name}: ${size} bytes`);
    if (process.env.WRITE_IMAGES) copyFileSync(join(directory, name), join(project, "docs", "images", name));
  }
}

export const cases = [{ ...tollwayCase("dashboard-figures", figures), browser: true }];
