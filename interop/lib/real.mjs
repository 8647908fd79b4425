// The contracts of other people that payments rest on, as they run on public
// networks: Circle's dollar behind its proxy, Uniswap's Permit2, Multicall3.
// They come from the pinned packages and are never kept in this repository.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { encodeAbiParameters, encodeFunctionData, keccak256, maxUint256, pad, toHex } from "viem";
// The package does not export it by name.
import { multicall3Bytecode } from "../node_modules/viem/_esm/constants/contracts.js";
import { root } from "./paths.mjs";

export const PERMIT2 = "0x000000000022D473030F116dDEE9F6B43aC78BA3";
export const MULTICALL = "0xcA11bde05977b3631167028862bE2a173976CA11";

const USDC = join(root, "node_modules", "@offchainlabs", "stablecoin-evm", "artifacts", "hardhat", "contracts");
const PERMIT2_SOURCE = join(root, "node_modules", "@uniswap", "v4-periphery", "lib", "permit2");
const COMPILED = join(root, "node_modules", ".interop-permit2.json");
/** Nobody's: the proxy's administrator may not use the token, so it is no account of the suite. */
const PROXY_ADMIN = "0x00000000000000000000000000000000000ad000";
const DEPLOY_GAS = 8_000_000n;

function usdcArtifact(folder, contract) {
  return JSON.parse(readFileSync(join(USDC, folder, `${contract}.sol`, `${contract}.json`), "utf8"));
}

export const usdcAbi = usdcArtifact("v2", "FiatTokenV2_2").abi;

/** Compiles Permit2 as it was for its deployments, once: it takes a quarter of a minute. */
export function compilePermit2() {
  if (existsSync(COMPILED)) return;
  console.log("compiling Permit2 …");
  const solc = createRequire(join(root, "run.mjs"))("solc-0.8.17");
  const source = (path) => ({ contents: readFileSync(join(PERMIT2_SOURCE, path), "utf8") });
  const input = {
    language: "Solidity",
    sources: { "src/Permit2.sol": { content: source("src/Permit2.sol").contents } },
    settings: {
      remappings: ["solmate/=lib/solmate/"],
      optimizer: { enabled: true, runs: 1_000_000 },
      viaIR: true,
      metadata: { bytecodeHash: "none" },
      outputSelection: { "src/Permit2.sol": { Permit2: ["abi", "evm.deployedBytecode.object"] } },
    },
  };
  const { contracts, errors = [] } = JSON.parse(solc.compile(JSON.stringify(input), { import: source }));
  const failed = errors.filter(({ severity }) => severity === "error");
  if (failed.length > 0) throw new Error(failed.map(({ formattedMessage }) => formattedMessage).join("\n"));
  const { abi, evm } = contracts["src/Permit2.sol"].Permit2;
  // Its immutables, the separator of the chain it was deployed on, stay zero: it then computes it on each call.
  writeFileSync(COMPILED, JSON.stringify({ abi, runtime: `0x${evm.deployedBytecode.object}` }));
}

/** What was compiled: `abi` and `runtime`. */
export const permit2 = () => JSON.parse(readFileSync(COMPILED, "utf8"));

function linked({ bytecode, linkReferences }, library) {
  const places = Object.values(linkReferences).flatMap((byName) => Object.values(byName).flat());
  return places.reduce((code, { start, length }) => {
    const from = 2 + start * 2;
    return code.slice(0, from) + library.slice(2).toLowerCase() + code.slice(from + length * 2);
  }, bytecode);
}

/** Puts the real contracts on an anvil; `chain` sends as the account that may mint. */
export async function placeRealContracts(chain) {
  const anvil = (method, ...params) => chain.read.request({ method: `anvil_${method}`, params });
  const { data: multicall } = await chain.read.call({ data: multicall3Bytecode });
  await anvil("setCode", MULTICALL, multicall);
  await anvil("setCode", PERMIT2, permit2().runtime);
  await placeUsdc(chain, anvil);
  await expectSeparators(chain);
}

/** The token's code and where its implementation is are placed, since its address is given; the rest is done as by its owner. */
async function placeUsdc(chain, anvil) {
  const { token, domain } = chain.network;
  const funder = chain.funder.account.address;
  const checker = await chain.send({ data: usdcArtifact("util", "SignatureChecker").bytecode, gas: DEPLOY_GAS });
  const implementation = await chain.send({ data: linked(usdcArtifact("v2", "FiatTokenV2_2"), checker.contractAddress), gas: DEPLOY_GAS });
  await anvil("setCode", token, usdcArtifact("v1", "FiatTokenProxy").deployedBytecode);
  const slot = (name) => keccak256(toHex(`org.zeppelinos.proxy.${name}`));
  await anvil("setStorageAt", token, slot("implementation"), pad(implementation.contractAddress));
  await anvil("setStorageAt", token, slot("admin"), pad(PROXY_ADMIN));
  const call = (functionName, args) => chain.send({ to: token, data: encodeFunctionData({ abi: usdcAbi, functionName, args }) });
  await call("initialize", [domain.name, "USDC", "USD", 6, funder, funder, funder, funder]);
  await call("initializeV2", [domain.name]);
  await call("initializeV2_1", [PROXY_ADMIN]);
  await call("initializeV2_2", [[], "USDC"]);
  await call("configureMinter", [funder, maxUint256]);
}

/** What is placed signs as the real one on this chain, or every case would fail for one hidden reason. */
async function expectSeparators(chain) {
  const { token, domain, chainId } = chain.network;
  const words = (types, values) => keccak256(encodeAbiParameters(types.map((type) => ({ type })), values));
  const hash = (text) => keccak256(toHex(text));
  const versioned = hash("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
  const plain = hash("EIP712Domain(string name,uint256 chainId,address verifyingContract)");
  const expected = [
    [token, words(["bytes32", "bytes32", "bytes32", "uint256", "address"], [versioned, hash(domain.name), hash(domain.version), chainId, token])],
    [PERMIT2, words(["bytes32", "bytes32", "uint256", "address"], [plain, hash("Permit2"), chainId, PERMIT2])],
  ];
  for (const [address, separator] of expected) {
    const { data } = await chain.read.call({ to: address, data: "0x3644e515" });
    if (data !== separator) throw new Error(`${address} on ${chain.server.name} has the domain separator ${data}, not ${separator}`);
  }
}
