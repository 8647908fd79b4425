//! Our own: what the seller's side answers.

codes! {
    DUPLICATE_HEADER = "duplicate_header": "More than one payment header was sent; send exactly one.",
    PAYMENT_HEADER_TOO_LARGE = "payment_header_too_large": "The payment header is longer than 16 KiB.",
    AMBIGUOUS_PATH = "ambiguous_path": "The path can be read in several ways; send it in canonical form.",
    PATH_TOO_LONG = "path_too_long": "The path is longer than is read.",
    INVALID_PATH = "invalid_path": "The request target is not a path.",
    UPGRADE_NOT_SUPPORTED = "upgrade_not_supported": "A priced route does not switch protocols.",
    RESPONSE_STREAMS = "response_streams": "The server behind the gate streams an answer that has to be held until it is paid.",
    SERVER_STOPPED = "server_stopped": "The server stopped before it could answer; send the same payment again.",
    PAYMENT_IDENTIFIER_REQUIRED = "payment_identifier_required": "The route asks for a payment identifier.",
    INVALID_PAYMENT_IDENTIFIER = "invalid_payment_identifier": "The payment identifier is not 16 to 128 letters, digits, hyphens and underscores.",
    PAYMENT_IDENTIFIER_CONFLICT = "payment_identifier_conflict": "The payment identifier was used with another payment or request.",
    PAYMENT_IN_PROGRESS = "payment_in_progress": "The same payment is being handled right now; ask again with it.",
    FACILITATOR_UNAVAILABLE = "facilitator_unavailable": "The facilitator cannot be asked now; try again later.",
    FACILITATOR_PROTOCOL_ERROR = "facilitator_protocol_error": "The facilitator answered something that is not in the protocol.",
    UPSTREAM_UNAVAILABLE = "upstream_unavailable": "The server behind the gate cannot be reached; nothing was charged.",
    UPSTREAM_FAILED = "upstream_failed": "The server behind the gate failed; nothing was charged.",
    RESPONSE_TOO_LARGE = "response_too_large": "The answer is larger than may be held until it is paid.",
    METHOD_NOT_ALLOWED = "method_not_allowed": "The method is not served here.",
    ACCESS_DENIED = "access_denied": "A rule of the server refused access.",
}
