//! Gas sponsoring extensions.

codes! {
    INVALID_EIP2612_EXTENSION_FORMAT = "invalid_eip2612_extension_format": "The eip2612GasSponsoring extension is malformed.",
    EIP2612_FROM_MISMATCH = "eip2612_from_mismatch": "The sponsored permit is by somebody else than the payer.",
    EIP2612_ASSET_MISMATCH = "eip2612_asset_mismatch": "The sponsored permit is for another asset.",
    EIP2612_SPENDER_NOT_PERMIT2 = "eip2612_spender_not_permit2": "The sponsored permit's spender is not Permit2.",
    EIP2612_DEADLINE_EXPIRED = "eip2612_deadline_expired": "The sponsored permit has expired.",
    INVALID_ERC20_APPROVAL_EXTENSION_FORMAT = "invalid_erc20_approval_extension_format": "The erc20ApprovalGasSponsoring extension is malformed.",
    ERC20_APPROVAL_FROM_MISMATCH = "erc20_approval_from_mismatch": "The sponsored approval is by somebody else than the payer.",
    ERC20_APPROVAL_ASSET_MISMATCH = "erc20_approval_asset_mismatch": "The sponsored approval is for another asset.",
    ERC20_APPROVAL_SPENDER_NOT_PERMIT2 = "erc20_approval_spender_not_permit2": "The sponsored approval's spender is not Permit2.",
    ERC20_APPROVAL_TX_WRONG_TARGET = "erc20_approval_tx_wrong_target": "The approval transaction calls another contract.",
    ERC20_APPROVAL_TX_WRONG_SELECTOR = "erc20_approval_tx_wrong_selector": "The approval transaction calls another function.",
    ERC20_APPROVAL_TX_WRONG_SPENDER = "erc20_approval_tx_wrong_spender": "The approval transaction approves another spender.",
    ERC20_APPROVAL_TX_INVALID_CALLDATA = "erc20_approval_tx_invalid_calldata": "The approval transaction's calldata is malformed.",
    ERC20_APPROVAL_TX_SIGNER_MISMATCH = "erc20_approval_tx_signer_mismatch": "The approval transaction is signed by somebody else.",
    ERC20_APPROVAL_TX_INVALID_SIGNATURE = "erc20_approval_tx_invalid_signature": "The approval transaction's signature is invalid.",
    ERC20_APPROVAL_TX_PARSE_FAILED = "erc20_approval_tx_parse_failed": "The approval transaction cannot be decoded.",
    ERC20_APPROVAL_TX_FAILED = "erc20_approval_tx_failed": "The approval transaction was included and failed.",
    ERC20_APPROVAL_BROADCAST_FAILED = "erc20_approval_broadcast_failed": "The approval transaction was not taken by the node.",
}
