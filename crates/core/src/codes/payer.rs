//! Our own: what the buyer's side answers.

codes! {
    BUDGET_EXCEEDED = "budget_exceeded": "The budget does not allow this payment.",
    PRICE_ABOVE_LIMIT = "price_above_limit": "The price is above the limit for one payment.",
    NETWORK_NOT_ALLOWED = "network_not_allowed": "The policy does not allow the network.",
    ASSET_NOT_KNOWN = "asset_not_known": "The asset is not in the asset table; add it to pay with it.",
    ASSET_MISMATCH = "asset_mismatch": "What the server says about the asset is not what the asset table says.",
    HOST_NOT_ALLOWED = "host_not_allowed": "The policy does not allow the host.",
    PAYEE_NOT_ALLOWED = "payee_not_allowed": "The policy does not allow the payee.",
    LIFETIME_TOO_LONG = "lifetime_too_long": "The server asks for an authorization that lives too long.",
    NO_ACCEPTABLE_TERMS = "no_acceptable_terms": "None of the offered ways to pay is allowed and supported.",
    ORIGIN_CHANGED = "origin_changed": "The server sent the request to another origin; nothing is paid there.",
    INSECURE_TRANSPORT = "insecure_transport": "The address is not HTTPS; nothing is paid over plain HTTP.",
    PAYMENT_OUTCOME_UNKNOWN = "payment_outcome_unknown": "The payment left and its outcome is not known; ask again with the same payment.",
    PAYMENT_REFUSED = "payment_refused": "The server refused the payment.",
    INVALID_PRICE = "invalid_price": "The price is not an amount that the asset can express.",
    INVALID_ADDRESS = "invalid_address": "The text is not an account on the network.",
    PRIVATE_ADDRESS_REFUSED = "private_address_refused": "The address that the server gave is not public.",
    WALLET_UNAVAILABLE = "wallet_unavailable": "The wallet cannot sign now.",
    REDIRECT_REFUSED = "redirect_refused": "The redirect is not followed with a payment.",
}
