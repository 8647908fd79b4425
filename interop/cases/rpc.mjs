// What unmodified chain libraries (viem, ethers and alloy) ask of a chain. anvil answers it, so ours must.
import { strict as assert } from "node:assert";
import { Contract, ContractFactory, JsonRpcProvider, Wallet } from "ethers";
import { createPublicClient, createWalletClient, http, parseEther, parseSignature } from "viem";
import { generatePrivateKey, privateKeyToAccount, privateKeyToAddress } from "viem/accounts";
import { alloyBinary } from "../lib/alloy.mjs";
import { dollar } from "../lib/chain.mjs";
import { expectMoved } from "../lib/expect.mjs";
import { Process } from "../lib/process.mjs";
import { baselineCase } from "./case.mjs";

const DOMAIN_TYPES = {
  TransferWithAuthorization: [
    { name: "from", type: "address" },
    { name: "to", type: "address" },
    { name: "value", type: "uint256" },
    { name: "validAfter", type: "uint256" },
    { name: "validBefore", type: "uint256" },
    { name: "nonce", type: "bytes32" },
  ],
};

const domain = ({ chainId, token, domain: { name, version } }) => ({ name, version, chainId, verifyingContract: token });

function authorization(from, to) {
  const validBefore = BigInt(Math.floor(Date.now() / 1000) + 300);
  return { from, to, value: 10_000n, validAfter: 0n, validBefore, nonce: generatePrivateKey() };
}

const fields = ({ from, to, value, validAfter, validBefore, nonce }) => [from, to, value, validAfter, validBefore, nonce];

async function viem(test) {
  const { chain, network } = test;
  const [signer, buyer] = await Promise.all([chain.signer(), chain.buyer()]);
  const account = privateKeyToAccount(signer.key);
  const transport = http(chain.url, { batch: true, timeout: 10_000 });
  const read = createPublicClient({ chain: chain.viem, transport, pollingInterval: 100 });
  const write = createWalletClient({ account, chain: chain.viem, transport });
  const token = { address: network.token, abi: dollar.abi };

  // Blocks, accounts, fees; sent together, so the transport makes one batch of them.
  const [chainId, block, number, gasPrice, ether, count, code] = await Promise.all([
    read.getChainId(),
    read.getBlock({ includeTransactions: true }),
    read.getBlockNumber(),
    read.getGasPrice(),
    read.getBalance({ address: signer.address }),
    read.getTransactionCount({ address: signer.address }),
    read.getCode({ address: network.token }),
  ]);
  assert.equal(chainId, network.chainId);
  assert.ok(number >= block.number && block.baseFeePerGas !== null && gasPrice > 0n);
  assert.deepEqual([ether, count], [parseEther("1"), 0]);
  assert.ok(code.length > 2);
  const fees = await read.estimateFeesPerGas();
  assert.ok(fees.maxFeePerGas >= fees.maxPriorityFeePerGas && fees.maxFeePerGas > 0n);
  const history = await read.getFeeHistory({ blockCount: 2, rewardPercentiles: [25, 75] });
  assert.ok(history.baseFeePerGas.length >= 2);

  // A plain transfer with everything left to the library.
  const friend = privateKeyToAddress(generatePrivateKey());
  assert.equal(await read.estimateGas({ account, to: friend, value: 1n }), 21_000n);
  const sent = await write.sendTransaction({ to: friend, value: parseEther("0.1") });
  const sentReceipt = await read.waitForTransactionReceipt({ hash: sent, timeout: 20_000 });
  assert.equal(sentReceipt.status, "success");
  assert.equal(await read.getBalance({ address: friend }), parseEther("0.1"));
  const transaction = await read.getTransaction({ hash: sent });
  assert.equal(transaction.blockHash, sentReceipt.blockHash);

  // A contract: deployed, called, its failure understood.
  const deployed = await write.deployContract({ abi: dollar.abi, bytecode: dollar.bytecode });
  const { contractAddress } = await read.waitForTransactionReceipt({ hash: deployed, timeout: 20_000 });
  assert.equal(await read.readContract({ address: contractAddress, abi: dollar.abi, functionName: "decimals" }), 6);
  await assert.rejects(
    read.simulateContract({ account, ...token, functionName: "transfer", args: [friend, 1n] }),
    /ERC20: transfer amount exceeds balance/,
    "a revert's reason must reach the caller",
  );

  // Two reads through the multicall contract.
  const [balance, symbol] = await read.multicall({
    contracts: [
      { ...token, functionName: "balanceOf", args: [buyer.address] },
      { ...token, functionName: "symbol" },
    ],
    allowFailure: false,
  });
  assert.deepEqual([balance, symbol], [buyer.amount, "USDC"]);

  // A signed authorization, submitted by somebody else, found again by its log.
  const message = authorization(buyer.address, test.payTo);
  const signature = await privateKeyToAccount(buyer.key).signTypedData({
    domain: domain(network),
    types: DOMAIN_TYPES,
    primaryType: "TransferWithAuthorization",
    message,
  });
  const { r, s, v } = parseSignature(signature);
  const call = { ...token, functionName: "transferWithAuthorization", args: [...fields(message), Number(v), r, s] };
  await read.simulateContract({ account, ...call });
  const hash = await write.writeContract(call);
  const receipt = await read.waitForTransactionReceipt({ hash, timeout: 20_000 });
  assert.equal(receipt.status, "success");
  const logs = await read.getLogs({
    address: network.token,
    event: dollar.abi.find((item) => item.type === "event" && item.name === "Transfer"),
    args: { to: test.payTo },
    fromBlock: receipt.blockNumber,
    toBlock: "latest",
  });
  assert.deepEqual(logs.map(({ transactionHash, args }) => [transactionHash, args.value]), [[hash, 10_000n]]);
  assert.equal(await read.readContract({ ...token, functionName: "authorizationState", args: [buyer.address, message.nonce] }), true);

  // State overrides: the call sees money that is not there.
  const slotFree = await read.call({
    to: network.token,
    data: "0x313ce567",
    stateOverride: [{ address: network.token, code: "0x602a60005260206000f3" }],
  });
  assert.equal(BigInt(slotFree.data), 42n);
}

async function ethers(test) {
  const { chain, network } = test;
  const [signer, buyer] = await Promise.all([chain.signer(), chain.buyer()]);
  const provider = new JsonRpcProvider(chain.url, network.chainId, { polling: true, pollingInterval: 200, staticNetwork: true });
  try {
    const wallet = new Wallet(signer.key, provider);
    const block = await provider.getBlock("latest");
    assert.ok(block.number > 0 && block.baseFeePerGas !== null);
    assert.equal(await provider.getBalance(signer.address), parseEther("1"));
    const { maxFeePerGas } = await provider.getFeeData();
    assert.ok(maxFeePerGas > 0n);
    const history = await provider.send("eth_feeHistory", ["0x2", "latest", [25, 75]]);
    assert.ok(history.baseFeePerGas.length >= 2 && history.reward.every((block) => block.length === 2));

    const friend = privateKeyToAddress(generatePrivateKey());
    assert.equal(await provider.estimateGas({ from: signer.address, to: friend, value: 7n }), 21_000n);
    const sent = await (await wallet.sendTransaction({ to: friend, value: 7n })).wait(1, 20_000);
    assert.equal(sent.status, 1);
    assert.equal(await provider.getBalance(friend), 7n);
    const mined = await provider.getBlock(sent.blockNumber, true);
    assert.equal(mined.hash, sent.blockHash);
    assert.ok(mined.prefetchedTransactions.some(({ hash }) => hash === sent.hash));
    assert.equal((await provider.getBlock(mined.hash)).number, mined.number);

    // A transaction that the library only signs.
    const filled = await wallet.populateTransaction({ to: friend, value: 7n });
    const raw = await provider.broadcastTransaction(await wallet.signTransaction(filled));
    assert.equal((await raw.wait(1, 20_000)).status, 1);
    assert.equal(await provider.getBalance(friend), 14n);

    const fresh = await new ContractFactory(dollar.abi, dollar.bytecode, wallet).deploy();
    await fresh.waitForDeployment();
    assert.equal(await fresh.decimals(), 6n);

    const token = new Contract(network.token, dollar.abi, wallet);
    await assert.rejects(token.transfer.staticCall(friend, 1n), /ERC20: transfer amount exceeds balance/);
    const message = authorization(buyer.address, test.payTo);
    const signature = await new Wallet(buyer.key).signTypedData(domain(network), DOMAIN_TYPES, message);
    const transfer = token["transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,bytes)"];
    const receipt = await (await transfer(...fields(message), signature)).wait(1, 20_000);
    const found = await token.queryFilter(token.filters.Transfer(null, test.payTo), receipt.blockNumber, "latest");
    assert.deepEqual(found.map(({ transactionHash, args }) => [transactionHash, args.value]), [[receipt.hash, 10_000n]]);
    assert.equal(await token.balanceOf(test.payTo), 10_000n);

    // State overrides: the call sees code that is not there.
    const override = { [network.token]: { code: "0x602a60005260206000f3" } };
    const answer = await provider.send("eth_call", [{ to: network.token, data: "0x313ce567" }, "latest", override]);
    assert.equal(BigInt(answer), 42n);
  } finally {
    provider.destroy();
  }
}

/** A program over alloy's provider checks what it is answered; what it paid is read here. */
async function alloy(test) {
  const { chain, network } = test;
  const buyer = await chain.buyer();
  await chain.fuel(buyer.address);
  const asked = {
    url: chain.url,
    chainId: network.chainId,
    key: buyer.key,
    token: network.token,
    dollars: String(buyer.amount),
    payTo: test.payTo,
    friend: privateKeyToAddress(generatePrivateKey()),
  };
  const program = test.own(new Process("alloy", alloyBinary, [], { env: { INTEROP: JSON.stringify(asked) } }));
  const { code, stdout, stderr } = await program.result(60_000);
  assert.equal(code, 0, stderr);
  const { transaction } = JSON.parse(stdout);
  await expectMoved(test, { transaction, buyer, amount: 10_000n });
}

export const cases = [
  baselineCase("viem", viem),
  baselineCase("ethers", ethers),
  { ...baselineCase("alloy", alloy), alloy: true },
];
