//! Shared by all schemes (x402 v2 §9).

codes! {
    PAYMENT_REQUIRED = "payment_required": "No payment was sent; the terms are in the answer.",
    INSUFFICIENT_FUNDS = "insufficient_funds": "The payer does not hold enough of the asset.",
    INVALID_NETWORK = "invalid_network": "The network is not one that is known here, or not the one that was offered.",
    INVALID_PAYLOAD = "invalid_payload": "The payment is not of the shape that its scheme asks for.",
    INVALID_PAYMENT_REQUIREMENTS = "invalid_payment_requirements": "The payment requirements are incomplete or contradict themselves.",
    INVALID_SCHEME = "invalid_scheme": "The scheme is not the one that was offered.",
    UNSUPPORTED_SCHEME = "unsupported_scheme": "The scheme is not supported here.",
    INVALID_X402_VERSION = "invalid_x402_version": "The x402 version is not 2 or 1, or not the one that the header or body stands for.",
    INVALID_TRANSACTION_STATE = "invalid_transaction_state": "The transaction failed, was reverted or is not what it must be.",
    UNEXPECTED_VERIFY_ERROR = "unexpected_verify_error": "Verification failed for a reason that is not the payment's; it can be tried again.",
    UNEXPECTED_SETTLE_ERROR = "unexpected_settle_error": "Settlement failed for a reason that is not the payment's; it can be tried again.",
    SETTLEMENT_PENDING = "settlement_pending": "The settlement was sent and its outcome is not known yet; ask again for the same payment.",
    DUPLICATE_SETTLEMENT = "duplicate_settlement": "This authorization was settled before; the answer names the transaction.",
    NO_MATCHING_PAYMENT_REQUIREMENTS = "no_matching_payment_requirements": "The payment matches none of the offered ways to pay.",
    EXTENSION_ECHO_MISMATCH = "extension_echo_mismatch": "The payment changes what the server sent in an extension.",
}
