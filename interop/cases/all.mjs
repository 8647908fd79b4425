import { cases as axiom } from "./axiom.mjs";
import { cases as baseline } from "./baseline.mjs";
import { cases as browser } from "./browser.mjs";
import { cases as dashboard } from "./dashboard.mjs";
import { cases as facilitator } from "./facilitator.mjs";
import { cases as gate } from "./gate.mjs";
import { cases as mcp } from "./mcp.mjs";
import { cases as mock } from "./mock.mjs";
import { cases as paywall } from "./paywall.mjs";
import { cases as payer } from "./payer.mjs";
import { cases as permit2 } from "./permit2.mjs";
import { cases as permissions } from "./permissions.mjs";
import { cases as permissionAccounts } from "./permission-accounts.mjs";
import { cases as returning } from "./returning.mjs";
import { cases as rpc } from "./rpc.mjs";
import { cases as statements } from "./statements.mjs";

export const cases = [...baseline, ...rpc, ...facilitator, ...gate, ...payer, ...permit2, ...permissions, ...permissionAccounts, ...mock, ...axiom, ...browser, ...paywall, ...dashboard, ...statements, ...returning, ...mcp];
