// starknet.js as an independent signer: what it hashes and signs, our gate settles, and what we sign, it verifies.
//   node run.mjs      needs tests/starknet/build-node.sh and cargo build -p tollway
import { strict as assert } from "node:assert";
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
if (!existsSync(new URL("node_modules/starknet", import.meta.url))) execFileSync("npm", ["ci"], { cwd: here, stdio: "inherit" });
const { constants, ec, hash, outsideExecution, shortString, typedData } = await import("starknet");
const { close, earned, ether, open, payee, price, run, secret } = await import("./town.mjs");

const chainId = constants.StarknetChainId.SN_SEPOLIA;
const base64 = (value) => Buffer.from(JSON.stringify(value)).toString("base64");
const parse = (header) => JSON.parse(Buffer.from(header, "base64").toString());
const random = () => `0x${Buffer.from(crypto.getRandomValues(new Uint8Array(30))).toString("hex")}`;

async function termsOf(url) {
  const asked = await fetch(url);
  assert.equal(asked.status, 402);
  return parse(asked.headers.get("payment-required"));
}

/** The payload of scheme exact, made by starknet.js alone. */
async function payload(from, offer, sign, { amount = offer.amount, to = offer.payTo } = {}) {
  const options = {
    caller: offer.extra.feePayer,
    execute_after: "1",
    execute_before: String(Math.floor(Date.now() / 1000) + offer.maxTimeoutSeconds),
  };
  const call = { contractAddress: offer.asset, entrypoint: "transfer", calldata: [to, amount, "0"] };
  const data = outsideExecution.getTypedData(chainId, options, random(), [call], "2");
  return { from, outsideExecution: { signature: await sign(data), typedData: data } };
}

async function show(url, terms, made) {
  const payment = { x402Version: 2, resource: terms.resource, accepted: terms.accepts[0], payload: made };
  const header = base64(payment);
  const again = () => fetch(url, { headers: { "payment-signature": header } });
  const answer = await again();
  return { status: answer.status, body: await answer.text(), again };
}

const hex = (value) => `0x${BigInt(value).toString(16)}`;
const felts = (signature) => [signature.r ?? signature[0], signature.s ?? signature[1]].map(hex);

const cases = {
  async "an owner's payment by starknet.js is settled, once"({ gate, account, provider }) {
    const url = `${gate}/paid/1`;
    const before = await earned(provider);
    const terms = await termsOf(url);
    const made = await payload(account.address, terms.accepts[0], async (data) => felts(await account.signMessage(data)));
    const paid = await show(url, terms, made);
    assert.deepEqual([paid.status, paid.body], [200, secret]);
    assert.equal((await earned(provider)) - before, price);
    const repeated = await paid.again();
    assert.notEqual(repeated.status, 200);
    assert.equal((await earned(provider)) - before, price);
  },

  async "what starknet.js signs for less, or for somebody else, buys nothing"({ gate, account, provider }) {
    const url = `${gate}/paid/2`;
    const before = await earned(provider);
    const terms = await termsOf(url);
    const sign = async (data) => felts(await account.signMessage(data));
    for (const change of [{ amount: "1" }, { to: account.address }]) {
      const made = await payload(account.address, terms.accepts[0], sign, change);
      const refused = await show(url, terms, made);
      assert.equal(refused.status, 402);
      assert.ok(!refused.body.includes(secret));
    }
    assert.equal(await earned(provider), before);
  },

  async "a session that starknet.js registers and signs with pays within its limits"({ gate, account, provider }) {
    const key = "0x1234567890abcdef";
    const session = ec.starkCurve.getStarkKey(key);
    const end = Math.floor(Date.now() / 1000) + 3600;
    const transfer = hash.getSelectorFromName("transfer");
    const own = (entrypoint, calldata) => ({ contractAddress: account.address, entrypoint, calldata });
    const sent = await account.execute([
      own("add_or_update_session_key", [session, end, 1, 1, transfer]),
      own("set_spending_policy", [session, ether, price, 0, price, 0, 3600]),
    ]);
    await provider.waitForTransaction(sent.transaction_hash);
    const sign = async (data) => {
      const signature = ec.starkCurve.sign(typedData.getMessageHash(data, account.address), key);
      return [session, ...felts(signature), hex(end)];
    };
    const url = `${gate}/paid/3`;
    const before = await earned(provider);
    const terms = await termsOf(url);
    const paid = await show(url, terms, await payload(account.address, terms.accepts[0], sign));
    assert.deepEqual([paid.status, paid.body], [200, secret]);
    const usedUp = await show(url, terms, await payload(account.address, terms.accepts[0], sign));
    assert.equal(usedUp.status, 402);
    assert.equal((await earned(provider)) - before, price);
  },

  async "what our payer signs is what starknet.js hashes"({ gate, account, payer, network, asset, keyFile }) {
    const terms = await termsOf(`${gate}/paid/4`);
    let shown;
    const server = createServer((request, response) => {
      const header = request.headers["payment-signature"];
      if (header) shown = parse(header);
      response.statusCode = 402;
      if (!header) response.setHeader("payment-required", base64(terms));
      response.end();
    }).listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    const url = `http://127.0.0.1:${server.address().port}/paid/4`;
    const owner = `${payer.address}=${keyFile("owner.key", payer.private_key)}`;
    await run(["pay", url, "--max", "0.01", "--network", network, "--starknet-account", owner, "--add-asset", asset]);
    server.close();
    const { from, outsideExecution: execution } = shown.payload;
    assert.equal(BigInt(from), BigInt(payer.address));
    assert.equal(execution.typedData.domain.chainId, chainId);
    const [r, s] = execution.signature.map(BigInt);
    const message = typedData.getMessageHash(execution.typedData, from);
    const signature = new ec.starkCurve.Signature(r, s);
    const full = ec.starkCurve.getPublicKey(payer.private_key, false);
    assert.ok(ec.starkCurve.verify(signature, message.slice(2).padStart(64, "0"), full));
    const [call] = execution.typedData.message.Calls;
    assert.equal(BigInt(call.Calldata[0]), BigInt(payee));
    assert.equal(shortString.decodeShortString(chainId), "SN_SEPOLIA");
  },
};

let [passed, failed] = [0, 0];
try {
  const town = await open();
  for (const [name, test] of Object.entries(cases)) {
    try {
      await test(town);
      passed += 1;
      console.log(`ok    ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`FAIL  ${name}\n${error.stack}`);
    }
  }
} finally {
  close();
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
