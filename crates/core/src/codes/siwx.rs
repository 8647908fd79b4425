//! Sign-in with a wallet.

codes! {
    INVALID_SIWX_CHAIN_ID = "invalid_siwx_chain_id": "The chain id is malformed or not supported.",
    INVALID_SIWX_DOMAIN_MISMATCH = "invalid_siwx_domain_mismatch": "The sign-in is for another domain.",
    INVALID_SIWX_URI_MISMATCH = "invalid_siwx_uri_mismatch": "The sign-in is for another address.",
    INVALID_SIWX_EXPIRATION_TIME = "invalid_siwx_expiration_time": "The expiration time is malformed.",
    INVALID_SIWX_EXPIRED = "invalid_siwx_expired": "The sign-in has expired.",
    INVALID_SIWX_ISSUED_AT = "invalid_siwx_issued_at": "The time of issue is malformed.",
    INVALID_SIWX_ISSUED_AT_IN_FUTURE = "invalid_siwx_issued_at_in_future": "The sign-in was issued in the future.",
    INVALID_SIWX_ISSUED_AT_TOO_OLD = "invalid_siwx_issued_at_too_old": "The sign-in was issued too long ago.",
    INVALID_SIWX_MALFORMED_SIGNATURE = "invalid_siwx_malformed_signature": "The signature is malformed.",
    INVALID_SIWX_NONCE = "invalid_siwx_nonce": "The nonce is malformed or was used.",
    INVALID_SIWX_NOT_BEFORE = "invalid_siwx_not_before": "The start of validity is malformed.",
    INVALID_SIWX_NOT_YET_VALID = "invalid_siwx_not_yet_valid": "The sign-in is not valid yet.",
    INVALID_SIWX_SIGNATURE = "invalid_siwx_signature": "The signature is not the account's.",
    INVALID_SIWX_UNSUPPORTED_CHAIN = "invalid_siwx_unsupported_chain": "The chain is not one that was offered.",
    INVALID_SIWX_VERIFIER_ERROR = "invalid_siwx_verifier_error": "The signature could not be checked; try again.",
    SIGN_IN_NOT_PAID = "sign_in_not_paid": "The account that signed in has not paid for it in the time that the seller grants.",
}
