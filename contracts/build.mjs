// Compiles src/*.sol into artifacts/*.json, one file a contract.
//   node build.mjs           writes the artifacts
//   node build.mjs --check   exits 1 if a committed artifact differs from what the sources give
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import solc from "solc";

const root = dirname(fileURLToPath(import.meta.url));
const sourceDir = join(root, "src");
const artifactDir = join(root, "artifacts");

const settings = {
  optimizer: { enabled: true, runs: 10_000 },
  evmVersion: "cancun",
  // No metadata in the bytecode: it then depends on the code alone, not on comments or paths.
  metadata: { appendCBOR: false, bytecodeHash: "none" },
  outputSelection: { "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"] } },
};

function compile() {
  const names = readdirSync(sourceDir).filter((name) => name.endsWith(".sol")).sort();
  const sources = Object.fromEntries(names.map((name) => [name, { content: readFileSync(join(sourceDir, name), "utf8") }]));
  const output = JSON.parse(
    solc.compile(JSON.stringify({ language: "Solidity", sources, settings }), {
      import: (path) => ({ error: `${path} is not in src/` }),
    }),
  );
  for (const message of output.errors ?? []) console.error(message.formattedMessage);
  if (output.errors?.length) process.exit(1);
  return { sources, contracts: output.contracts };
}

// The digest covers every source, because a contract depends on what it imports.
function sourceDigest(sources) {
  const hash = createHash("sha256");
  for (const [name, { content }] of Object.entries(sources)) hash.update(`${name}\0${content}\0`);
  return hash.digest("hex");
}

function artifacts() {
  const { sources, contracts } = compile();
  const sourceSha256 = sourceDigest(sources);
  const files = new Map();
  for (const [source, byName] of Object.entries(contracts)) {
    for (const [contract, { abi, evm }] of Object.entries(byName)) {
      const runtime = evm.deployedBytecode.object;
      if (abi.length === 0 || runtime === "") continue; // an internal library, an interface, half a contract
      files.set(
        `${contract}.json`,
        JSON.stringify(
          { contract, source, compiler: solc.version(), sourceSha256, abi, bytecode: `0x${evm.bytecode.object}`, runtime: `0x${runtime}` },
          null,
          2,
        ) + "\n",
      );
    }
  }
  return files;
}

function differing(files) {
  const committed = existsSync(artifactDir) ? readdirSync(artifactDir) : [];
  const stale = committed.filter((name) => !files.has(name));
  const changed = [...files].filter(([name, text]) => {
    const path = join(artifactDir, name);
    return !existsSync(path) || readFileSync(path, "utf8") !== text;
  });
  return [...stale, ...changed.map(([name]) => name)];
}

const files = artifacts();
if (process.argv.includes("--check")) {
  const names = differing(files);
  if (names.length > 0) {
    console.error(`artifacts differ from the sources: ${names.join(", ")}. Run: node build.mjs`);
    process.exit(1);
  }
  console.log(`${files.size} artifacts match their sources`);
} else {
  rmSync(artifactDir, { recursive: true, force: true });
  mkdirSync(artifactDir);
  for (const [name, text] of files) writeFileSync(join(artifactDir, name), text);
  console.log(`wrote ${files.size} artifacts`);
}
