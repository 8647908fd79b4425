import { cases as baseline } from "./baseline.mjs";

export const cases = [...baseline];
