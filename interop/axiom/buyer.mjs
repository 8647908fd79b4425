// An AxiomKit agent with a weather tool that pays on Sei as its demo does: it
// transfers the dollars by itself, waits a while, and shows the hash of the
// transaction, unsigned. The model is scripted, so that no service is asked.
// Arguments come as one JSON object in INTEROP, the outcome goes to stdout.
import { action, context, createAgent, LogLevel } from "@axiomkit/core";
import { AxiomSeiWallet } from "@axiomkit/sei";
import { MockLanguageModelV2, simulateReadableStream } from "ai/test";
import { encodeFunctionData, erc20Abi } from "viem";
import { seiTestnet } from "viem/chains";
import { z } from "zod";

const options = JSON.parse(process.env.INTEROP);
// stdout is for the outcome; the framework logs there.
const print = process.stdout.write.bind(process.stdout);
process.stdout.write = process.stderr.write.bind(process.stderr);

const wallet = new AxiomSeiWallet({ rpcUrl: options.rpcUrl, privateKey: options.key, chain: seiTestnet });
const headers = { "Content-Type": "application/json" };
const exchanges = [];

async function ask(extra = {}) {
  const response = await fetch(options.url, { headers: { ...headers, ...extra } });
  const body = await response.text();
  exchanges.push({ status: response.status, body, receiptHeader: response.headers.get("x-payment-response") });
  return { status: response.status, body };
}

async function pay({ payTo, asset, maxAmountRequired }) {
  const data = encodeFunctionData({ abi: erc20Abi, functionName: "transfer", args: [payTo, BigInt(maxAmountRequired)] });
  return wallet.walletClient.sendTransaction({ to: asset, data });
}

/** The proof as the demo writes it: the reference of the challenge is not in it. */
function proof(txHash, { network, maxAmountRequired }) {
  const payload = { txHash, amount: maxAmountRequired, from: options.claim ?? wallet.walletAdress };
  return Buffer.from(JSON.stringify({ x402Version: 1, scheme: "exact", network, payload })).toString("base64");
}

const getWeather = action({
  name: "getWeather",
  description: "The weather, for a tenth of a cent",
  schema: z.object({ location: z.string().optional() }),
  async handler() {
    const challenge = await ask();
    const terms = JSON.parse(challenge.body).accepts[0];
    const txHash = options.shown ?? (await pay(terms));
    await new Promise((resolve) => setTimeout(resolve, 3_000));
    const header = proof(txHash, terms);
    const answers = [];
    for (let time = 0; time < (options.times ?? 1); time += 1) answers.push(await ask({ "X-Payment": header }));
    return { txHash, status: answers[0].status };
  },
});

/** Says what a model would: first that it wants the weather, then that it has it. */
function scripted() {
  const lines = [
    '<response><reasoning>The user wants the weather.</reasoning><action_call name="getWeather">{"location":"Sei"}</action_call></response>',
    '<response><output name="text">Here is the weather.</output></response>',
  ];
  let turn = 0;
  const text = () => lines[Math.min(turn++, lines.length - 1)];
  const usage = { inputTokens: 1, outputTokens: 1, totalTokens: 2 };
  return new MockLanguageModelV2({
    doGenerate: async () => ({ content: [{ type: "text", text: text() }], finishReason: "stop", usage, warnings: [] }),
    doStream: async () => ({
      stream: simulateReadableStream({
        chunks: [
          { type: "stream-start", warnings: [] },
          { type: "text-start", id: "1" },
          { type: "text-delta", id: "1", delta: text() },
          { type: "text-end", id: "1" },
          { type: "finish", finishReason: "stop", usage },
        ],
      }),
    }),
  });
}

const weather = context({
  type: "weather",
  schema: { wallet: z.string() },
  key: ({ wallet: key }) => key,
  create: () => ({}),
  render: () => `Wallet: ${wallet.walletAdress}`,
  maxSteps: 3,
})
  .setOutputs({ text: { schema: z.string() } })
  .setActions([getWeather]);

const agent = createAgent({ model: scripted(), logLevel: LogLevel.ERROR, contexts: [weather] });
await agent.start({});
const log = await agent.run({ context: weather, args: { wallet: wallet.walletAdress } });
const result = log.find(({ ref }) => ref === "action_result");
print(`${JSON.stringify({ exchanges, result: result?.data ?? null })}\n`);
process.exit(0);
