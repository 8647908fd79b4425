//! Scheme `exact` on Starknet networks.

codes! {
    INVALID_EXACT_STARKNET_PAYLOAD_SIGNATURE = "invalid_exact_starknet_payload_signature": "The account does not accept the signature.",
    INVALID_EXACT_STARKNET_PAYLOAD_ASSET_MISMATCH = "invalid_exact_starknet_payload_asset_mismatch": "The execution calls another asset.",
    INVALID_EXACT_STARKNET_PAYLOAD_RECIPIENT_MISMATCH = "invalid_exact_starknet_payload_recipient_mismatch": "The execution pays somebody else.",
    INVALID_EXACT_STARKNET_PAYLOAD_AMOUNT_MISMATCH = "invalid_exact_starknet_payload_amount_mismatch": "The execution moves another amount.",
    INVALID_EXACT_STARKNET_PAYLOAD_CALLER = "invalid_exact_starknet_payload_caller": "The execution may be sent by another caller only.",
    ACCOUNT_NOT_DEPLOYED = "account_not_deployed": "The paying account is not deployed.",
    OUTSIDE_EXECUTION_EXPIRED = "outside_execution_expired": "The execution has expired or expires too soon.",
    OUTSIDE_EXECUTION_WINDOW_EXCEEDS_MAX_TIMEOUT = "outside_execution_window_exceeds_max_timeout": "The execution is valid for longer than is allowed.",
    NONCE_ALREADY_USED = "nonce_already_used": "The execution's nonce is used.",
    SIMULATION_FAILED = "simulation_failed": "The settlement would fail if it were sent now.",
}
