// Prints, as the last line, the code of other people's contracts that `interop/`
// installs, for the benchmarks to place on their chain.
import { frameworkCode } from "../interop/lib/delegation.mjs";
import { compilePermit2, permit2 } from "../interop/lib/real.mjs";

const [owner] = process.argv.slice(2);
compilePermit2();
console.log(JSON.stringify({ permit2: permit2().runtime, framework: frameworkCode(owner) }));
