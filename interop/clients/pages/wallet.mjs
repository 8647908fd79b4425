// A browser wallet to test with: announces itself by EIP-6963 and grants execution
// permissions (ERC-7715) with the caveats that the published wallet gives each type.
// `mode` says where it strays from that.
import { concat, encodeAbiParameters, numberToHex, pad } from "viem";
import { privateKeyToAccount } from "viem/accounts";

const MANAGER = "0xdb9B1e94B5b69Df7e401DDbedE43491141047dB3";
const ENFORCERS = {
  period: "0x474e3Ae7E169e940607cC624Da8A15Eb120139aB",
  stream: "0x56c97aE02f233B29fa03502Ecc0457266d9be00e",
  value: "0x92Bf12322527cAA612fd31a0e810472BBB106A8F",
  nonce: "0xDE4f2FAC4B3D87A1d9953Ca5FC09FCa7F366254f",
  expiry: "0x1046bb45C8d673d4ea75321280DB34899413c069",
  redeemer: "0xE144b0b2618071B4E56f746313528a669c7E65c5",
  payee: "0xc2b0d624c1c4319760C96503BA27C347F3260f55",
};
const ANYBODY = "0x0000000000000000000000000000000000000a11";
const TYPES = ["erc20-token-allowance", "erc20-token-periodic", "erc20-token-stream"];
const FOREVER = 2n ** 256n - 1n;

const word = (value) => numberToHex(BigInt(value), { size: 32 });
const caveat = (enforcer, terms) => ({ enforcer: ENFORCERS[enforcer], terms, args: "0x" });

const types = {
  Delegation: [
    { name: "delegate", type: "address" },
    { name: "delegator", type: "address" },
    { name: "authority", type: "bytes32" },
    { name: "caveats", type: "Caveat[]" },
    { name: "salt", type: "uint256" },
  ],
  Caveat: [
    { name: "enforcer", type: "address" },
    { name: "terms", type: "bytes" },
  ],
};

const contextAbi = {
  type: "tuple[]",
  components: [
    ...types.Delegation.slice(0, 3),
    { name: "caveats", type: "tuple[]", components: [...types.Caveat, { name: "args", type: "bytes" }] },
    { name: "salt", type: "uint256" },
    { name: "signature", type: "bytes" },
  ],
};

/** The caveat of a permission's type, the two that every ERC-20 permission has, and one for each rule. */
function caveatsOf({ permission: { type, data }, rules }, { nonce, mode }) {
  const factor = mode === "raises" ? 2n : 1n;
  const start = word(data.startTime);
  const own = {
    "erc20-token-allowance": () => caveat("period", concat([data.tokenAddress, word(factor * BigInt(data.allowanceAmount)), word(FOREVER), start])),
    "erc20-token-periodic": () => caveat("period", concat([data.tokenAddress, word(factor * BigInt(data.periodAmount)), word(data.periodDuration), start])),
    "erc20-token-stream": () =>
      caveat("stream", concat([data.tokenAddress, word(data.initialAmount), word(data.maxAmount), word(data.amountPerSecond), start])),
  };
  const ruled = {
    expiry: ({ timestamp }) => caveat("expiry", concat([numberToHex(0, { size: 16 }), numberToHex(mode === "ends-early" ? timestamp - 60 : timestamp, { size: 16 })])),
    redeemer: ({ addresses }) => caveat("redeemer", concat(addresses)),
    payee: ({ addresses }) => caveat("payee", concat([word(4), pad(addresses[0])])),
  };
  const left = rules.filter((rule) => !mode.startsWith("drops-") || rule.type !== mode.slice("drops-".length));
  return [own[type](), caveat("value", word(0)), caveat("nonce", word(nonce)), ...left.map((rule) => ruled[rule.type](rule.data))];
}

const rejected = (code, message) => Object.assign(new Error(message), { code });

/** `chainId` and `nonce` are what the wallet would ask its node for. */
export function install({ key, address, chainId, nonce, mode = "honest", dependencies: needed = [] }) {
  const account = privateKeyToAccount(key);
  // A smart account's, where it is not the key's own.
  const payer = address ?? account.address;
  const asked = [];

  async function grant(request) {
    const message = {
      delegate: mode === "opens" ? ANYBODY : request.to,
      delegator: payer,
      authority: numberToHex(FOREVER),
      caveats: caveatsOf(request, { nonce, mode: mode === "opens" ? "drops-redeemer" : mode }),
      salt: BigInt(`0x${[...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`),
    };
    const domain = { name: "DelegationManager", version: "1", chainId, verifyingContract: MANAGER };
    const signature = await account.signTypedData({ domain, types, primaryType: "Delegation", message });
    const context = encodeAbiParameters([contextAbi], [[{ ...message, signature }]]);
    const dependencies = mode === "strange-factory" ? [{ factory: account.address, factoryData: "0x" }] : needed;
    return { ...request, from: payer, context, delegationManager: MANAGER, dependencies };
  }

  const methods = {
    wallet_getSupportedExecutionPermissions: async () => {
      const ruleTypes = ["expiry", "redeemer", "payee"];
      const chainIds = [mode === "unsupported" ? "0x1" : numberToHex(chainId)];
      return Object.fromEntries(TYPES.map((type) => [type, { chainIds, ruleTypes }]));
    },
    wallet_requestExecutionPermissions: async (params) => {
      if (mode === "denies") throw rejected(4001, "User rejected the request.");
      if (mode === "nonsense") return [{ context: "0x1234" }];
      return Promise.all(params.map(grant));
    },
    wallet_revokeExecutionPermission: async ({ permissionContext }) => {
      if (mode === "denies") throw rejected(4001, "User rejected the request.");
      if (mode === "cannot-revoke") throw rejected(4200, "wallet_revokeExecutionPermission is not supported");
      if (!/^0x[0-9a-f]+$/.test(permissionContext)) throw rejected(-32602, "permissionContext is missing");
      globalThis.walletRevoked = permissionContext;
      return {};
    },
  };

  const provider = {
    request: async ({ method, params }) => {
      asked.push(method);
      if (!methods[method]) throw rejected(4200, `${method} is not supported`);
      return methods[method](params);
    },
  };
  const info = { uuid: crypto.randomUUID(), name: "Test wallet", icon: "data:,", rdns: "example.wallet" };
  const announce = () => dispatchEvent(new CustomEvent("eip6963:announceProvider", { detail: Object.freeze({ info, provider }) }));
  addEventListener("eip6963:requestProvider", announce);
  announce();
  globalThis.walletAsked = asked;
}
