// An account's whole life on a node that has never heard of it: starknet.js declares the class, and the commands do
// the rest.
import { strict as assert } from "node:assert";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { hash } from "starknet";
import { asset, earned, home, keyFile, maxFee, price, project, run, secret, startGate, startNode } from "../lib/town.mjs";

/** Declares the committed class by an account of another class, as whoever brings it to a network does. */
async function declare({ account, accounts, provider }) {
  const { class: contract } = JSON.parse(readFileSync(join(project, "contracts/cairo/artifacts/Account.json"), "utf8"));
  const file = join(home, "casm.json");
  execFileSync(process.execPath, [join(project, "contracts/cairo/build.mjs"), "--casm", file], { stdio: "ignore" });
  const casm = JSON.parse(readFileSync(file, "utf8"));
  const sierra = { ...contract, abi: JSON.parse(contract.abi) };
  const declared = await account(accounts[0]).declare({ contract: sierra, casm });
  await provider.waitForTransaction(declared.transaction_hash, { retryInterval: 200 });
  assert.equal(BigInt(declared.class_hash), BigInt(hash.computeSierraContractClassHash(sierra)));
  return declared.class_hash;
}

export const cases = {
  async "an account is declared, deployed and registered, its session pays, is used up, over and revoked"() {
    const place = await startNode();
    const { provider, ask, network } = place;
    const classHash = await declare(place);
    const gate = await startGate(place, place.accounts[1]);
    const passphrase = keyFile("agent.pass", "correct horse battery staple");
    const owner = join(home, "life.key");
    const env = { TOLLWAY_PASSPHRASE_FILE: passphrase, TOLLWAY_OWNER_KEY_FILE: owner, TOLLWAY_ADD_ASSET: asset };
    const tollway = async (code, ...args) => {
      const ended = await run(args, env);
      assert.equal(ended.code, code, `${args.join(" ")}: ${ended.stdout}${ended.stderr}`);
      return ended;
    };
    const status = async () => JSON.parse((await tollway(0, "session", "status", "agent", "--json")).stdout);

    // The address is known before the account is there, and pays for its own deployment.
    const where = ["session", "deploy", "--network", network, "--owner-key-file", owner, "--max-fee", maxFee];
    const told = await tollway(0, ...where, "--new-key", "--address-only");
    const account = told.stdout.trim();
    for (const unit of ["FRI", "WEI"]) await ask("devnet_mint", { address: account, amount: 20e18, unit });
    assert.equal((await tollway(0, ...where)).stdout.trim(), account);
    assert.equal(BigInt(await provider.getClassHashAt(account)), BigInt(classHash));

    const made = ["--account", account, "--network", network, "--max-calls", "2", "--max-per-call", "0.01"];
    await tollway(0, "session", "create", "agent", ...made);
    await tollway(4, "pay", `${gate}/paid/0`, "--session", "agent");
    await tollway(0, "session", "register", "agent", "--max-fee", maxFee);
    const before = await earned(provider);
    for (const n of [1, 2]) {
      const paid = await tollway(0, "pay", `${gate}/paid/${n}`, "--session", "agent");
      assert.equal(paid.stdout, secret);
    }
    assert.equal((await earned(provider)) - before, price * 2n);
    assert.equal((await status()).standing, "used_up");
    const usedUp = await tollway(4, "pay", `${gate}/paid/3`, "--session", "agent", "--json");
    assert.match(usedUp.stdout, /session_max_calls_exceeded/);
    // The owner stands behind it.
    await tollway(0, "pay", `${gate}/paid/4`, "--session", "agent", "--starknet-account", `${account}=${owner}`);
    assert.equal((await earned(provider)) - before, price * 3n);

    await tollway(0, "session", "renew", "agent", "--max-fee", maxFee);
    await tollway(0, "pay", `${gate}/paid/5`, "--session", "agent");
    assert.equal((await status()).standing, "active");
    await ask("devnet_increaseTime", { time: 7 * 3600 });
    assert.equal((await status()).standing, "expired");
    const over = await tollway(4, "pay", `${gate}/paid/6`, "--session", "agent", "--json");
    assert.match(over.stdout, /session_expired/);
    await tollway(0, "session", "revoke", "agent", "--max-fee", maxFee);
    await tollway(2, "session", "status", "agent");
    assert.equal((await earned(provider)) - before, price * 4n);
  },
};
