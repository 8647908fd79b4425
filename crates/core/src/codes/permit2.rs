//! Permit2, for schemes `exact` and `upto`.

codes! {
    INVALID_PERMIT2_SPENDER = "invalid_permit2_spender": "The permit names another spender than the x402 proxy.",
    INVALID_PERMIT2_RECIPIENT_MISMATCH = "invalid_permit2_recipient_mismatch": "The permit's witness pays somebody else.",
    INVALID_PERMIT2_SIGNATURE = "invalid_permit2_signature": "The permit's signature is not the owner's.",
    PERMIT2_DEADLINE_EXPIRED = "permit2_deadline_expired": "The permit has expired or expires too soon.",
    PERMIT2_NOT_YET_VALID = "permit2_not_yet_valid": "The permit is not valid yet.",
    PERMIT2_AMOUNT_MISMATCH = "permit2_amount_mismatch": "The permitted amount is not the amount that is asked.",
    PERMIT2_TOKEN_MISMATCH = "permit2_token_mismatch": "The permit is for another token.",
    PERMIT2_ALLOWANCE_REQUIRED = "permit2_allowance_required": "The payer has not approved Permit2 for the token.",
    PERMIT2_SIMULATION_FAILED = "permit2_simulation_failed": "The settlement would fail if it were sent now.",
    PERMIT2_INSUFFICIENT_BALANCE = "permit2_insufficient_balance": "The payer holds less than the amount.",
    PERMIT2_PROXY_NOT_DEPLOYED = "permit2_proxy_not_deployed": "The x402 proxy has no code on this network.",
    PERMIT2_INVALID_AMOUNT = "permit2_invalid_amount": "The permitted amount is not a valid amount.",
    PERMIT2_INVALID_DESTINATION = "permit2_invalid_destination": "The destination is not a valid account.",
    PERMIT2_INVALID_OWNER = "permit2_invalid_owner": "The owner is not a valid account.",
    PERMIT2_PAYMENT_TOO_EARLY = "permit2_payment_too_early": "The proxy refused the permit as not valid yet.",
    PERMIT2_INVALID_NONCE = "permit2_invalid_nonce": "The permit's nonce is used.",
    PERMIT2_2612_AMOUNT_MISMATCH = "permit2_2612_amount_mismatch": "The EIP-2612 permit is not for the permitted amount.",
}
