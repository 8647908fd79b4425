//! Our own methods on EVM networks: EIP-2612 permits through a settler, and
//! transactions shown as proof.

codes! {
    INVALID_EXACT_EVM_EIP2612_OWNER = "invalid_exact_evm_eip2612_owner": "The permit's owner cannot be the payer of these terms.",
    INVALID_EXACT_EVM_EIP2612_SPENDER = "invalid_exact_evm_eip2612_spender": "The permit's spender is not the payee's settler.",
    INVALID_EXACT_EVM_EIP2612_VALUE_MISMATCH = "invalid_exact_evm_eip2612_value_mismatch": "The permitted value is not the amount that is asked.",
    INVALID_EXACT_EVM_EIP2612_DEADLINE = "invalid_exact_evm_eip2612_deadline": "The permit has expired or expires too soon, or holds too long.",
    INVALID_EXACT_EVM_EIP2612_SIGNATURE = "invalid_exact_evm_eip2612_signature": "The permit's signature is not the owner's.",
    INVALID_EXACT_EVM_EIP2612_INSUFFICIENT_BALANCE = "invalid_exact_evm_eip2612_insufficient_balance": "The owner holds less than the amount.",
    INVALID_EXACT_EVM_EIP2612_NONCE = "invalid_exact_evm_eip2612_nonce": "The permit's nonce is not the owner's next one in the token.",
    INVALID_EXACT_EVM_EIP2612_ALREADY_SETTLED = "invalid_exact_evm_eip2612_already_settled": "The permit, or a later one of its owner, was settled.",
    INVALID_EXACT_EVM_EIP2612_NOT_SUPPORTED = "invalid_exact_evm_eip2612_not_supported": "The asset has no EIP-2612 permits, or the network lacks what settles them.",
    INVALID_EXACT_EVM_EIP2612_SIMULATION_FAILED = "invalid_exact_evm_eip2612_simulation_failed": "The settlement would fail if it were sent now.",
    INVALID_EXACT_EVM_TXID_PAYLOAD = "invalid_exact_evm_txid_payload": "The transaction proof is malformed.",
    INVALID_EXACT_EVM_TXID_REFERENCE = "invalid_exact_evm_txid_reference": "The reference is not the offer's, or the offer has expired.",
    INVALID_EXACT_EVM_TXID_SIGNATURE = "invalid_exact_evm_txid_signature": "The proof is not signed by the payer of the transaction.",
    INVALID_EXACT_EVM_TXID_NOT_FOUND = "invalid_exact_evm_txid_not_found": "The transaction is in no block yet; show the same proof again later.",
    INVALID_EXACT_EVM_TXID_NOT_FINAL = "invalid_exact_evm_txid_not_final": "The transaction does not lie deep enough yet; show the same proof again later.",
    INVALID_EXACT_EVM_TXID_REVERTED = "invalid_exact_evm_txid_reverted": "The transaction failed and moved nothing.",
    INVALID_EXACT_EVM_TXID_ASSET_MISMATCH = "invalid_exact_evm_txid_asset_mismatch": "The transaction moves nothing of the asset that is asked for.",
    INVALID_EXACT_EVM_TXID_RECIPIENT_MISMATCH = "invalid_exact_evm_txid_recipient_mismatch": "The transaction pays somebody else.",
    INVALID_EXACT_EVM_TXID_AMOUNT_MISMATCH = "invalid_exact_evm_txid_amount_mismatch": "The transaction pays another amount than is asked.",
    INVALID_EXACT_EVM_TXID_PAYER_MISMATCH = "invalid_exact_evm_txid_payer_mismatch": "The transaction is paid by another account than the proof names.",
    INVALID_EXACT_EVM_TXID_LOG_INDEX = "invalid_exact_evm_txid_log_index": "The proof names a log where the payer has one transfer only, or none where there are several.",
    INVALID_EXACT_EVM_TXID_OTHER_METHOD = "invalid_exact_evm_txid_other_method": "The transaction settles a payment of another method of the same payer.",
    INVALID_EXACT_EVM_TXID_TOO_OLD = "invalid_exact_evm_txid_too_old": "The transaction's block lies outside of the offer's time.",
}
