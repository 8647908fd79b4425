// MetaMask's Delegation Framework as it runs on public networks, and delegations
// made by hand with viem, so that every one of their parts can be spoilt.
import { randomBytes } from "node:crypto";
import * as bytecode from "@metamask/delegation-abis/bytecode";
import { concat, encodeAbiParameters, encodeFunctionData, encodePacked, hashStruct, maxUint256, numberToHex, pad, parseAbi } from "viem";
import { Implementation, toMetaMaskSmartAccount } from "@metamask/smart-accounts-kit";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";

export const MANAGER = "0xdb9B1e94B5b69Df7e401DDbedE43491141047dB3";
export const STATELESS_DELEGATOR = "0x63c0c19a282a1B52b07dD5a65b58948A07DAE32B";
export const ANY_DELEGATE = "0x0000000000000000000000000000000000000a11";
export const ROOT_AUTHORITY = numberToHex(maxUint256);
const ENTRY_POINT = "0x0000000071727De22E5E9d8BAf0edAc6f37da032";
export const SIMPLE_FACTORY = "0x69Aa2f9fe1572F1B640E1bbc512f5c3a734fc77c";
const HYBRID_DELEGATOR = "0x48dBe696A4D990079e039489bA2053B36E8FFEC4";
/** The library of P256 signatures that smart accounts are linked with; where it is is not published. */
const P256_LIBRARY = "0x00000000000000000000000000000000000c2560";

export const ENFORCERS = {
  RedeemerEnforcer: "0xE144b0b2618071B4E56f746313528a669c7E65c5",
  ERC20TransferAmountEnforcer: "0xf100b0819427117EcF76Ed94B358B1A5b5C6D2Fc",
  ERC20PeriodTransferEnforcer: "0x474e3Ae7E169e940607cC624Da8A15Eb120139aB",
  ERC20StreamingEnforcer: "0x56c97aE02f233B29fa03502Ecc0457266d9be00e",
  TimestampEnforcer: "0x1046bb45C8d673d4ea75321280DB34899413c069",
  LimitedCallsEnforcer: "0x04658B29F6b82ed55274221a06Fc97D318E25416",
  AllowedCalldataEnforcer: "0xc2b0d624c1c4319760C96503BA27C347F3260f55",
  AllowedTargetsEnforcer: "0x7F20f61b1f09b08D970938F6fa563634d65c4EeB",
  AllowedMethodsEnforcer: "0x2c21fD0Cb9DC8445CB3fb0DC5E7Bb0Aca01842B5",
  ExactCalldataEnforcer: "0x99F2e9bF15ce5eC84685604836F71aB835DBBdED",
  ValueLteEnforcer: "0x92Bf12322527cAA612fd31a0e810472BBB106A8F",
  NonceEnforcer: "0xDE4f2FAC4B3D87A1d9953Ca5FC09FCa7F366254f",
  IdEnforcer: "0xC8B5D93463c893401094cc70e66A206fb5987997",
};

/** Runs creation code without deploying it, and puts what it gives at the published address. */
async function place(chain, address, creation) {
  const { data } = await chain.read.call({ data: creation, gas: 25_000_000n });
  if (!data) throw new Error(`the code of ${address} could not be made`);
  await chain.read.request({ method: "anvil_setCode", params: [address, data] });
}

/** Where each part of the framework is, and its creation code: the manager, the delegator that accounts run by EIP-7702, the enforcers. */
export function frameworkCode(owner) {
  const code = (name) => bytecode[name] ?? bytecode.default?.[name];
  const address = (value) => encodeAbiParameters([{ type: "address" }], [value]);
  return [
    [MANAGER, concat([code("DelegationManager"), address(owner)])],
    [STATELESS_DELEGATOR, concat([code("EIP7702StatelessDeleGator"), address(MANAGER), address(ENTRY_POINT)])],
    ...Object.entries(ENFORCERS).map(([name, where]) => [where, code(name)]),
  ];
}

/** All of it, real, on an anvil. */
export async function placeFramework(chain) {
  for (const [where, creation] of frameworkCode(chain.funder.account.address)) await place(chain, where, creation);
}

/** What smart accounts need beside it: the code that they run, and the factory that deploys them. */
async function placeSmartAccounts(chain) {
  const code = (name) => bytecode[name] ?? bytecode.default?.[name];
  const library = P256_LIBRARY.slice(2).toLowerCase();
  const hybrid = code("HybridDeleGator").replaceAll(/__\$[0-9a-f]{34}\$__/g, library);
  const manager = encodeAbiParameters([{ type: "address" }, { type: "address" }], [MANAGER, ENTRY_POINT]);
  for (const [where, creation] of [
    [P256_LIBRARY, code("SCL_RIP7212")],
    [HYBRID_DELEGATOR, concat([hybrid, manager])],
    [SIMPLE_FACTORY, code("SimpleFactory")],
  ]) await placeThere(chain, where, creation);
}

/** The same, run at the address itself: code that knows where it was made. */
async function placeThere(chain, address, creation) {
  const code = (data) => chain.read.request({ method: "anvil_setCode", params: [address, data] });
  if ((await chain.read.getCode({ address }))?.length > 2) return;
  await code(creation);
  const { data } = await chain.read.call({ to: address, gas: 25_000_000n });
  await code(data);
}

let salts = 0;

/** A smart account by the published kit, with a key of its owner's: nobody has deployed it. */
export async function smartAccount(chain, amount = 1_000_000n) {
  await placeSmartAccounts(chain);
  const key = generatePrivateKey();
  const owner = privateKeyToAccount(key);
  const account = await toMetaMaskSmartAccount({
    client: chain.read,
    implementation: Implementation.Hybrid,
    deployParams: [owner.address, [], [], []],
    deploySalt: numberToHex((salts += 1)),
    signer: { account: owner },
  });
  const { factory, factoryData } = await account.getFactoryArgs();
  if (amount > 0n) await chain.mint(account.address, amount);
  return { key, owner: owner.address, address: account.address, amount, factory, factoryData };
}

/** Its owner's, or anybody's, transaction that deploys it. */
export const deployed = (chain, { factory, factoryData }) => chain.send({ to: factory, data: factoryData, gas: 1_000_000n });

const word = (value) => numberToHex(value, { size: 32 });

/** Caveats of payments, packed as their enforcers read them. */
export const caveats = {
  redeemer: (...all) => caveat("RedeemerEnforcer", concat(all)),
  amount: (token, most) => caveat("ERC20TransferAmountEnforcer", concat([token, word(most)])),
  period: (token, amount, duration, start) =>
    caveat("ERC20PeriodTransferEnforcer", concat([token, word(amount), word(duration), word(start)])),
  stream: (token, initial, most, perSecond, start) =>
    caveat("ERC20StreamingEnforcer", concat([token, word(initial), word(most), word(perSecond), word(start)])),
  until: (before, after = 0) => caveat("TimestampEnforcer", encodePacked(["uint128", "uint128"], [BigInt(after), BigInt(before)])),
  calls: (limit) => caveat("LimitedCallsEnforcer", word(limit)),
  payee: (payTo) => caveat("AllowedCalldataEnforcer", concat([word(4), pad(payTo)])),
  value: (most = 0n) => caveat("ValueLteEnforcer", word(most)),
  nonce: (nonce) => caveat("NonceEnforcer", word(nonce)),
};

function caveat(enforcer, terms) {
  return { enforcer: ENFORCERS[enforcer], terms, args: "0x" };
}

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

export const hashOf = (delegation) => hashStruct({ data: delegation, types, primaryType: "Delegation" });

/** A delegation signed by `key`, of an account of its own unless `delegator` says another. */
export async function delegate(chain, key, { delegate: to, parent, caveats: all, delegator, chainId = chain.network.chainId, manager = MANAGER }) {
  const account = privateKeyToAccount(key);
  const message = {
    delegate: to,
    delegator: delegator ?? account.address,
    authority: parent ? hashOf(parent) : ROOT_AUTHORITY,
    caveats: all,
    salt: BigInt(`0x${randomBytes(16).toString("hex")}`),
  };
  const domain = { name: "DelegationManager", version: "1", chainId, verifyingContract: manager };
  const signature = await account.signTypedData({ domain, types, primaryType: "Delegation", message });
  return { ...message, signature };
}

const delegationAbi = {
  type: "tuple[]",
  components: [
    { name: "delegate", type: "address" },
    { name: "delegator", type: "address" },
    { name: "authority", type: "bytes32" },
    {
      name: "caveats",
      type: "tuple[]",
      components: [
        { name: "enforcer", type: "address" },
        { name: "terms", type: "bytes" },
        { name: "args", type: "bytes" },
      ],
    },
    { name: "salt", type: "uint256" },
    { name: "signature", type: "bytes" },
  ],
};

/** A permission context, leaf first. */
export const contextOf = (...chain) => encodeAbiParameters([delegationAbi], [chain]);

const managerAbi = [
  { type: "function", name: "disableDelegation", stateMutability: "nonpayable", outputs: [], inputs: [{ ...delegationAbi, name: "delegation", type: "tuple" }] },
  ...parseAbi(["function incrementNonce(address delegationManager)"]),
];

export const disableCall = (delegation) => ({ to: MANAGER, data: encodeFunctionData({ abi: managerAbi, functionName: "disableDelegation", args: [delegation] }) });
export const bumpNonceCall = () => ({ to: ENFORCERS.NonceEnforcer, data: encodeFunctionData({ abi: managerAbi, functionName: "incrementNonce", args: [MANAGER] }) });

/** Makes an account a delegator by EIP-7702; somebody else pays for it. */
export async function upgrade(chain, { key, address }, implementation = STATELESS_DELEGATOR) {
  const account = privateKeyToAccount(key);
  const nonce = await chain.read.getTransactionCount({ address });
  const authorization = await account.signAuthorization({ contractAddress: implementation, chainId: chain.network.chainId, nonce });
  const { gasUsed } = await chain.send({ to: address, authorizationList: [authorization] });
  return gasUsed;
}
