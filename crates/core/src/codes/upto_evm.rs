//! Scheme `upto` on EVM networks, besides Permit2's codes.

codes! {
    INVALID_UPTO_EVM_SCHEME = "invalid_upto_evm_scheme": "The scheme is not upto.",
    INVALID_UPTO_EVM_NETWORK_MISMATCH = "invalid_upto_evm_network_mismatch": "The payment is for another network.",
    INVALID_UPTO_EVM_TRANSACTION_FAILED = "invalid_upto_evm_transaction_failed": "The settlement transaction was included and failed.",
    INVALID_UPTO_EVM_PAYLOAD_SETTLEMENT_EXCEEDS_AMOUNT = "invalid_upto_evm_payload_settlement_exceeds_amount": "The charge is more than the permitted amount.",
    UPTO_AMOUNT_EXCEEDS_PERMITTED = "upto_amount_exceeds_permitted": "The charge is more than the permit allows.",
    UPTO_UNAUTHORIZED_FACILITATOR = "upto_unauthorized_facilitator": "The permit may be settled by another facilitator only.",
    UPTO_CALLER_NOT_PAYEE = "upto_caller_not_payee": "What is charged of a maximum is said by the payee's API key at this facilitator.",
    UPTO_FACILITATOR_MISMATCH = "upto_facilitator_mismatch": "The permit names another facilitator than the requirements.",
}
