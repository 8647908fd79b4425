// Permissions that a wallet granted (ERC-7710), against the real framework: what is
// settled, and what each attack costs whom. "Zero" is read from the chain.
import { strict as assert } from "node:assert";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer, request as httpRequest } from "node:http";
import { join } from "node:path";
import {
  decodeAllowedCalldataTerms,
  decodeDelegations,
  decodeERC20TransferAmountTerms,
  decodeLimitedCallsTerms,
  decodeRedeemerTerms,
  decodeTimestampTerms,
  encodeDelegations,
  hashDelegation,
} from "@metamask/delegation-core";
import { getSmartAccountsEnvironment } from "@metamask/smart-accounts-kit";
import { createx402DelegationProvider } from "@metamask/smart-accounts-kit/experimental";
import { HTTPFacilitatorClient } from "@x402/core/server";
import { encodeFunctionData, maxUint256, pad } from "viem";
import { generatePrivateKey, privateKeyToAccount, privateKeyToAddress } from "viem/accounts";
import { browserBinary } from "../lib/browser.mjs";
import { dollar } from "../lib/chain.mjs";
import {
  ANY_DELEGATE,
  ENFORCERS,
  MANAGER,
  ROOT_AUTHORITY,
  bumpNonceCall,
  caveats,
  contextOf,
  delegate,
  disableCall,
  placeFramework,
  upgrade,
} from "../lib/delegation.mjs";
import { expectBalances, expectDelivered, expectMoved, expectReceipt } from "../lib/expect.mjs";
import { outcomeOf } from "../lib/http-text.mjs";
import { price } from "../lib/networks.mjs";
import { project } from "../lib/paths.mjs";
import { paidPath } from "./case.mjs";
import { requirements } from "./payments.mjs";

/** The framework is real on anvil only. */
export const permissionCase = (name, run, networks = ["base-sepolia"]) => ({ name, run, networks, chains: ["anvil"], baseline: false });

export const PREFIX = "invalid_exact_evm_erc7710_";
const now = () => Math.floor(Date.now() / 1000);
const artifact = (name) => JSON.parse(readFileSync(join(project, "contracts", "artifacts", `${name}.json`), "utf8"));

/** A facilitator, an account that pays by what it granted, and the session account that spends it. */
export async function scene(test, { flags = [], money, node } = {}) {
  await placeFramework(test.chain);
  const [facilitator, buyer] = await Promise.all([test.tollway.facilitator({ flags, node }), test.chain.buyer(money)]);
  await upgrade(test.chain, buyer);
  const session = generatePrivateKey();
  const client = new HTTPFacilitatorClient({ url: facilitator.url });
  const redeemer = facilitator.signer.address;
  return new Scene({ test, chain: test.chain, facilitator, buyer, session, client, redeemer, sessionAddress: privateKeyToAddress(session) });
}

class Scene {
  constructor(parts) {
    Object.assign(this, parts);
    this.token = parts.test.network.token;
  }

  terms(changes = {}) {
    const extra = { ...this.test.network.domain, assetTransferMethod: "erc7710", facilitatorAddresses: [this.redeemer], facilitators: [this.redeemer] };
    return requirements(this.test, 2, { extra, ...changes });
  }

  /** What the person's wallet grants: so much in each period, and the caveats that such a wallet adds. */
  grant({ amount = 50_000n, duration = 86_400n, start = now() - 60, key = this.buyer.key, to = this.sessionAddress, more = [], ...rest } = {}) {
    const own = [caveats.period(this.token, amount, duration, BigInt(start)), caveats.value(), ...more];
    return delegate(this.chain, key, { delegate: to, caveats: own, ...rest });
  }

  /** What the session account gives for one payment. */
  leaf(parent, { amount = price.atomic, payTo = this.test.payTo, to = ANY_DELEGATE, ends = now() + 240, all, key = this.session, ...rest } = {}) {
    const own = all ?? [
      caveats.amount(this.token, amount),
      caveats.redeemer(this.redeemer),
      caveats.payee(payTo),
      caveats.until(ends),
      caveats.calls(1n),
    ];
    return delegate(this.chain, key, { delegate: to, parent, caveats: own, ...rest });
  }

  payload(chain, terms = this.terms(), changes = {}) {
    const payload = { delegationManager: MANAGER, permissionContext: contextOf(...chain), delegator: chain.at(-1).delegator, ...changes };
    return { x402Version: 2, resource: { url: "http://127.0.0.1/paid/report" }, accepted: terms, payload };
  }

  async payment() {
    const root = await this.grant();
    return this.payload([await this.leaf(root), root]);
  }

  /** The buyer sends a transaction of its own. */
  async asBuyer(call) {
    await this.chain.fuel(this.buyer.address);
    return this.chain.sendAs(this.buyer.key, call);
  }

  async expectNothingLost(what) {
    await expectBalances(this.test, { buyer: this.buyer, spent: 0n }).catch((error) => {
      throw new Error(`${what}: ${error.message}`);
    });
  }

  async expectRefused(what, payload, code, terms = this.terms()) {
    const { isValid, invalidReason, invalidMessage } = await this.client.verify(payload, terms);
    assert.deepEqual([isValid, invalidReason], [false, code], `${what}: ${invalidMessage}`);
    const settled = await this.client.settle(payload, terms);
    assert.deepEqual([settled.success, settled.errorReason], [false, code], `${what}, settled without asking`);
    await this.expectNothingLost(what);
  }
}

/** /supported names every account that redeems, under both names. */
async function supported(test) {
  const { client, redeemer } = await scene(test);
  const { kinds, signers } = await client.getSupported();
  const { extra } = kinds.find(({ scheme, x402Version }) => scheme === "exact" && x402Version === 2);
  const lower = (all) => all.map((each) => each.toLowerCase());
  for (const list of [extra.facilitatorAddresses, extra.facilitators, signers["eip155:*"]]) {
    assert.deepEqual(lower(list), [redeemer.toLowerCase()]);
  }
  assert.deepEqual(extra.delegationManagers, [MANAGER]);
}

/** One grant, one leaf: verified, settled once, and never again. */
async function settles(test) {
  const s = await scene(test);
  const payload = await s.payment();
  const verified = await s.client.verify(payload, s.terms());
  assert.equal(verified.isValid, true, JSON.stringify(verified));
  assert.equal(verified.payer.toLowerCase(), s.buyer.address.toLowerCase());
  await s.expectNothingLost("verify moves nothing");
  const began = Date.now();
  const settled = await s.client.settle(payload, s.terms());
  assert.equal(settled.success, true, JSON.stringify(settled));
  await expectMoved(test, { transaction: settled.transaction, buyer: s.buyer });
  const { gasUsed } = await test.chain.read.getTransactionReceipt({ hash: settled.transaction });
  test.note(`gas ${gasUsed}, settled in ${Date.now() - began} ms (blocks of one second)`);
  const again = await s.client.settle(payload, s.terms());
  assert.deepEqual([again.success, again.errorReason], [false, "duplicate_settlement"]);
  await expectBalances(test, { buyer: s.buyer, spent: price.atomic });
}

/** A new facilitator that knows nothing refuses what another one settled. */
async function replayedLeaf(test) {
  const s = await scene(test);
  const root = await s.grant();
  const other = await test.tollway.facilitator();
  const leaf = await s.leaf(root, {
    all: [
      caveats.amount(s.token, price.atomic),
      caveats.redeemer(s.redeemer, other.signer.address),
      caveats.payee(test.payTo),
      caveats.until(now() + 240),
      caveats.calls(1n),
    ],
  });
  const payload = s.payload([leaf, root]);
  assert.equal((await s.client.settle(payload, s.terms())).success, true);
  const client = new HTTPFacilitatorClient({ url: other.url });
  const { isValid, invalidReason } = await client.verify(payload, s.terms());
  assert.deepEqual([isValid, invalidReason], [false, `${PREFIX}already_used`]);
  await expectBalances(test, { buyer: s.buyer, spent: price.atomic });
}

/** A node of the chain that answers some calls by itself. */
export async function nodeOf(chain, ownAnswer) {
  const server = createServer(async (request, response) => {
    const chunks = await request.toArray();
    const body = JSON.parse(Buffer.concat(chunks).toString());
    const answer = async (call) => {
      const own = ownAnswer(call);
      if (own) return { jsonrpc: "2.0", id: call.id, ...own };
      const asked = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(call) };
      return (await fetch(chain.url, asked)).json();
    };
    const answers = Array.isArray(body) ? await Promise.all(body.map(answer)) : await answer(body);
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify(answers));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  server.unref();
  return `http://127.0.0.1:${server.address().port}`;
}

/** One that has no `eth_simulateV1`, as many have none. */
export const nodeWithoutSimulation = (chain) =>
  nodeOf(chain, ({ method }) => method === "eth_simulateV1" && { error: { code: -32601, message: "Method not found" } });

/** Without simulated logs the balances around the redemption tell what it does. */
async function byBalances(test) {
  const s = await scene(test, { node: await nodeWithoutSimulation(test.chain) });
  const root = await s.grant();
  const spent = await s.leaf(root);
  const settled = await s.client.settle(s.payload([spent, root]), s.terms());
  assert.equal(settled.success, true, JSON.stringify(settled));
  await expectMoved(test, { transaction: settled.transaction, buyer: s.buyer });
  const stranger = await s.leaf(root, { key: generatePrivateKey(), delegator: s.sessionAddress });
  const verdict = await s.client.verify(s.payload([stranger, root]), s.terms());
  assert.deepEqual([verdict.isValid, verdict.invalidReason], [false, `${PREFIX}signature`]);

  const hostileBuyer = await test.chain.buyer();
  const { abi, runtime } = artifact("MoodyDelegator");
  await test.chain.read.request({ method: "anvil_setCode", params: [hostileBuyer.address, runtime] });
  for (const [mood, code] of [
    ["idle", "effect"],
    ["less", "effect"],
    ["twice", "effect"],
    ["burnsGas", "simulation_failed"],
  ]) {
    await test.chain.send({ to: hostileBuyer.address, data: encodeFunctionData({ abi, functionName: "set", args: [MOODS[mood]] }) });
    const theirs = await s.grant({ key: hostileBuyer.key });
    const { isValid, invalidReason } = await s.client.verify(s.payload([await s.leaf(theirs), theirs]), s.terms());
    assert.deepEqual([isValid, invalidReason], [false, PREFIX + code], mood);
  }
  assert.equal(await test.chain.balance(hostileBuyer.address), hostileBuyer.amount);
}

/** What the framework would let through, and we do not; and what it refuses, with our codes. */
async function refusals(test) {
  const s = await scene(test);
  const code = (name) => PREFIX + name;
  const stranger = generatePrivateKey();
  const strangers = privateKeyToAddress(stranger);
  const root = await s.grant();
  const leaf = (changes) => s.leaf(root, changes);
  const fresh = (all) => leaf({ all });
  const amount = caveats.amount(s.token, price.atomic);
  const [redeemer, payee, until, once] = [caveats.redeemer(s.redeemer), caveats.payee(test.payTo), caveats.until(now() + 240), caveats.calls(1n)];
  const cases = [
    ["a fake manager", s.payload([await leaf(), root], s.terms(), { delegationManager: strangers }), "manager_not_allowed"],
    ["the asset as its manager", s.payload([await leaf(), root], s.terms(), { delegationManager: s.token }), "manager_not_allowed"],
    ["another root delegator than stated", s.payload([await leaf(), root], s.terms(), { delegator: strangers }), "delegator_mismatch"],
    ["another payee", s.payload([await leaf({ payTo: strangers }), root]), "recipient_mismatch"],
    ["less than the price", s.payload([await leaf({ amount: price.atomic - 1n }), root]), "amount_mismatch"],
    ["expired", s.payload([await leaf({ ends: now() - 1 }), root]), "expiry"],
    ["expiring in a moment", s.payload([await leaf({ ends: now() + 3 }), root]), "expiry"],
    ["never ending", s.payload([await fresh([amount, redeemer, payee, once]), root]), "expiry"],
    ["ending in a day", s.payload([await leaf({ ends: now() + 86_400 }), root]), "expiry"],
    ["somebody else's facilitator", s.payload([await fresh([amount, caveats.redeemer(strangers), payee, until, once]), root]), "redeemer"],
    [
      "two redeemer caveats that nobody fits",
      s.payload([await fresh([amount, redeemer, caveats.redeemer(strangers), payee, until, once]), root]),
      "redeemer",
    ],
    ["delegated to a stranger", s.payload([await leaf({ to: strangers }), root]), "redeemer"],
    ["open without a redeemer", s.payload([await fresh([amount, payee, until, once]), root]), "open"],
    ["nothing that is used up", s.payload([await fresh([redeemer, payee, until]), root]), "not_single_use"],
    [
      "an amount that pays twice",
      s.payload([await fresh([caveats.amount(s.token, 2n * price.atomic), redeemer, payee, until]), root]),
      "not_single_use",
    ],
    ["another asset", s.payload([await fresh([caveats.amount(strangers, price.atomic), redeemer, payee, until, once]), root]), "asset_mismatch"],
    [
      "a caveat of a strange contract",
      s.payload([await fresh([amount, redeemer, payee, until, once, { enforcer: strangers, terms: "0x", args: "0x" }]), root]),
      "enforcer_not_allowed",
    ],
    [
      "terms that no enforcer reads",
      s.payload([await fresh([amount, redeemer, payee, until, once, { enforcer: ENFORCERS.RedeemerEnforcer, terms: "0x1234", args: "0x" }]), root]),
      "caveat",
    ],
    ["signed for another chain", s.payload([await leaf({ chainId: 1 }), root]), "signature"],
    ["signed by a stranger", s.payload([await leaf({ key: stranger, delegator: s.sessionAddress }), root]), "signature"],
    ["a link that is missing", s.payload([await leaf()]), "authority"],
    ["a stranger's leaf", s.payload([await leaf({ key: stranger }), root]), "authority"],
    ["not a context", s.payload([await leaf(), root], s.terms(), { permissionContext: "0x1234" }), "context"],
  ];
  for (const [what, payload, name] of cases) await s.expectRefused(what, payload, code(name));

  const wide = await s.grant({ amount: price.atomic - 1n });
  await s.expectRefused("more than the grant allows", s.payload([await s.leaf(wide), wide]), code("amount_mismatch"));
  const open = await s.grant({ to: ANY_DELEGATE, more: [redeemer] });
  await s.expectRefused("a stranger's leaf under an open grant", s.payload([await s.leaf(open, { key: stranger }), open]), code("open"));
  let chain = [open];
  for (let link = 0; link < 4; link += 1) chain = [await s.leaf(chain[0], { all: [] }), ...chain];
  const tooLong = [await s.leaf(chain[0]), ...chain];
  assert.equal(tooLong.length, 6);
  await s.expectRefused("one link more than are taken", s.payload(tooLong), code("context_too_large"));
}

/** A chain as long as may be settles. */
async function longestChain(test) {
  const s = await scene(test);
  let chain = [await s.grant()];
  for (let link = 0; link < 3; link += 1) chain = [await s.leaf(chain[0], { all: [], to: s.sessionAddress }), ...chain];
  const settled = await s.client.settle(s.payload([await s.leaf(chain[0]), ...chain]), s.terms());
  assert.equal(settled.success, true, JSON.stringify(settled));
  await expectMoved(test, { transaction: settled.transaction, buyer: s.buyer });
}

/** Over what the period allows, after it was spent. */
async function overThePeriod(test) {
  const s = await scene(test);
  const root = await s.grant({ amount: 15_000n });
  const pay = async () => s.payload([await s.leaf(root), root]);
  assert.equal((await s.client.settle(await pay(), s.terms())).success, true);
  const { isValid, invalidReason } = await s.client.verify(await pay(), s.terms());
  assert.deepEqual([isValid, invalidReason], [false, `${PREFIX}allowance_exceeded`]);
  await expectBalances(test, { buyer: s.buyer, spent: price.atomic });
}

/** Two payments at once against one allowance that covers one: one is held for, the other is refused. */
async function twoAgainstOneAllowance(test) {
  const s = await scene(test);
  const root = await s.grant({ amount: 15_000n });
  const [one, other] = await Promise.all([0, 1].map(async () => s.payload([await s.leaf(root), root])));
  assert.equal((await s.client.verify(one, s.terms())).isValid, true);
  const second = await s.client.verify(other, s.terms());
  assert.deepEqual([second.isValid, second.invalidReason], [false, `${PREFIX}allowance_exceeded`]);
  assert.equal((await s.client.settle(one, s.terms())).success, true);
  await expectBalances(test, { buyer: s.buyer, spent: price.atomic });
  // Two grants of one account are two allowances.
  const another = await s.grant({ amount: 15_000n });
  const third = await s.client.settle(s.payload([await s.leaf(another), another]), s.terms());
  assert.equal(third.success, true, JSON.stringify(third));
}

/** The grant is revoked between verify and settle: refused, and nothing moves. */
const revoked = (revocation, code) => async (test) => {
  const s = await scene(test);
  const root = await s.grant({ more: [caveats.nonce(0n)] });
  const payload = s.payload([await s.leaf(root), root]);
  assert.equal((await s.client.verify(payload, s.terms())).isValid, true);
  await s.asBuyer(revocation(root));
  await s.expectRefused("revoked", payload, PREFIX + code);
};

/** An account with code of its own that signs everything; its grants need no key. */
async function hostile(test, mood, flags) {
  const s = await scene(test, { flags });
  const { abi, runtime } = artifact("MoodyDelegator");
  await test.chain.read.request({ method: "anvil_setCode", params: [s.buyer.address, runtime] });
  const data = encodeFunctionData({ abi, functionName: "set", args: [mood] });
  await test.chain.send({ to: s.buyer.address, data });
  const root = await s.grant();
  return { s, payload: s.payload([await s.leaf(root), root]) };
}

const MOODS = { honest: 0, onlyTried: 1, trapsGas: 2, burnsGas: 3, twice: 4, less: 5, idle: 6 };

/** What the simulation shows not to be the one transfer is not sent. */
async function otherEffects(test) {
  for (const [mood, code] of [
    ["idle", "effect"],
    ["twice", "effect"],
    ["less", "effect"],
    ["burnsGas", "gas"],
  ]) {
    const { s, payload } = await hostile(test, MOODS[mood]);
    const { isValid, invalidReason } = await s.client.verify(payload, s.terms());
    assert.deepEqual([isValid, invalidReason], [false, PREFIX + code], mood);
    await s.expectNothingLost(mood);
  }
}

/** An account that behaves in simulation only: at most some gas is lost, which is bounded, and nothing else. */
const inSimulationOnly = (mood) => async (test) => {
  const { s, payload } = await hostile(test, MOODS[mood]);
  assert.equal((await s.client.verify(payload, s.terms())).isValid, true, "a simulation cannot tell");
  const from = await test.chain.read.getBlockNumber();
  const settled = await s.client.settle(payload, s.terms());
  assert.equal(settled.success, false, JSON.stringify(settled));
  await s.expectNothingLost(mood);
  const sent = await test.chain.sentBy(s.redeemer, from);
  const lost = sent.reduce((sum, { gasUsed }) => sum + gasUsed, 0n);
  test.note(`${mood}: ${settled.errorReason}; gas lost: ${lost} in ${sent.length} transactions`);
  // The last trial before it is sent may show it already.
  assert.ok(sent.length <= 3, `sent ${sent.length} times`);
  assert.ok(lost <= 3n * 750_000n, `lost ${lost}`);
};

/** Payments of several accounts share transactions, by the settling account's own batch; one that fails fails alone. */
async function sharedTransactions(test) {
  const s = await scene(test, { flags: ["--self-calls"] });
  const buyers = [s.buyer];
  for (let more = 0; more < 8; more += 1) {
    const buyer = await test.chain.buyer();
    await upgrade(test.chain, buyer);
    buyers.push(buyer);
  }
  const { abi, runtime } = artifact("MoodyDelegator");
  const bad = buyers[4];
  await test.chain.read.request({ method: "anvil_setCode", params: [bad.address, runtime] });
  await test.chain.send({ to: bad.address, data: encodeFunctionData({ abi, functionName: "set", args: [MOODS.trapsGas] }) });
  const good = buyers.filter((buyer) => buyer !== bad);
  const all = await settledAtOnce(s, good);
  assert.ok(all.every(({ success }) => success), JSON.stringify(all));
  const settled = await settledAtOnce(s, buyers);
  const failed = buyers.filter((_, index) => !settled[index].success);
  assert.deepEqual(failed.map(({ address }) => address), [bad.address], JSON.stringify(settled));
  assert.equal(await test.chain.balance(test.payTo), 16n * price.atomic);
  for (const round of [all, settled]) {
    const sharing = new Map();
    for (const { success, transaction } of round) if (success) sharing.set(transaction, (sharing.get(transaction) ?? 0) + 1);
    const [hash, most] = [...sharing].sort((one, other) => other[1] - one[1])[0];
    assert.ok(most >= 2, `each of ${sharing.size} transactions settles one payment`);
    const { gasUsed } = await test.chain.read.getTransactionReceipt({ hash });
    const beside = round === settled ? ", beside one that burns its gas" : "";
    test.note(`8 payments in ${sharing.size} transactions; ${most} in one for ${gasUsed} gas, ${gasUsed / BigInt(most)} each${beside}`);
  }
}

/** One payment of each, with a grant of its own, all settled at once. */
async function settledAtOnce(s, buyers) {
  const payments = await Promise.all(
    buyers.map(async ({ key }) => {
      const root = await s.grant({ key });
      return s.payload([await s.leaf(root), root]);
    }),
  );
  return Promise.all(payments.map((payment) => s.client.settle(payment, s.terms())));
}

/** A manager that the operator allowed by mistake and that does nothing is seen through by the effect. */
async function idleManager(test) {
  const manager = privateKeyToAddress(generatePrivateKey());
  const s = await scene(test, { flags: ["--delegation-manager", `${test.network.caip2}=${manager}`] });
  await test.chain.read.request({ method: "anvil_setCode", params: [manager, artifact("IdleManager").runtime] });
  const root = await s.grant({ manager });
  const payload = s.payload([await s.leaf(root, { manager }), root], s.terms(), { delegationManager: manager });
  await s.expectRefused("a manager that does nothing", payload, `${PREFIX}effect`);
}

/** One that pays in simulation only: the receipt decides. */
async function twoFacedManager(test) {
  const { abi, bytecode } = artifact("TwoFacedManager");
  const { contractAddress: manager } = await test.chain.send({
    data: encodeDeploy(bytecode, ENFORCERS.LimitedCallsEnforcer),
    gas: 4_000_000n,
  });
  const s = await scene(test, { flags: ["--delegation-manager", `${test.network.caip2}=${manager}`] });
  assert.ok(abi.length > 0);
  await s.asBuyer({ to: s.token, data: encodeFunctionData({ abi: dollar.abi, functionName: "approve", args: [manager, maxUint256] }) });
  const root = await s.grant({ manager });
  const payload = s.payload([await s.leaf(root, { manager }), root], s.terms(), { delegationManager: manager });
  assert.equal((await s.client.verify(payload, s.terms())).isValid, true, "a simulation cannot tell");
  const settled = await s.client.settle(payload, s.terms());
  assert.equal(settled.success, false, JSON.stringify(settled));
  await s.expectNothingLost("a manager that pays in simulation only");
}

const encodeDeploy = (bytecode, address) => `${bytecode}${address.slice(2).toLowerCase().padStart(64, "0")}`;

/** Somebody else cannot redeem what names our facilitator. */
async function redeemerWidening(test) {
  const s = await scene(test);
  const stranger = await test.tollway.facilitator();
  const payload = await s.payment();
  const client = new HTTPFacilitatorClient({ url: stranger.url });
  const { isValid, invalidReason } = await client.verify(payload, s.terms());
  assert.deepEqual([isValid, invalidReason], [false, `${PREFIX}redeemer`]);
  assert.equal((await s.client.verify(payload, s.terms())).isValid, true);
  await s.expectNothingLost("redeemed by a stranger");
}

/** The delegator has too little. */
async function poor(test) {
  const s = await scene(test, { money: 1n });
  const payload = await s.payment();
  await s.expectRefused("poor", payload, `${PREFIX}insufficient_balance`);
}

/** An account without code executes nothing. */
async function noCode(test) {
  const s = await scene(test);
  const plain = await test.chain.buyer();
  const root = await s.grant({ key: plain.key });
  const { isValid, invalidReason } = await s.client.verify(s.payload([await s.leaf(root), root]), s.terms());
  assert.deepEqual([isValid, invalidReason], [false, `${PREFIX}delegator_not_deployed`]);
}

/** Our gate sells by permission; a permission of ours buys there, until it is revoked. */
async function ourOwnPair(test) {
  await placeFramework(test.chain);
  const [upstream, buyer] = await Promise.all([test.server("upstream.mjs"), test.chain.buyer()]);
  await test.chain.fuel(buyer.address);
  const gate = await test.tollway.gate({ upstream: upstream.url, payTo: test.payTo, terms: "; methods=erc7710" });
  const url = gate.url + paidPath;
  const { accepts } = JSON.parse(Buffer.from((await fetch(url)).headers.get("payment-required"), "base64"));
  const { facilitatorAddresses, facilitators, assetTransferMethod } = accepts[0].extra;
  assert.equal(assetTransferMethod, "erc7710");
  assert.equal(facilitatorAddresses.length, 1);
  assert.deepEqual(facilitators, facilitatorAddresses);

  const granting = ["weather", "--resource", url, ...test.tollway.networkFlags, ...test.tollway.keyFlags(buyer.key)];
  const refused = await test.tollway.permission("grant", ...granting);
  assert.match(refused.stderr, /has no code/, "an account is given code only where that was said");
  const granted = await test.tollway.permission("grant", ...granting, "--allowance", "0.025", "--upgrade");
  assert.equal(granted.code, 0, granted.stderr);
  const listed = JSON.parse((await test.tollway.permission("list", "--json")).stdout);
  assert.equal(listed[0].permission.allowance, "25000");
  assert.equal(listed[0].permission.payee.toLowerCase(), test.payTo.toLowerCase());

  const began = Date.now();
  const paid = await test.tollway.payBy("weather", url, { flags: ["-i"] });
  assert.equal(paid.code, 0, `exit ${paid.code}: ${paid.stderr}`);
  const outcome = outcomeOf(paid);
  test.note(`from the terms to the data in ${Date.now() - began} ms (blocks of one second)`);
  expectDelivered(test, outcome);
  const { transaction } = expectReceipt(test, outcome, { version: 2, buyer });
  await expectMoved(test, { transaction, buyer });
  assert.equal(upstream.handled(), 1);

  // 0.025 covers two payments, and the budget is one over all processes.
  assert.equal((await test.tollway.payBy("weather", url)).code, 0);
  const over = await test.tollway.payBy("weather", url);
  assert.equal(over.code, 4, `exit ${over.code}: ${over.stderr}`);
  assert.match(over.stderr, /budget_exceeded/);
  await expectBalances(test, { buyer, spent: 2n * price.atomic });

  const revoked = await test.tollway.permission("revoke", "weather", ...test.tollway.networkFlags, ...test.tollway.keyFlags(buyer.key));
  assert.equal(revoked.code, 0, revoked.stderr);
  assert.match(revoked.stdout, /^0x[0-9a-f]{64}$/m);
  const late = await test.tollway.payBy("weather", url);
  assert.equal(late.code, 4, `exit ${late.code}: ${late.stderr}`);
  assert.match(late.stderr, /permission_revoked/);
  assert.equal(upstream.handled(), 2);
}

/** What is revoked on chain alone is refused by the facilitator, and nothing is served. */
async function revokedElsewhere(test) {
  await placeFramework(test.chain);
  const [upstream, buyer] = await Promise.all([test.server("upstream.mjs"), test.chain.buyer()]);
  await test.chain.fuel(buyer.address);
  const gate = await test.tollway.gate({ upstream: upstream.url, payTo: test.payTo, terms: "; methods=erc7710" });
  const url = gate.url + paidPath;
  const flags = ["--resource", url, ...test.tollway.networkFlags, ...test.tollway.keyFlags(buyer.key), "--allowance", "1", "--upgrade"];
  const granted = await test.tollway.permission("grant", "weather", ...flags);
  assert.equal(granted.code, 0, granted.stderr);
  await test.chain.sendAs(buyer.key, bumpNonceCall());
  const paid = await test.tollway.payBy("weather", url);
  assert.equal(paid.code, 5, `exit ${paid.code}: ${paid.stderr}`);
  assert.match(paid.stderr, /erc7710_nonce/);
  assert.equal(upstream.handled(), 0);
  await expectBalances(test, { buyer, spent: 0n });
}

/** The kit's own x402 client pays through our facilitator: out of a grant, and directly. */
async function kitPays(test) {
  const s = await scene(test);
  const environment = getSmartAccountsEnvironment(test.network.chainId);
  const redeemers = { requireRedeemers: true };
  const root = await s.grant();
  const ways = [
    { account: privateKeyToAccount(s.session), parentPermissionContext: contextOf(root) },
    { account: privateKeyToAccount(s.buyer.key), from: s.buyer.address },
  ];
  let spent = 0n;
  const paymentBy = async (options) => {
    const payload = await createx402DelegationProvider({ environment, redeemers, ...options })(s.terms());
    return { x402Version: 2, resource: { url: "http://127.0.0.1/paid/report" }, accepted: s.terms(), payload };
  };
  await s.expectRefused("without an expiry it never ends", await paymentBy(ways[0]), `${PREFIX}expiry`);
  for (const way of ways) {
    const payment = await paymentBy({ ...way, expirySeconds: 240 });
    const settled = await s.client.settle(payment, s.terms());
    assert.equal(settled.success, true, JSON.stringify(settled));
    spent += price.atomic;
    await expectBalances(test, { buyer: s.buyer, spent });
  }
}

/** What our payer sends, read by the kit: the same chain, and a leaf that is bound in everything. */
async function kitReadsOurs(test) {
  await placeFramework(test.chain);
  const [buyer, facilitator] = [await test.chain.buyer(), privateKeyToAddress(generatePrivateKey())];
  await upgrade(test.chain, buyer);
  const extra = { ...test.network.domain, assetTransferMethod: "erc7710", facilitators: [facilitator, privateKeyToAddress(generatePrivateKey())] };
  const terms = requirements(test, 2, { extra });
  const other = requirements(test, 2, { scheme: "upto" });
  const shop = await shopWindow(test, [other, terms]);
  const wish = ["--allowance", "1", "--redeemer", facilitator, "--payee", test.payTo];
  const granted = await test.tollway.permission("grant", "kit", ...wish, ...test.tollway.networkFlags, ...test.tollway.keyFlags(buyer.key));
  assert.equal(granted.code, 0, granted.stderr);
  const paid = await test.tollway.payBy("kit", shop.url);
  assert.equal(paid.code, 5, paid.stderr);

  const { payload, accepted } = shop.shown[0];
  assert.equal(accepted.extra.assetTransferMethod, "erc7710", "all offers are looked at");
  assert.equal(payload.delegationManager, MANAGER);
  assert.equal(payload.delegator.toLowerCase(), buyer.address.toLowerCase());
  const chain = decodeDelegations(payload.permissionContext);
  assert.equal(encodeDelegations(chain), payload.permissionContext);
  const [leaf, root] = chain;
  assert.equal(chain.length, 2);
  assert.equal(leaf.authority, hashDelegation(root));
  assert.equal(root.authority, ROOT_AUTHORITY);
  const conditionOf = (name) => leaf.caveats.find(({ enforcer }) => enforcer.toLowerCase() === ENFORCERS[name].toLowerCase()).terms;
  const lower = (all) => all.map((each) => each.toLowerCase());
  const amount = decodeERC20TransferAmountTerms(conditionOf("ERC20TransferAmountEnforcer"));
  assert.deepEqual([amount.tokenAddress.toLowerCase(), amount.maxAmount], [test.network.token.toLowerCase(), price.atomic]);
  // Of those that the server lists, whom the grant allows.
  assert.deepEqual(lower(decodeRedeemerTerms(conditionOf("RedeemerEnforcer")).redeemers), [facilitator.toLowerCase()]);
  assert.equal(decodeLimitedCallsTerms(conditionOf("LimitedCallsEnforcer")).limit, 1);
  const { beforeThreshold } = decodeTimestampTerms(conditionOf("TimestampEnforcer"));
  assert.ok(beforeThreshold > now() && beforeThreshold <= now() + 300, `ends at ${beforeThreshold}`);
  const payee = decodeAllowedCalldataTerms(conditionOf("AllowedCalldataEnforcer"));
  assert.deepEqual([payee.startIndex, payee.value.toLowerCase()], [4, pad(test.payTo).toLowerCase()]);
}

/** A server that asks for these terms, takes nothing, and keeps what was shown to it. */
async function shopWindow(test, accepts) {
  const shown = [];
  const server = createServer((request, response) => {
    const payment = request.headers["payment-signature"];
    if (payment) shown.push(JSON.parse(Buffer.from(payment, "base64")));
    const required = { x402Version: 2, error: "PAYMENT-SIGNATURE header is required", resource: { url: `http://${request.headers.host}/` }, accepts };
    response.writeHead(402, { "payment-required": Buffer.from(JSON.stringify(required)).toString("base64") });
    response.end("{}");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  server.unref();
  return { url: `http://127.0.0.1:${server.address().port}/`, shown };
}

/** The terms of a gate of ours, and a person whose account is a delegator already. */
export async function counter(test, { flags } = {}) {
  await placeFramework(test.chain);
  const [upstream, buyer] = await Promise.all([test.server("upstream.mjs"), test.chain.buyer()]);
  await upgrade(test.chain, buyer);
  const gate = await test.tollway.gate({ upstream: upstream.url, payTo: test.payTo, terms: "; methods=erc7710", flags });
  return { upstream, buyer, url: gate.url + paidPath };
}

/** `permission request`, answered by the test wallet in a headless Chromium. */
export async function requested(test, { url, buyer }, { name = "weather", mode = "honest", flags = [] } = {}) {
  const asking = test.tollway.startPermission("request", name, "--resource", url, ...test.tollway.networkFlags, ...flags);
  return answered(test, asking, buyer, mode);
}

/** What a command asks on a page of its own, answered there by the test wallet. */
export async function answered(test, asking, buyer, mode = "honest") {
  const page = await asking.waitForLine((line) => line.match(/^http:\/\/127\.0\.0\.1:\d+\/[0-9a-f]{32}\/$/)?.[0]);
  const { key, address, factory, factoryData } = buyer;
  const wallet = { key, address, chainId: test.network.chainId, nonce: 0, mode, dependencies: factory ? [{ factory, factoryData }] : [] };
  const seen = await test.client("wallet-browser.mjs", { url: page, wallet, browser: browserBinary(), directory: test.directory });
  return { ...(await asking.result(20_000)), seen };
}

/** The guide's flow: terms, grant in the browser wallet, data; then revoke, and refusal. */
async function fromTheTermsToTheData(test) {
  const shop = await counter(test);
  const { url, upstream, buyer } = shop;
  const began = Date.now();
  const { code, stderr, seen } = await requested(test, shop, { flags: ["--allowance", "0.05"] });
  assert.equal(code, 0, stderr);
  assert.deepEqual(seen.asked, ["wallet_getSupportedExecutionPermissions", "wallet_requestExecutionPermissions"]);
  assert.match(seen.wish, /0\.05 USDC/);
  const paid = await test.tollway.payBy("weather", url, { flags: ["-i"] });
  assert.equal(paid.code, 0, `exit ${paid.code}: ${paid.stderr}`);
  const outcome = outcomeOf(paid);
  expectDelivered(test, outcome);
  const { transaction } = expectReceipt(test, outcome, { version: 2, buyer });
  await expectMoved(test, { transaction, buyer });
  const { gasUsed } = await test.chain.read.getTransactionReceipt({ hash: transaction });
  test.note(`from the challenge to the data in ${Date.now() - began} ms with a browser, gas ${gasUsed}`);
  await test.chain.fuel(buyer.address);
  const revoked = await test.tollway.permission("revoke", "weather", ...test.tollway.networkFlags, ...test.tollway.keyFlags(buyer.key));
  assert.equal(revoked.code, 0, revoked.stderr);
  const late = await test.tollway.payBy("weather", url);
  assert.deepEqual([late.code, /permission_revoked/.test(late.stderr)], [4, true], late.stderr);
  assert.equal(upstream.handled(), 1);
  await expectBalances(test, { buyer, spent: price.atomic });
}

/** Periodic and streaming permissions pay too. */
async function otherKinds(test) {
  const shop = await counter(test);
  const kinds = { daily: ["--allowance", "0.05", "--period", "1d"], stream: ["--allowance", "0.05", "--per-second", "0.001"] };
  let spent = 0n;
  for (const [name, flags] of Object.entries(kinds)) {
    const { code, stderr } = await requested(test, shop, { name, flags });
    assert.equal(code, 0, stderr);
    const paid = await test.tollway.payBy(name, shop.url);
    assert.equal(paid.code, 0, `${name}: exit ${paid.code}: ${paid.stderr}`);
    spent += price.atomic;
    await expectBalances(test, { buyer: shop.buyer, spent });
  }
}

/** Each way in which a request can fail has its own code, and stores nothing. */
const requestsThatFail = (ways) => async (test) => {
  const shop = await counter(test);
  for (const [mode, code] of Object.entries(ways)) {
    const refused = await requested(test, shop, { mode });
    assert.equal(refused.code, 1, `${mode}: ${refused.stderr}`);
    assert.ok(refused.stderr.includes(code), `${mode}: ${refused.stderr}`);
  }
  assert.deepEqual(JSON.parse((await test.tollway.permission("list", "--json")).stdout), []);
};

/** What is less than was asked is shown, and taken where that was said. */
async function acceptedChanges(test) {
  const shop = await counter(test);
  const refused = await requested(test, shop, { mode: "ends-early" });
  assert.deepEqual([refused.code, /permission_adjusted/.test(refused.stderr)], [1, true], refused.stderr);
  const accepted = await requested(test, shop, { mode: "ends-early", flags: ["--accept-changes"] });
  assert.equal(accepted.code, 0, accepted.stderr);
  assert.match(accepted.stderr, /less than asked: it ends at/);
}

/** The page answers to its own address only, once, and gives up in time. */
async function pageIsOurs(test) {
  const shop = await counter(test);
  const asking = test.tollway.startPermission("request", "late", "--resource", shop.url, ...test.tollway.networkFlags, "--wait", "4");
  const page = await asking.waitForLine((line) => line.match(/^http:\S+/)?.[0]);
  const { port } = new URL(page);
  const asked = async (url, { method = "GET", host = `127.0.0.1:${port}`, origin } = {}) => {
    const sent = httpRequest(url, { method, headers: { host, ...(origin && { origin }) } });
    sent.end(method === "POST" ? "{}" : undefined);
    const [response] = await once(sent, "response");
    response.resume();
    return response.statusCode;
  };
  assert.equal(await asked(page), 200);
  assert.equal(await asked(page, { host: `localhost:${port}` }), 404, "another name of this machine");
  assert.equal(await asked(page, { host: "evil.example" }), 404, "a name that was bound to this machine");
  assert.equal(await asked(page.replace(/[0-9a-f]{32}/, "0".repeat(32))), 404, "another token");
  assert.equal(await asked(`${page}answer`, { method: "POST", origin: "https://evil.example" }), 404, "another page's answer");
  assert.equal(await asked(`${page}answer`, { method: "POST" }), 404, "an answer of nobody's");
  const { code, stderr } = await asking.result(20_000);
  assert.deepEqual([code, /permission_timeout/.test(stderr)], [1, true], stderr);
}

/** What cannot be paid by a permission is said before anybody is asked. */
async function notForPermissions(test) {
  await placeFramework(test.chain);
  const upstream = await test.server("upstream.mjs");
  const gate = await test.tollway.gate({ upstream: upstream.url, payTo: test.payTo });
  const { code, stderr } = await test.tollway.permission("request", "none", "--resource", gate.url + paidPath, ...test.tollway.networkFlags);
  assert.deepEqual([code, /permission_no_terms/.test(stderr)], [5, true], stderr);
}

/** The example that does it all as a library. */
async function example(test) {
  const { url, upstream, buyer } = await counter(test);
  const said = await test.example("spend_permission", [url, test.chain.url, test.tollway.keyFlags(buyer.key)[1]]);
  assert.equal(said.code, 0, said.stderr);
  assert.ok(said.stdout.includes(test.secret), said.stdout);
  assert.equal(upstream.handled(), 1);
  await expectBalances(test, { buyer, spent: price.atomic });
}

export const browserCase = (name, run) => ({ ...permissionCase(name, run), browser: true });

export const cases = [
  browserCase("permission-from-the-terms-to-the-data", fromTheTermsToTheData),
  browserCase("permission-request-other-kinds", otherKinds),
  browserCase("permission-request-failures", requestsThatFail({
    denies: "permission_denied",
    unsupported: "permission_unsupported",
    nonsense: "permission_answer",
    "strange-factory": "permission_factory",
  })),
  browserCase("permission-request-weaker-grants", requestsThatFail({
    raises: "permission_weaker",
    "drops-redeemer": "permission_weaker",
    "drops-expiry": "permission_weaker",
  })),
  browserCase("permission-request-open-grants", requestsThatFail({
    "drops-payee": "permission_weaker",
    opens: "permission_open",
  })),
  browserCase("permission-request-accepted-changes", acceptedChanges),
  permissionCase("permission-request-page", pageIsOurs),
  permissionCase("permission-request-not-offered", notForPermissions),
  permissionCase("permission-kit-pays", kitPays),
  permissionCase("permission-kit-reads-ours", kitReadsOurs),
  permissionCase("permission-example", example),
  permissionCase("permission-our-pair", ourOwnPair),
  permissionCase("permission-revoked-elsewhere", revokedElsewhere),
  permissionCase("permission-supported", supported),
  permissionCase("permission-settles", settles, ["base-sepolia", "sei-testnet"]),
  permissionCase("permission-shared-transactions", sharedTransactions),
  permissionCase("permission-node-without-simulation", byBalances),
  permissionCase("permission-longest-chain", longestChain),
  permissionCase("permission-attack-refusals", refusals),
  permissionCase("permission-attack-replayed-leaf", replayedLeaf),
  permissionCase("permission-attack-over-the-period", overThePeriod),
  permissionCase("permission-attack-two-payments-one-allowance", twoAgainstOneAllowance),
  permissionCase("permission-attack-disabled-between-verify-and-settle", revoked(disableCall, "disabled")),
  permissionCase("permission-attack-nonce-bumped", revoked(bumpNonceCall, "nonce")),
  permissionCase("permission-attack-other-effect", otherEffects),
  permissionCase("permission-attack-behaves-in-simulation-only", inSimulationOnly("onlyTried")),
  permissionCase("permission-attack-gas-trap", inSimulationOnly("trapsGas")),
  permissionCase("permission-attack-idle-manager", idleManager),
  permissionCase("permission-attack-two-faced-manager", twoFacedManager),
  permissionCase("permission-attack-redeemer-widening", redeemerWidening),
  permissionCase("permission-insufficient-balance", poor),
  permissionCase("permission-account-without-code", noCode),
];
