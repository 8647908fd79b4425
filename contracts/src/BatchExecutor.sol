// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

/// Lets an account run many calls in one transaction, as itself: the code of an
/// EIP-7702 delegation. It keeps nothing, and only the account may use it.
///
/// The shape is ERC-7579's `execute` in one mode: a batch (0x01) in which calls
/// fail alone (0x01).
contract BatchExecutor {
    struct Execution {
        address target;
        uint256 value;
        bytes callData;
    }

    error OnlySelf();
    error UnsupportedMode();
    error OutOfGas();

    /// The last 22 bytes of `mode` say how much gas each call may use; zero is
    /// all there is. A call that could not have as much is not begun: the whole
    /// batch is undone, so that none fails for the gas of another.
    function execute(bytes32 mode, bytes calldata executionCalldata) external payable {
        if (msg.sender != address(this)) revert OnlySelf();
        if (!supportsExecutionMode(mode)) revert UnsupportedMode();
        uint256 limit = uint176(uint256(mode));
        Execution[] calldata batch;
        assembly ("memory-safe") {
            let head := add(executionCalldata.offset, calldataload(executionCalldata.offset))
            batch.offset := add(head, 32)
            batch.length := calldataload(head)
        }
        for (uint256 i = 0; i < batch.length; i++) {
            _try(batch[i], limit);
        }
    }

    function supportsExecutionMode(bytes32 mode) public pure returns (bool) {
        return bytes10(mode) == bytes10(0x01010000000000000000);
    }

    receive() external payable {}

    function _try(Execution calldata item, uint256 limit) private {
        if (limit != 0 && gasleft() < limit + limit / 63 + 15_000) revert OutOfGas();
        (address target, uint256 value, bytes calldata data) = (item.target, item.value, item.callData);
        assembly ("memory-safe") {
            let free := mload(0x40)
            calldatacopy(free, data.offset, data.length)
            let given := limit
            if iszero(limit) { given := gas() }
            // Nothing of what it returns is copied.
            pop(call(given, target, value, free, data.length, 0, 0))
        }
    }
}
