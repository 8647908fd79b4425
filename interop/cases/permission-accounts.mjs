// Permissions of accounts with code of their own: smart accounts that are not deployed
// yet, smart session accounts, upgrades that others pay for, and how each grant is
// taken back.
import { strict as assert } from "node:assert";
import { HTTPFacilitatorClient } from "@x402/core/server";
import { concat, encodeAbiParameters, keccak256, parseAbi, toEventSelector } from "viem";
import { generatePrivateKey, privateKeyToAddress } from "viem/accounts";
import { ENFORCERS, MANAGER, SIMPLE_FACTORY, deployed, placeFramework, smartAccount } from "../lib/delegation.mjs";
import { expectBalances, expectMoved } from "../lib/expect.mjs";
import { price } from "../lib/networks.mjs";
import { PREFIX, answered, browserCase, counter, nodeOf, nodeWithoutSimulation, permissionCase, requested, scene } from "./permissions.mjs";

const DELEGATION = "(address,address,bytes32,(address,bytes,bytes)[],uint256,bytes)";
const SUFFIX = `0x${"6492".repeat(16)}`;

/** A delegation whose signature says by EIP-6492 how its account is deployed. */
function wrapped(delegation, { factory, factoryData }) {
  const body = encodeAbiParameters([{ type: "address" }, { type: "bytes" }, { type: "bytes" }], [factory, factoryData, delegation.signature]);
  return { ...delegation, signature: concat([body, SUFFIX]) };
}

const dependency = ({ factory, factoryData }) => ({ factory, factoryData });

/** A facilitator with an account that deploys what the named factories make, and a smart account's grant. */
async function undeployed(test, factories = [SIMPLE_FACTORY], more = {}) {
  await placeFramework(test.chain);
  const helper = await test.tollway.helper(...factories);
  const s = await scene(test, { flags: factories.length > 0 ? helper.flags : [], ...more });
  const payer = await smartAccount(test.chain);
  const grant = (account = payer) => s.grant({ key: account.key, delegator: account.address });
  const payment = async (account = payer, changes = { dependencies: [dependency(account)] }) => {
    const root = await grant(account);
    return s.payload([await s.leaf(root), root], s.terms(), changes);
  };
  const code = (account = payer) => test.chain.read.getCode({ address: account.address });
  const helped = () => test.chain.read.getTransactionCount({ address: helper.address });
  return { s, payer, grant, payment, code, helped };
}

const transfersOf = async (test, account, spent) => assert.equal(await test.chain.balance(account.address), account.amount - spent);

/** Verifying deploys nothing; settling deploys the payer's account once, and what it grants is paid ever after. */
const deploysThePayer = (more) => async (test) => {
  const { s, payer, payment, code, helped, grant } = await undeployed(test, [SIMPLE_FACTORY], await more?.(test));
  const first = await payment();
  const verified = await s.client.verify(first, s.terms());
  assert.equal(verified.isValid, true, JSON.stringify(verified));
  assert.equal(await code(), undefined, "verify commits nothing");
  const settled = await s.client.settle(first, s.terms());
  assert.equal(settled.success, true, JSON.stringify(settled));
  await expectMoved(test, { transaction: settled.transaction, buyer: payer });
  assert.ok(await code());
  assert.equal(await helped(), 1);
  const { gasUsed } = await test.chain.read.getTransactionReceipt({ hash: settled.transaction });
  test.note(`gas ${gasUsed}, the deployment beside it`);

  const again = await s.client.settle(await payment(), s.terms());
  assert.equal(again.success, true, `what is there is not deployed again: ${JSON.stringify(again)}`);
  const other = await smartAccount(test.chain);
  const root = await grant(other);
  const bySignature = s.payload([await s.leaf(root), wrapped(root, other)]);
  const third = await s.client.settle(bySignature, s.terms());
  assert.equal(third.success, true, `wrapped by EIP-6492: ${JSON.stringify(third)}`);
  const once = await s.leaf(root);
  const wrappedYet = await s.client.settle(s.payload([once, wrapped(root, other)]), s.terms());
  assert.equal(wrappedYet.success, true, `wrapped yet: ${JSON.stringify(wrappedYet)}`);
  assert.equal(await helped(), 2);
  await transfersOf(test, payer, 2n * price.atomic);
  await transfersOf(test, other, 2n * price.atomic);
  assert.equal(await test.chain.balance(test.payTo), 4n * price.atomic);
};

/** No factory that the operator does not name is called, and none for anything but the payer's account. */
async function factories(test) {
  const { s, payer, payment, code, helped } = await undeployed(test);
  const strange = privateKeyToAddress(generatePrivateKey());
  const another = await smartAccount(test.chain);
  const nonsense = { factory: SIMPLE_FACTORY, factoryData: "0x12345678" };
  const poor = await smartAccount(test.chain, 1n);
  const stranger = await s.grant({ key: generatePrivateKey(), delegator: payer.address });
  for (const [what, sent, expected] of [
    ["a strange factory", await payment(payer, { dependencies: [{ ...dependency(payer), factory: strange }] }), `${PREFIX}factory_not_allowed`],
    ["the token as a factory", await payment(payer, { dependencies: [{ ...dependency(payer), factory: s.token }] }), `${PREFIX}factory_not_allowed`],
    ["two accounts at once", await payment(payer, { dependencies: [dependency(payer), dependency(another)] }), `${PREFIX}delegator_not_deployed`],
    ["another account", await payment(payer, { dependencies: [dependency(another)] }), `${PREFIX}signature`],
    ["a call that the factory does not take", await payment(payer, { dependencies: [nonsense] }), "smart_wallet_deployment_failed"],
    ["nothing that deploys it", await payment(payer, {}), `${PREFIX}delegator_not_deployed`],
    ["an account without money", await payment(poor), `${PREFIX}insufficient_balance`],
    ["signed by a stranger", s.payload([await s.leaf(stranger), stranger], s.terms(), { dependencies: [dependency(payer)] }), `${PREFIX}signature`],
    ["no list", await payment(payer, { dependencies: dependency(payer) }), "invalid_payload"],
    ["a longer list than is taken", await payment(payer, { dependencies: Array(5).fill(dependency(payer)) }), "invalid_payload"],
  ]) {
    const { isValid, invalidReason, invalidMessage } = await s.client.verify(sent, s.terms());
    assert.deepEqual([isValid, invalidReason], [false, expected], `${what}: ${invalidMessage}`);
    const settled = await s.client.settle(sent, s.terms());
    assert.deepEqual([settled.success, settled.errorReason], [false, expected], `${what}, settled without asking`);
  }
  assert.deepEqual([await helped(), await code(), await code(another)], [0, undefined, undefined]);
  await transfersOf(test, payer, 0n);
}

/** Without a list of factories none is called. */
async function noFactories(test) {
  const { s, payer, payment, grant } = await undeployed(test, []);
  const root = await grant();
  for (const sent of [await payment(), s.payload([await s.leaf(root), wrapped(root, payer)])]) {
    const { isValid, invalidReason } = await s.client.verify(sent, s.terms());
    assert.deepEqual([isValid, invalidReason], [false, `${PREFIX}factory_not_allowed`]);
  }
}

/** A node that takes transactions, and keeps them to itself until that ends. */
async function nodeThatKeeps(chain) {
  const kept = { count: 0, on: true };
  kept.url = await nodeOf(chain, ({ method, params }) => {
    if (method !== "eth_sendRawTransaction" || !kept.on) return undefined;
    kept.count += 1;
    return { result: keccak256(params[0]) };
  });
  return kept;
}

/** What was accepted before a restart and is in no block yet still holds its part of the allowance. */
async function restarted(test) {
  const node = await nodeThatKeeps(test.chain);
  const s = await scene(test, { node: node.url });
  const root = await s.grant({ amount: 15_000n });
  const [one, other] = await Promise.all([0, 1].map(async () => s.payload([await s.leaf(root), root])));
  const first = s.client.settle(one, s.terms()).catch(() => {});
  for (let tries = 0; node.count === 0; tries += 1) {
    assert.ok(tries < 400, "the first payment was never sent");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  s.facilitator.process.child.kill("SIGKILL");
  await s.facilitator.process.exited;
  await first;
  const after = await test.tollway.facilitator({ node: node.url, like: s.facilitator });
  const client = new HTTPFacilitatorClient({ url: after.url });
  const began = Date.now();
  let refused;
  do refused = await client.verify(other, s.terms());
  while (refused.isValid && Date.now() - began < 20_000);
  test.note(`held after ${Date.now() - began} ms`);
  assert.deepEqual([refused.isValid, refused.invalidReason], [false, `${PREFIX}allowance_exceeded`]);
  node.on = false;
  const settled = await client.settle(one, s.terms());
  assert.equal(settled.success, true, JSON.stringify(settled));
  await expectBalances(test, { buyer: s.buyer, spent: price.atomic });
}

const DISABLED = toEventSelector(`event DisabledDelegation(bytes32 indexed, address indexed, address indexed, ${DELEGATION})`);

const isDisabled = async (test, hash) => {
  const abi = parseAbi(["function disabledDelegations(bytes32) view returns (bool)"]);
  return test.chain.read.readContract({ address: MANAGER, abi, functionName: "disabledDelegations", args: [hash] });
};

const countedOn = (test, account) => {
  const abi = parseAbi(["function currentNonce(address, address) view returns (uint256)"]);
  return test.chain.read.readContract({ address: ENFORCERS.NonceEnforcer, abi, functionName: "currentNonce", args: [MANAGER, account] });
};

const granting = (test, url, key) => ["--resource", url, ...test.tollway.networkFlags, ...test.tollway.keyFlags(key), "--allowance", "0.5"];

/** A smart account's owner grants before the account is there; the first payment deploys it; its owner's key takes the grant back. */
async function hybridPair(test) {
  const helper = await test.tollway.helper(SIMPLE_FACTORY);
  const { url, upstream } = await counter(test, { flags: helper.flags });
  const payer = await smartAccount(test.chain);
  const another = await smartAccount(test.chain);
  const flags = [...granting(test, url, payer.key), "--account", payer.address, "--factory", payer.factory];
  const grant = (name, ...more) => test.tollway.permission("grant", name, ...more);
  const elsewhere = await grant("weather", ...flags, "--factory-data", another.factoryData);
  assert.deepEqual([elsewhere.code, /permission_factory/.test(elsewhere.stderr)], [1, true], elsewhere.stderr);
  const unsaid = await grant("weather", ...granting(test, url, payer.key), "--account", payer.address);
  assert.match(unsaid.stderr, /has no code/);
  const granted = await grant("weather", ...flags, "--factory-data", payer.factoryData);
  assert.equal(granted.code, 0, granted.stderr);
  assert.match(granted.stderr, /not deployed yet/);
  for (const spent of [1n, 2n]) {
    const paid = await test.tollway.payBy("weather", url);
    assert.equal(paid.code, 0, `exit ${paid.code}: ${paid.stderr}`);
    await expectBalances(test, { buyer: payer, spent: spent * price.atomic });
  }
  assert.equal(await test.chain.read.getTransactionCount({ address: helper.address }), 1, "it is deployed once");

  const strangers = await grant("stolen", ...granting(test, url, another.key), "--account", payer.address);
  assert.deepEqual([strangers.code, /permission_unusable/.test(strangers.stderr)], [1, true], strangers.stderr);
  await test.chain.fuel(payer.owner);
  const revoked = await test.tollway.permission("revoke", "weather", ...test.tollway.networkFlags, ...test.tollway.keyFlags(payer.key));
  assert.equal(revoked.code, 0, revoked.stderr);
  const { logs } = await test.chain.read.getTransactionReceipt({ hash: revoked.stdout.trim() });
  const hashes = logs.filter(({ topics }) => topics[0] === DISABLED).map(({ topics }) => topics[1]);
  assert.equal(hashes.length, 1);
  assert.equal(await isDisabled(test, hashes[0]), true, "the manager says so");
  const late = await test.tollway.payBy("weather", url);
  assert.deepEqual([late.code, upstream.handled()], [4, 2], late.stderr);
}

/** The same where its owner pays for the deployment, at a facilitator that deploys nothing. */
async function hybridDeployedFirst(test) {
  const { url } = await counter(test);
  const payer = await smartAccount(test.chain);
  const gas = await test.chain.signer();
  const flags = [...granting(test, url, payer.key), "--account", payer.address, "--factory", payer.factory, "--factory-data", payer.factoryData];
  const granted = await test.tollway.permission("grant", "weather", ...flags, ...test.tollway.keyFlags(gas.key, "--deployer-key-file"));
  assert.equal(granted.code, 0, granted.stderr);
  assert.ok(await test.chain.read.getCode({ address: payer.address }));
  const paid = await test.tollway.payBy("weather", url);
  assert.equal(paid.code, 0, paid.stderr);
  await expectBalances(test, { buyer: payer, spent: price.atomic });
}

/** A smart account spends what a plain one granted. */
async function smartSession(test) {
  const { url, buyer } = await counter(test);
  const session = await smartAccount(test.chain, 0n);
  await deployed(test.chain, session);
  const spender = ["--session-account", session.address, ...test.tollway.keyFlags(session.key, "--session-key-file")];
  const granted = await test.tollway.permission("grant", "weather", ...granting(test, url, buyer.key), ...spender);
  assert.equal(granted.code, 0, granted.stderr);
  const [{ permission }] = JSON.parse((await test.tollway.permission("list", "--json")).stdout);
  assert.equal(permission.session.toLowerCase(), session.address.toLowerCase());
  const paid = await test.tollway.payBy("weather", url);
  assert.equal(paid.code, 0, `exit ${paid.code}: ${paid.stderr}`);
  await expectBalances(test, { buyer, spent: price.atomic });
}

/** An account without any gas becomes a delegator: somebody else pays for it. */
async function sponsoredUpgrade(test) {
  const { url } = await counter(test);
  const [buyer, gas] = await Promise.all([test.chain.buyer(), test.chain.signer()]);
  const sponsored = test.tollway.keyFlags(gas.key, "--deployer-key-file");
  const granted = await test.tollway.permission("grant", "weather", ...granting(test, url, buyer.key), "--upgrade", ...sponsored);
  assert.equal(granted.code, 0, granted.stderr);
  assert.equal(await test.chain.read.getBalance({ address: buyer.address }), 0n);
  const paid = await test.tollway.payBy("weather", url);
  assert.equal(paid.code, 0, paid.stderr);
  await expectBalances(test, { buyer, spent: price.atomic });
}

/** All that an account granted is taken back by counting on, of a plain account and of a smart one. */
async function revokedInBulk(test) {
  const { url, buyer } = await counter(test);
  const smart = await smartAccount(test.chain);
  await deployed(test.chain, smart);
  await Promise.all([test.chain.fuel(buyer.address), test.chain.fuel(smart.owner)]);
  for (const [payer, own] of [[buyer, []], [smart, ["--account", smart.address]]]) {
    const names = ["one", "two"].map((name) => `${name}-${payer.address.slice(2, 8)}`);
    for (const name of names) {
      const granted = await test.tollway.permission("grant", name, ...granting(test, url, payer.key), ...own);
      assert.equal(granted.code, 0, granted.stderr);
    }
    const revoked = await test.tollway.permission("revoke", names[0], "--all", ...test.tollway.networkFlags, ...test.tollway.keyFlags(payer.key));
    assert.equal(revoked.code, 0, revoked.stderr);
    assert.equal(await countedOn(test, payer.address), 1n);
    const late = await test.tollway.payBy(names[1], url);
    assert.deepEqual([late.code, /erc7710_nonce/.test(late.stderr)], [5, true], late.stderr);
  }
}

/** The wallet that granted a permission takes it back, where it can; else that is said. */
async function revokedInTheWallet(test) {
  const shop = await counter(test);
  const { code, stderr } = await requested(test, shop, {});
  assert.equal(code, 0, stderr);
  for (const [mode, exit, said] of [["denies", 1, /permission_denied/], ["cannot-revoke", 1, /permission_unsupported/], ["honest", 0, /says that it is revoked/]]) {
    const asking = test.tollway.startPermission("revoke", "weather", "--in-wallet");
    const revoked = await answered(test, asking, shop.buyer, mode);
    assert.deepEqual([revoked.code, said.test(revoked.stderr)], [exit, true], revoked.stderr);
    assert.deepEqual(revoked.seen.asked, ["wallet_revokeExecutionPermission"]);
    assert.equal(Boolean(revoked.seen.revoked), exit === 0);
  }
  assert.equal((await test.tollway.payBy("weather", shop.url)).code, 4, "here it is revoked since the first");
}

/** A browser wallet's smart account, not deployed yet: by the facilitator with the first payment, or by an account of ours. */
async function requestedUndeployed(test) {
  const helper = await test.tollway.helper(SIMPLE_FACTORY);
  const shop = await counter(test, { flags: helper.flags });
  const gas = await test.chain.signer();
  let spent = 0n;
  for (const [name, flags, helped] of [["later", [], 1], ["now", test.tollway.keyFlags(gas.key, "--deployer-key-file"), 1]]) {
    const buyer = await smartAccount(test.chain);
    const { code, stderr } = await requested(test, { ...shop, buyer }, { name, flags });
    assert.equal(code, 0, stderr);
    assert.equal(Boolean(await test.chain.read.getCode({ address: buyer.address })), name === "now");
    const paid = await test.tollway.payBy(name, shop.url);
    assert.equal(paid.code, 0, `${name}: exit ${paid.code}: ${paid.stderr}`);
    spent += price.atomic;
    assert.equal(await test.chain.balance(test.payTo), spent);
    assert.equal(await test.chain.read.getTransactionCount({ address: helper.address }), helped);
  }
}

export const cases = [
  permissionCase("permission-undeployed-payer", deploysThePayer()),
  permissionCase("permission-undeployed-payer-without-simulation", deploysThePayer(async (test) => ({ node: await nodeWithoutSimulation(test.chain) }))),
  permissionCase("permission-attack-factories", factories),
  permissionCase("permission-no-factories", noFactories),
  permissionCase("permission-attack-restart-between-two-payments", restarted),
  permissionCase("permission-smart-account-pair", hybridPair),
  permissionCase("permission-smart-account-deployed-first", hybridDeployedFirst),
  permissionCase("permission-smart-session", smartSession),
  permissionCase("permission-sponsored-upgrade", sponsoredUpgrade),
  permissionCase("permission-revoked-in-bulk", revokedInBulk),
  browserCase("permission-revoked-in-the-wallet", revokedInTheWallet),
  browserCase("permission-request-undeployed", requestedUndeployed),
];
