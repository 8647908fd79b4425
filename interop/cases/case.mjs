/** A case against Tollway: on both chains, as the networks it names. */
export const tollwayCase = (name, run, networks = ["base-sepolia"]) => ({
  name,
  run,
  networks,
  chains: ["anvil", "devnet"],
  baseline: false,
});

/** A case among other people's programs alone. On anvil it needs nothing of ours, and tells a broken harness from a
 *  broken Tollway; on our chain it tells what unmodified programs miss there. */
export const baselineCase = (name, run, networks = ["base-sepolia"]) => ({
  name: `baseline-${name}`,
  run,
  networks,
  chains: ["anvil", "devnet"],
  baseline: true,
});

export const bothNetworks = ["base-sepolia", "sei-testnet"];

export const paidPath = "/paid/report";
