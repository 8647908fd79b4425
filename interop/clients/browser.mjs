// A headless Chromium with one page, served from an origin of its own, that
// runs one of the programs in pages/. Prints what the page could read, and the
// preflights, which only the browser itself sees.
import { once } from "node:events";
import { createServer } from "node:http";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { chromium } from "playwright-core";

const options = JSON.parse(process.env.INTEROP);

const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

async function bundled(name) {
  const entry = fileURLToPath(new URL(`pages/${name}.mjs`, import.meta.url));
  const { outputFiles } = await build({
    entryPoints: [entry],
    bundle: true,
    write: false,
    platform: "browser",
    format: "iife",
    globalName: "interop",
    logLevel: "error",
  });
  return outputFiles[0].text;
}

/** Serves the page as http://localhost:PORT, another origin than the 127.0.0.1 that it buys from. */
async function served(script) {
  const server = createServer((request, response) => {
    const isScript = request.url === "/page.js";
    response.writeHead(200, { "content-type": isScript ? "text/javascript; charset=utf-8" : "text/html; charset=utf-8" });
    response.end(isScript ? script : '<!doctype html><title>buyer</title><script src="/page.js"></script>');
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { server, url: `http://localhost:${server.address().port}/` };
}

/** The status of each preflight's answer, as they come. */
async function watchPreflights(context, page) {
  const statuses = [];
  const session = await context.newCDPSession(page);
  session.on("Network.responseReceived", ({ type, response }) => {
    if (type === "Preflight") statuses.push(response.status);
  });
  await session.send("Network.enable");
  return statuses;
}

async function visit(context, url) {
  const page = await context.newPage();
  page.on("console", (message) => console.error(`page: ${message.text()}`));
  page.on("pageerror", (error) => console.error(`page: ${error.message}`));
  const preflights = await watchPreflights(context, page);
  await page.goto(url);
  const exchanges = await page.evaluate((given) => globalThis.interop.run(given), options);
  return { exchanges, preflights };
}

const { server, url } = await served(await bundled(options.page));
const context = await chromium.launchPersistentContext(join(options.directory, "profile"), {
  executablePath: options.browser,
  args: FLAGS,
  chromiumSandbox: false,
  env: { ...process.env, HOME: options.directory },
});
try {
  process.stdout.write(`${JSON.stringify(await visit(context, url))}\n`);
} finally {
  await context.close();
  server.close();
  server.closeAllConnections();
}
