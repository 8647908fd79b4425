// Chromium, from the system: $CHROMIUM_BIN, the one of the distribution, or
// one that the run installs. A machine without any fails the browser cases.
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";

const SYSTEM = "/usr/bin/chromium";
const APT_TIMEOUT_MS = 600_000;
let obstacle;

const installed = () => (process.env.CHROMIUM_BIN ? process.env.CHROMIUM_BIN : SYSTEM);

function apt(...args) {
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  execFileSync("apt-get", ["-qq", "-o", "DPkg::Lock::Timeout=120", ...args], { env, stdio: ["ignore", "pipe", "pipe"], timeout: APT_TIMEOUT_MS });
}

function aptInstall() {
  const install = () => apt("install", "-y", "--no-install-recommends", "chromium");
  try {
    install();
  } catch {
    apt("update");
    install();
  }
}

/** Installs Chromium where that is needed and possible; what prevents it is told by `browserBinary`. */
export function ensureBrowser() {
  if (process.env.CHROMIUM_BIN || existsSync(SYSTEM)) return;
  if (process.getuid?.() !== 0) {
    obstacle = "only root can install it";
    return;
  }
  console.log("installing Chromium (apt-get install chromium) …");
  try {
    aptInstall();
  } catch (error) {
    const said = String(error.stderr ?? "").trim().split("\n").at(-1);
    obstacle = `apt-get could not install it: ${said || error.message}`;
  }
}

/** The browser's path, or an error that says what to do. */
export function browserBinary() {
  const path = installed();
  if (existsSync(path)) return path;
  const reason = obstacle ? ` (${obstacle})` : "";
  throw new Error(`there is no Chromium at ${path}${reason}; install it, or set CHROMIUM_BIN to a Chromium of this machine`);
}
