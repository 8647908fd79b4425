// Installs the pinned programs of other people, and only when a pin changed.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { axiom, project, root, venvs } from "./paths.mjs";

const NPM_FILES = ["package.json", "package-lock.json", ".npmrc"];

function digest(folder, files) {
  const hash = createHash("sha256");
  for (const file of files) hash.update(readFileSync(join(folder, file)));
  return hash.digest("hex");
}

function upToDate(stamp, wanted) {
  return existsSync(stamp) && readFileSync(stamp, "utf8") === wanted;
}

function run(folder, command, args) {
  try {
    execFileSync(command, args, { cwd: folder, stdio: ["ignore", "pipe", "pipe"], timeout: 900_000 });
  } catch (error) {
    const output = `${error.stdout ?? ""}${error.stderr ?? ""}`.trim().split("\n").slice(-20).join("\n");
    throw new Error(`${command} ${args.join(" ")} failed: ${error.message.split("\n")[0]}\n${output}`);
  }
}

function installNode(folder) {
  const stamp = join(folder, "node_modules", ".interop-stamp");
  const wanted = digest(folder, NPM_FILES);
  if (upToDate(stamp, wanted)) return;
  console.log(`installing the npm packages of ${relative(project, folder)} …`);
  run(folder, "npm", ["ci", "--no-audit", "--no-fund"]);
  writeFileSync(stamp, wanted);
}

function installPython({ folder, requirements }) {
  const venv = join(root, folder);
  const stamp = join(venv, ".interop-stamp");
  const wanted = digest(root, [requirements]);
  if (upToDate(stamp, wanted)) return;
  console.log(`installing the Python packages of ${requirements} …`);
  rmSync(venv, { recursive: true, force: true });
  run(root, "python3", ["-m", "venv", venv]);
  run(root, join(venv, "bin", "pip"), ["install", "--quiet", "--no-deps", "-r", requirements]);
  writeFileSync(stamp, wanted);
}

export async function install() {
  installNode(root);
  installNode(axiom);
  Object.values(venvs).forEach(installPython);
  (await import("./real.mjs")).compilePermit2();
}
