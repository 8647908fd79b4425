//! The stable codes that a payer gives, besides those that servers send.

/// The URL is plain HTTP to somewhere else than this machine.
pub const POLICY_INSECURE_URL: &str = "policy_insecure_url";
/// The host is not one that the policy pays.
pub const POLICY_HOST: &str = "policy_host";
/// The price is above what one call may cost.
pub const POLICY_AMOUNT: &str = "policy_amount";
/// The network is not one that the policy pays on.
pub const POLICY_NETWORK: &str = "policy_network";
/// The asset is not in the asset table, or the server describes it otherwise.
pub const POLICY_ASSET: &str = "policy_asset";
/// The payee is not one that the policy pays.
pub const POLICY_PAYEE: &str = "policy_payee";
/// The wallet signed for longer than the policy allows.
pub const POLICY_LIFETIME: &str = "policy_lifetime";
/// A redirect led to another origin, or into a circle.
pub const POLICY_REDIRECT: &str = "policy_redirect";
/// A limit on spending would be passed.
pub const BUDGET_EXCEEDED: &str = "budget_exceeded";
/// No offer is one that the policy allows and the wallet can pay.
pub const NO_ACCEPTABLE_OFFER: &str = "no_acceptable_offer";
/// The account does not hold enough.
pub const INSUFFICIENT_FUNDS: &str = "insufficient_funds";
/// What the server asks for cannot be read.
pub const INVALID_OFFER: &str = "invalid_offer";
/// The caller's request cannot be sent.
pub const INVALID_REQUEST: &str = "invalid_request";
/// There is no wallet or record of spending to pay with, or it failed.
pub const WALLET_UNAVAILABLE: &str = "wallet_unavailable";
/// The record of spending failed.
pub const LEDGER_UNAVAILABLE: &str = "ledger_unavailable";
/// The server cannot be reached; nothing was signed.
pub const REQUEST_FAILED: &str = "request_failed";
/// The server refused the payment without saying why.
pub const PAYMENT_REFUSED: &str = "payment_refused";
/// Nobody can say yet whether the money moved.
pub const PAYMENT_OUTCOME_UNKNOWN: &str = "payment_outcome_unknown";
/// The money moved, and the goods did not come.
pub const PAID_NOT_DELIVERED: &str = "paid_not_delivered";
