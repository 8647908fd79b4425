// A headless Chromium that looks at a dashboard as a person does, and prints what it
// saw. JavaScript of pages is off: the pages have none.
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { chromium } from "playwright-core";

const { address, directory, browser } = JSON.parse(process.env.INTEROP);
const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

const context = await chromium.launchPersistentContext(join(directory, randomUUID()), {
  executablePath: browser,
  args: FLAGS,
  headless: true,
  javaScriptEnabled: false,
  viewport: { width: 1000, height: 900 },
});
try {
  const page = context.pages()[0] ?? (await context.newPage());
  const complaints = [];
  page.on("console", (message) => complaints.push(message.text()));
  page.on("requestfailed", (request) => complaints.push(`${request.url()} failed`));

  // What was asked is counted within seconds.
  for (let tries = 0; tries < 30; tries += 1) {
    await page.goto(address);
    if ((await page.getByRole("row", { name: "/other" }).count()) > 0 && (await page.getByText("100 %").count()) > 0) break;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  const total = await page.locator("figcaption .money").first().textContent();
  const scripts = await page.locator("script").count();
  await page.screenshot({ path: join(directory, "dashboard.png"), fullPage: true });

  await page.getByRole("link", { name: "Payments", exact: true }).click();
  await page.getByLabel("State").selectOption("settled");
  await page.getByRole("button", { name: "Show" }).click();
  const rows = page.locator("tbody tr");
  const links = await rows.locator("th a").evaluateAll((all) => all.map((a) => a.getAttribute("href")));
  const amounts = await rows.locator(".money").allTextContents();
  const transactions = await rows.locator("td:last-child [title]").evaluateAll((all) => all.map((a) => a.getAttribute("title")));

  // By keyboard alone.
  await rows.locator("th a").first().focus();
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "What happened" }).waitFor();
  await page.screenshot({ path: join(directory, "payment.png") });
  const story = {
    id: new URL(page.url()).pathname.split("/").at(-1),
    atomic: await page.locator("dl.facts dd.money").textContent(),
    kinds: await page.locator("ol.story strong").allTextContents(),
  };
  const ids = links.map((href) => href.split("/").at(-1));
  console.log(JSON.stringify({ total, scripts, ids, amounts, transactions, story, complaints }));
} finally {
  await context.close();
}
