//! Our own: what the engine and the facilitator's API answer.

codes! {
    PAYMENT_NOT_FOUND = "payment_not_found": "No payment is known under this name.",
    INVALID_IDEMPOTENCY_KEY = "invalid_idempotency_key": "The idempotency key is not 1 to 255 visible ASCII characters.",
    ASSET_NOT_ALLOWED = "asset_not_allowed": "The asset is not one that is settled here.",
    AUTHORIZATION_EXPIRED = "authorization_expired": "The authorization expired before it could be settled.",
    PAYMENT_EXPIRED = "payment_expired": "The authorization's time passed before it was settled.",
    LEDGER_IN_USE = "ledger_in_use": "Another engine works on this ledger.",
    SETTLEMENT_FAILED = "settlement_failed": "The settlement was proven not to have moved anything.",
    TRANSFER_NOT_FOUND = "transfer_not_found": "The transaction does not contain the expected transfer.",
    SIGNER_UNAVAILABLE = "signer_unavailable": "No settling account can act now; try again later.",
    GAS_PRICE_TOO_HIGH = "gas_price_too_high": "The network's fees are above the configured limit; try again later.",
    NETWORK_UNAVAILABLE = "network_unavailable": "The network's node cannot be asked now; try again later.",
    LEDGER_UNAVAILABLE = "ledger_unavailable": "The ledger cannot be written; payments are not taken now.",
    TOO_MANY_REQUESTS = "too_many_requests": "Too much is waiting; try again later.",
    SHUTTING_DOWN = "shutting_down": "The server is stopping; try again later.",
    REQUEST_TOO_LARGE = "request_too_large": "The request is larger than allowed.",
    INVALID_REQUEST = "invalid_request": "The request is malformed.",
    NOT_FOUND = "not_found": "Nothing is served under this address.",
    INTERNAL_ERROR = "internal_error": "Something failed on this side; try again later.",
}
