//! Our own: what the seller's side answers.

codes! {
    DUPLICATE_HEADER = "duplicate_header": "More than one payment header was sent; send exactly one.",
    PAYMENT_HEADER_TOO_LARGE = "payment_header_too_large": "The payment header is longer than 16 KiB.",
    AMBIGUOUS_PATH = "ambiguous_path": "The path can be read in several ways; send it in canonical form.",
    PAYMENT_IDENTIFIER_REQUIRED = "payment_identifier_required": "The route asks for a payment identifier.",
    INVALID_PAYMENT_IDENTIFIER = "invalid_payment_identifier": "The payment identifier is not 16 to 128 letters, digits, hyphens and underscores.",
    PAYMENT_IDENTIFIER_CONFLICT = "payment_identifier_conflict": "The payment identifier was used with another payment or request.",
    AUTHORIZATION_ALREADY_CLAIMED = "authorization_already_claimed": "The authorization is being used by another request or was used before.",
    PAYMENT_IN_PROGRESS = "payment_in_progress": "The same payment is being handled right now; ask again with it.",
    FACILITATOR_UNAVAILABLE = "facilitator_unavailable": "The facilitator cannot be asked now; try again later.",
    FACILITATOR_PROTOCOL_ERROR = "facilitator_protocol_error": "The facilitator answered something that is not in the protocol.",
    UPSTREAM_UNAVAILABLE = "upstream_unavailable": "The server behind the gate cannot be reached; nothing was charged.",
    UPSTREAM_FAILED = "upstream_failed": "The server behind the gate failed; nothing was charged.",
    RESPONSE_TOO_LARGE = "response_too_large": "The answer is larger than may be held until it is paid.",
    EXPOSURE_LIMIT_REACHED = "exposure_limit_reached": "Too much is served and not settled yet; try again later.",
    QUOTA_EXHAUSTED = "quota_exhausted": "The pass has no requests left; buy another one.",
    PASS_EXPIRED = "pass_expired": "The pass has expired; buy another one.",
    PASS_REVOKED = "pass_revoked": "The pass was revoked because its payment failed.",
    INVALID_PASS = "invalid_pass": "The pass is unknown here or not for this route.",
    METHOD_NOT_ALLOWED = "method_not_allowed": "The method is not served here.",
    ACCESS_DENIED = "access_denied": "A rule of the server refused access.",
}
