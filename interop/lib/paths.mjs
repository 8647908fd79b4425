import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** This folder. */
export const root = dirname(dirname(fileURLToPath(import.meta.url)));
/** Programs whose packages cannot be installed beside the others'. */
export const axiom = join(root, "axiom");
/** The project. */
export const project = dirname(root);

const ANVIL_PACKAGE = "@foundry-rs/anvil-linux-amd64";

/** $ANVIL_BIN, or the pinned binary inside its platform package: no wrapper, so that a signal reaches it. */
export function anvilBinary() {
  if (process.env.ANVIL_BIN) return process.env.ANVIL_BIN;
  try {
    const manifest = createRequire(join(root, "run.mjs")).resolve(`${ANVIL_PACKAGE}/package.json`);
    return join(dirname(manifest), "bin", "anvil");
  } catch {
    throw new Error(`${ANVIL_PACKAGE} is not for ${process.platform} ${process.arch}; set ANVIL_BIN to an anvil of this machine`);
  }
}

/** Python programs whose packages cannot be installed beside each other have a venv each. */
export const venvs = {
  x402: { folder: ".venv", requirements: "requirements.txt" },
  "x402-mock-0.3.0": { folder: ".venv-mock-0.3.0", requirements: "requirements-mock-0.3.0.txt" },
  "x402-mock-0.1.1": { folder: ".venv-mock-0.1.1", requirements: "requirements-mock-0.1.1.txt" },
};

export const python = (venv) => join(root, venvs[venv].folder, "bin", "python");
