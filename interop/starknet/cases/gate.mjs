// Payments at a gate: made by starknet.js, and made by us and read by starknet.js.
import { strict as assert } from "node:assert";
import { createServer } from "node:http";
import { ec, hash, shortString, typedData } from "starknet";
import { base64, chainId, felts, hex, parse, payload, show, termsOf } from "../lib/payments.mjs";
import { asset, earned, ether, keyFile, payee, price, run, secret } from "../lib/town.mjs";

export const cases = {
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
    await provider.waitForTransaction(sent.transaction_hash, { retryInterval: 200 });
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

  async "what our payer signs is what starknet.js hashes, and the account takes it from starknet.js"({ gate, payer, network, provider }) {
    const terms = await termsOf(`${gate}/paid/4`);
    let seen;
    const payment = new Promise((resolve) => (seen = resolve));
    const server = createServer((request, response) => {
      const header = request.headers["payment-signature"];
      if (header) return seen(parse(header));
      response.statusCode = 402;
      response.setHeader("payment-required", base64(terms));
      response.end();
    }).listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    const url = `http://127.0.0.1:${server.address().port}/paid/4`;
    const owner = `${payer.address}=${keyFile("owner.key", payer.private_key)}`;
    const paying = run(["pay", url, "--max", "0.01", "--network", network, "--starknet-account", owner, "--add-asset", asset]);
    const ended = paying.then(({ stderr }) => assert.fail(`it paid nothing: ${stderr}`));
    // It would wait for an answer that does not come.
    const shown = await Promise.race([payment, ended]);
    ended.catch(() => {});
    server.close();
    const { from, outsideExecution: execution } = shown.payload;
    assert.equal(BigInt(from), BigInt(payer.address));
    assert.equal(execution.typedData.domain.chainId, chainId);
    const [r, s] = execution.signature.map(BigInt);
    const message = typedData.getMessageHash(execution.typedData, from);
    const signature = new ec.starkCurve.Signature(r, s);
    const full = ec.starkCurve.getPublicKey(payer.private_key, false);
    assert.ok(ec.starkCurve.verify(signature, message.slice(2).padStart(64, "0"), full));
    assert.ok(await provider.verifyMessageInStarknet(execution.typedData, execution.signature, from));
    const [call] = execution.typedData.message.Calls;
    assert.equal(BigInt(call.Calldata[0]), BigInt(payee));
    assert.equal(shortString.decodeShortString(chainId), "SN_SEPOLIA");
  },
};
