// Our facilitator's API with payments that starknet.js alone made.
import { strict as assert } from "node:assert";
import { hash } from "starknet";
import { felts, hex, payload } from "../lib/payments.mjs";
import { earned, ether, payee, price } from "../lib/town.mjs";

async function ask(facilitator, path, body) {
  const init = body && { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(`${facilitator}${path}`, init);
  return answer.json();
}

/** What a server would ask for, with the fee payer that the facilitator announces. */
async function offer(facilitator) {
  const { kinds } = await ask(facilitator, "/supported");
  const kind = kinds.find(({ scheme, network }) => scheme === "exact" && network === "starknet:SN_SEPOLIA");
  const { scheme, network, extra } = kind;
  return { scheme, network, amount: String(price), asset: ether, payTo: payee, maxTimeoutSeconds: 300, extra: { feePayer: extra.feePayer } };
}

const request = (paymentRequirements, made) => ({
  x402Version: 2,
  paymentPayload: { x402Version: 2, accepted: paymentRequirements, payload: made },
  paymentRequirements,
});

export const cases = {
  async "a payment by starknet.js is verified and settled by our facilitator, once"({ facilitator, account, provider }) {
    const wanted = await offer(facilitator);
    const before = await earned(provider);
    const made = await payload(account.address, wanted, async (data) => felts(await account.signMessage(data)));
    const asked = request(wanted, made);
    const verified = await ask(facilitator, "/verify", asked);
    assert.equal(verified.isValid, true, JSON.stringify(verified));
    assert.equal(BigInt(verified.payer), BigInt(account.address));
    assert.equal(await earned(provider), before, "verifying moves nothing");
    const settled = await ask(facilitator, "/settle", asked);
    assert.equal(settled.success, true, JSON.stringify(settled));
    assert.equal((await earned(provider)) - before, price);
    // What starknet.js reads of the transaction: sent by the fee payer, with the one transfer in it.
    const receipt = await provider.getTransactionReceipt(settled.transaction);
    assert.ok(receipt.isSuccess());
    const sent = await provider.getTransactionByHash(settled.transaction);
    assert.equal(BigInt(sent.sender_address), BigInt(wanted.extra.feePayer));
    const key = BigInt(hash.getSelectorFromName("Transfer"));
    const transfers = receipt.events.filter(({ from_address: from, keys }) => BigInt(from) === BigInt(ether) && BigInt(keys[0]) === key);
    assert.equal(transfers.length, 1);
    const { keys, data } = transfers[0];
    assert.deepEqual([...keys.slice(1), ...data].map(hex), [account.address, payee, price, 0].map(hex));
    const repeated = await ask(facilitator, "/settle", asked);
    assert.deepEqual([repeated.success, repeated.errorReason], [false, "duplicate_settlement"]);
    assert.equal((await earned(provider)) - before, price);
  },

  async "typed data by starknet.js that was touched afterwards is refused with its reason"({ facilitator, account, provider }) {
    const wanted = await offer(facilitator);
    const before = await earned(provider);
    const sign = async (data) => felts(await account.signMessage(data));
    const refusal = async (change) => {
      const made = await payload(account.address, wanted, sign);
      change(made.outsideExecution);
      const verified = await ask(facilitator, "/verify", request(wanted, made));
      const settled = await ask(facilitator, "/settle", request(wanted, made));
      assert.deepEqual([verified.isValid, settled.success], [false, false]);
      assert.equal(settled.errorReason, verified.invalidReason);
      return verified.invalidReason;
    };
    const message = (change) => refusal(({ typedData }) => change(typedData.message));
    const [call] = [{ To: ether, Selector: hash.getSelectorFromName("transfer"), Calldata: [payee, "1", "0"] }];
    assert.equal(await message((m) => m.Calls.push(call)), "invalid_payload");
    assert.equal(await message((m) => (m.Caller = hex("0x414e595f43414c4c4552"))), "invalid_exact_starknet_payload_caller");
    assert.equal(await message((m) => (m.Calls[0].Calldata[1] = hex(price * 2n))), "invalid_exact_starknet_payload_amount_mismatch");
    assert.equal(await message((m) => (m.Nonce = "0x77")), "invalid_exact_starknet_payload_signature");
    assert.equal(await message((m) => (m.Extra = "0x1")), "invalid_payload");
    assert.equal(await refusal(({ typedData }) => (typedData.domain.chainId = "0x534e5f4d41494e")), "invalid_payload");
    assert.equal(await refusal((made) => (made.signature = Array(33).fill("0x1"))), "invalid_payload");
    assert.equal(await earned(provider), before);
  },
};
