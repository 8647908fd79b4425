// Compiles src/ into artifacts/Account.json with the compiler and the core library that
// the PyPI package cairo-lang 0.12.3 carries (Cairo 2.1.0, static x86-64 Linux binaries).
//   node build.mjs           writes the artifact
//   node build.mjs --check   exits 1 if the committed artifact differs from what the sources give
//   node build.mjs --casm FILE   writes what the sources give as CASM, which declaring the class takes beside the artifact
// The package is downloaded once, checked by its hash, and kept in ../../target/cairo-lang.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(fileURLToPath(import.meta.url));
const sourceDir = join(root, "src");
const artifact = join(root, "artifacts", "Account.json");
const cache = join(root, "..", "..", "target", "cairo-lang");
const version = "0.12.3";
const packageSha256 = "651abdaa5f911d1d8f5605749e3540e7fc4efb7fb625925e5a499c4ca04fcc85";
const inside = `cairo-lang-${version}/starkware/starknet/compiler/v1/sierra-compiler-major-1`;

const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");
const run = (program, args, options) => execFileSync(program, args, { stdio: ["ignore", "pipe", "inherit"], ...options });

function compilerFolder() {
  const folder = join(cache, inside);
  if (existsSync(join(folder, "bin", "starknet-compile"))) return folder;
  mkdirSync(cache, { recursive: true });
  const zip = join(cache, `cairo-lang-${version}.zip`);
  if (!existsSync(zip)) run("python3", ["-m", "pip", "download", "--quiet", "--no-deps", `cairo-lang==${version}`, "--dest", cache]);
  const found = sha256(readFileSync(zip));
  if (found !== packageSha256) {
    rmSync(zip);
    throw new Error(`the package has hash ${found}, not ${packageSha256}; download it again`);
  }
  run("python3", ["-m", "zipfile", "-e", zip, cache]);
  chmodSync(join(folder, "bin", "starknet-compile"), 0o755);
  return folder;
}

// What `use` makes of the file with the compiled class.
function compiled(use) {
  const folder = compilerFolder();
  const out = mkdtempSync(join(tmpdir(), "cairo-"));
  const sierra = join(out, "sierra.json");
  try {
    // The compiler looks for its core library from where it runs.
    run(join(folder, "bin", "starknet-compile"), [root, sierra], { cwd: folder });
    return use(sierra, folder);
  } finally {
    rmSync(out, { recursive: true });
  }
}

const compile = () => compiled((sierra) => JSON.parse(readFileSync(sierra, "utf8")));

function writeCasm(file) {
  compiled((sierra, folder) => {
    const program = join(folder, "bin", "starknet-sierra-compile");
    chmodSync(program, 0o755);
    run(program, [sierra, resolve(file)]);
  });
}

// The digest covers every source and the project file.
function sourceDigest() {
  const hash = createHash("sha256");
  const names = readdirSync(sourceDir).filter((name) => name.endsWith(".cairo")).sort();
  for (const name of names) hash.update(`${name}\0${readFileSync(join(sourceDir, name), "utf8")}\0`);
  return hash.update(readFileSync(join(root, "cairo_project.toml"), "utf8")).digest("hex");
}

// JSON as Python writes it: the class hash covers the ABI's text, and this is the spelling
// that declaring tools use.
function spaced(value) {
  if (Array.isArray(value)) return `[${value.map(spaced).join(", ")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  return `{${Object.entries(value).map(([key, inner]) => `${JSON.stringify(key)}: ${spaced(inner)}`).join(", ")}}`;
}

// The class as nodes take it: its ABI is a text.
function artifactText() {
  const { sierra_program, contract_class_version, entry_points_by_type, abi } = compile();
  const contractClass = { sierra_program, contract_class_version, entry_points_by_type, abi: spaced(abi) };
  const about = { contract: "Account", compiler: "cairo 2.1.0", sourceSha256: sourceDigest() };
  const classSha256 = sha256(JSON.stringify(contractClass));
  return `${JSON.stringify({ ...about, classSha256 }).slice(0, -1)},\n"class":${JSON.stringify(contractClass)}}\n`;
}

const casm = process.argv.indexOf("--casm");
if (casm > 0) {
  const file = process.argv[casm + 1];
  if (!file) throw new Error("--casm names no file; write for example --casm account.casm.json");
  writeCasm(file);
  console.log(`wrote ${file}`);
  process.exit(0);
}
const text = artifactText();
if (process.argv.includes("--check")) {
  if (!existsSync(artifact) || readFileSync(artifact, "utf8") !== text) {
    console.error("artifacts/Account.json differs from the sources. Run: node build.mjs");
    process.exit(1);
  }
  console.log("the account's artifact matches its sources");
} else {
  mkdirSync(dirname(artifact), { recursive: true });
  writeFileSync(artifact, text);
  console.log("wrote artifacts/Account.json");
}
