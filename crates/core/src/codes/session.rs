//! Our own: session keys of Starknet accounts, in the words of the published
//! session SDKs.

codes! {
    SESSION_CREATION_FAILED = "session_creation_failed": "The session key could not be made.",
    SESSION_EXPIRED = "session_expired": "The session is over, or ends before the payment does.",
    SESSION_DECRYPTION_FAILED = "session_decryption_failed": "The stored session key cannot be decrypted with this passphrase.",
    INVALID_WALLET_TYPE_FOR_SESSION = "invalid_wallet_type_for_session": "The account's class knows no session keys.",
    SESSION_INVALID_RESPONSE = "session_invalid_response": "The account answered something that is no session.",
    INVALID_SPENDING_POLICY = "invalid_spending_policy": "The spending policy contradicts itself.",
    SESSION_NOT_REGISTERED = "session_not_registered": "The account does not know the session key.",
    SESSION_REVOKED = "session_revoked": "The session key was revoked.",
    SESSION_MAX_CALLS_EXCEEDED = "session_max_calls_exceeded": "The session has no calls left.",
    SESSION_ENTRYPOINT_NOT_ALLOWED = "session_entrypoint_not_allowed": "The session may not call this entry point.",
    SESSION_POLICY_EXCEEDED = "session_policy_exceeded": "The session's spending policy does not allow so much.",
    UNBOUND_TRANSACTION = "unbound_transaction": "A transaction's hash is no payment for this request.",
    UNUSABLE_SIGNATURE = "unusable_signature": "This signature cannot be settled.",
    SPONSOR_NOT_ALLOWED = "sponsor_not_allowed": "The sponsor does not send this.",
    SPONSOR_QUOTA_EXCEEDED = "sponsor_quota_exceeded": "The sponsor's fees for this caller are used up for today.",
}
