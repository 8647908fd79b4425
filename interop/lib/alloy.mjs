// The program over alloy's published crates: a cargo project of its own, so that nothing of them gets into ours.
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { root } from "./paths.mjs";

const folder = join(root, "alloy");

export const alloyBinary = join(folder, "target", "debug", "tollway-interop-alloy");

/** Builds it; cargo knows whether there is anything to do. */
export function ensureAlloy() {
  execFileSync("cargo", ["build", "--quiet", "--locked"], { cwd: folder, stdio: ["ignore", "inherit", "inherit"] });
}
