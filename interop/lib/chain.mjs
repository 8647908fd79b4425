// A local chain that poses as a public network: a dollar stands at the real
// token address, so that unmodified programs with built-in asset tables find
// what they expect. On anvil it is Circle's own contract, and Permit2 and
// Multicall3 are the real ones; on `tollway devnet` all are ours.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createPublicClient, createWalletClient, defineChain, encodeFunctionData, getAddress, http, maxUint256, parseEventLogs } from "viem";
import { generatePrivateKey, mnemonicToAccount, privateKeyToAccount } from "viem/accounts";
import { networks } from "./networks.mjs";
import { anvilBinary, project } from "./paths.mjs";
import { MULTICALL, PERMIT2, placeRealContracts } from "./real.mjs";
import { Process } from "./process.mjs";
import { tollwayBinary } from "./tollway.mjs";

/** Where x402 has its Permit2 proxies; on test chains they are ours, by the published interface. */
export const PROXIES = {
  ExactPermit2Proxy: "0x402085c248EeA27D92E8b30b2C58ed07f9E20001",
  UptoPermit2Proxy: "0x4020A4f3b7b90ccA423B9fabCc0CE57C6C240002",
};
const DEV_MNEMONIC = "test test test test test test test test test test test junk";
const ONE_ETHER = 10n ** 18n;
const BLOCK_SECONDS = 1;

function artifact(contract) {
  return JSON.parse(readFileSync(join(project, "contracts", "artifacts", `${contract}.json`), "utf8"));
}

export const dollar = artifact("TestDollar");

function startAnvil(network) {
  const args = ["--host", "127.0.0.1", "--port", "0", "--chain-id", String(network.chainId)];
  return new Process(`anvil ${network.name}`, anvilBinary(), args);
}

function startDevnet(network) {
  const args = ["devnet", "--listen", "127.0.0.1:0", "--chain-id", String(network.chainId), "--block-time", String(BLOCK_SECONDS)];
  return new Process(`tollway devnet ${network.name}`, tollwayBinary(), args);
}

const LISTENING = /Listening on (\S+)/;

async function address(kind, server) {
  if (kind === "devnet") return server.ready();
  return `http://${await server.waitForLine((line) => line.match(LISTENING)?.[1])}`;
}

export class Chain {
  /** `kind` is "anvil" or "devnet". */
  static async start(kind, networkName) {
    const network = networks[networkName];
    const server = kind === "devnet" ? startDevnet(network) : startAnvil(network);
    const chain = new Chain(kind, network, server, await address(kind, server));
    await chain.#prepare();
    return chain;
  }

  constructor(kind, network, server, url) {
    Object.assign(this, { kind, network, server, url });
    const transport = http(url, { timeout: 10_000 });
    this.viem = defineChain({
      id: network.chainId,
      name: network.name,
      nativeCurrency: { name: "Ether", symbol: "ETH", decimals: 18 },
      rpcUrls: { default: { http: [url] } },
      contracts: { multicall3: { address: MULTICALL } },
    });
    this.read = createPublicClient({ chain: this.viem, transport, pollingInterval: 100 });
    this.funder = createWalletClient({ account: mnemonicToAccount(DEV_MNEMONIC), chain: this.viem, transport });
    this.queue = Promise.resolve();
  }

  async #prepare() {
    const chainId = await this.read.getChainId();
    if (chainId !== this.network.chainId) throw new Error(`${this.server.name} says its chain id is ${chainId}`);
    this.nonce = await this.read.getTransactionCount({ address: this.funder.account.address });
    if (this.kind === "anvil") await this.#placeContracts();
  }

  async #placeContracts() {
    for (const [contract, address] of Object.entries(PROXIES)) {
      await this.read.request({ method: "anvil_setCode", params: [address, artifact(contract).runtime] });
    }
    await placeRealContracts(this);
    // Until here each transaction had a block at once.
    await this.read.request({ method: "evm_setIntervalMining", params: [BLOCK_SECONDS] });
  }

  /** Sends from the funding account, one nonce after the other, and waits for the receipt. */
  async send(transaction) {
    const sent = this.queue.then(async () => {
      const hash = await this.funder.sendTransaction({ gas: 300_000n, nonce: this.nonce, ...transaction });
      this.nonce += 1;
      return hash;
    });
    this.queue = sent.catch(() => {});
    const receipt = await this.read.waitForTransactionReceipt({ hash: await sent, timeout: 20_000 });
    if (receipt.status !== "success") throw new Error(`a funding transaction reverted on ${this.server.name}`);
    return receipt;
  }

  #callToken(functionName, args) {
    return this.send({ to: this.network.token, data: encodeFunctionData({ abi: dollar.abi, functionName, args }) });
  }

  /** Gives an account test dollars. */
  mint(address, amount) {
    return this.#callToken("mint", [address, amount]);
  }

  /** A fresh key that holds test dollars (atomic units) and nothing else. */
  async buyer(amount = 1_000_000n) {
    const key = generatePrivateKey();
    const { address } = privateKeyToAccount(key);
    if (amount > 0n) await this.mint(address, amount);
    return { key, address, amount };
  }

  /** Sends from an account that has gas, and waits for the receipt. */
  async sendAs(key, transaction) {
    const wallet = createWalletClient({ account: privateKeyToAccount(key), chain: this.viem, transport: http(this.url) });
    const hash = await wallet.sendTransaction({ gas: 500_000n, ...transaction });
    const receipt = await this.read.waitForTransactionReceipt({ hash, timeout: 20_000 });
    if (receipt.status !== "success") throw new Error(`a transaction of ${wallet.account.address} reverted`);
    return receipt;
  }

  /** The receipts of an account's transactions since a block. */
  async sentBy(address, since) {
    const receipts = [];
    const newest = await this.read.getBlockNumber();
    for (let blockNumber = since; blockNumber <= newest; blockNumber += 1n) {
      const { transactions } = await this.read.getBlock({ blockNumber, includeTransactions: true });
      const own = transactions.filter(({ from }) => getAddress(from) === getAddress(address));
      receipts.push(...(await Promise.all(own.map(({ hash }) => this.read.getTransactionReceipt({ hash })))));
    }
    return receipts;
  }

  /** A fresh key that holds native currency for gas. */
  async signer() {
    const key = generatePrivateKey();
    const { address } = privateKeyToAccount(key);
    await this.fuel(address);
    return { key, address };
  }

  /** Gives an account native currency for gas. */
  fuel(address) {
    return this.send({ to: address, value: ONE_ETHER });
  }

  /** The buyer sends the one transaction that Permit2 needs: from then on it may take the token, signature by signature. */
  async approvePermit2(buyer) {
    await this.fuel(buyer.address);
    const args = [PERMIT2, maxUint256];
    const { transactionHash } = await this.sendAs(buyer.key, { to: this.network.token, data: encodeFunctionData({ abi: dollar.abi, functionName: "approve", args }) });
    return transactionHash;
  }

  balance(address) {
    return this.read.readContract({ address: this.network.token, abi: dollar.abi, functionName: "balanceOf", args: [address] });
  }

  /** The Transfers of the token in one transaction, which must have succeeded. */
  async transfers(hash) {
    const receipt = await this.read.waitForTransactionReceipt({ hash, timeout: 20_000 });
    if (receipt.status !== "success") throw new Error(`transaction ${hash} reverted`);
    const logs = receipt.logs.filter((log) => getAddress(log.address) === getAddress(this.network.token));
    return parseEventLogs({ abi: dollar.abi, eventName: "Transfer", logs }).map(({ args }) => args);
  }

  stop() {
    return this.server.stop();
  }
}
