// A headless Chromium with the test wallet of pages/wallet.mjs in it, which opens a
// page, chooses the wallet there, and prints what the wallet was asked and what the
// page said in the end.
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { chromium } from "playwright-core";

const { url, wallet, browser, directory } = JSON.parse(process.env.INTEROP);
const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

const { outputFiles } = await build({
  entryPoints: [fileURLToPath(new URL("pages/wallet.mjs", import.meta.url))],
  bundle: true,
  write: false,
  platform: "browser",
  format: "iife",
  globalName: "testWallet",
  logLevel: "error",
});
const context = await chromium.launchPersistentContext(join(directory, randomUUID()), { executablePath: browser, args: FLAGS, headless: true });
try {
  const page = context.pages()[0] ?? (await context.newPage());
  await page.addInitScript(`${outputFiles[0].text}; testWallet.install(${JSON.stringify(wallet)});`);
  await page.goto(url);
  await page.getByRole("button", { name: "Test wallet" }).click();
  await page.getByRole("status").getByText("Taken.").waitFor({ timeout: 15_000 });
  const said = await page.getByRole("status").textContent();
  const wish = await page.locator("#wish").textContent();
  const asked = await page.evaluate(() => globalThis.walletAsked);
  const revoked = await page.evaluate(() => globalThis.walletRevoked);
  console.log(JSON.stringify({ said, asked, wish, revoked }));
} finally {
  await context.close();
}
