/** The networks of the suite: real chain ids and real token addresses, on a local chain. */
export const networks = {
  "base-sepolia": {
    name: "base-sepolia",
    chainId: 84532,
    caip2: "eip155:84532",
    token: "0x036CbD53842c5426634e7929541eC2318f3dCF7e",
    domain: { name: "USDC", version: "2" },
  },
  "sei-testnet": {
    name: "sei-testnet",
    chainId: 1328,
    caip2: "eip155:1328",
    token: "0x4fCF1784B31630811181f670Aea7A7bEF803eaED",
    domain: { name: "USDC", version: "2" },
  },
  sepolia: {
    name: "sepolia",
    chainId: 11155111,
    caip2: "eip155:11155111",
    token: "0x1c7D4B196Cb0C7B01d743Fbc6116a902379C7238",
    domain: { name: "USDC", version: "2" },
  },
};

/** What every paid route of the suite costs: $0.01, in atomic units of a six-decimal dollar. */
export const price = { text: "$0.01", atomic: 10_000n };
