// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

import {ISignatureTransfer} from "./Permit2Interface.sol";

/// What both proxies share. A proxy is the spender that a buyer names in a
/// Permit2 signature; the signature's witness names the payee, so that whoever
/// submits it cannot send the money elsewhere. The functions, events, errors
/// and types are those that x402 publishes; on public networks its own
/// contracts are used, these stand at their addresses on test chains.
abstract contract Permit2Proxy {
    event Settled();
    event SettledWithPermit();

    error InvalidDestination();
    error InvalidOwner();
    error PaymentTooEarly();
    error Permit2612AmountMismatch();
    error ReentrancyGuardReentrantCall();

    /// An EIP-2612 permit of the same owner that lets Permit2 take the token.
    struct EIP2612Permit {
        uint256 value;
        uint256 deadline;
        bytes32 r;
        bytes32 s;
        uint8 v;
    }

    ISignatureTransfer public constant PERMIT2 = ISignatureTransfer(0x000000000022D473030F116dDEE9F6B43aC78BA3);

    bool private transient entered;

    /// One settlement at a time: a token that calls back finds the door shut.
    modifier once() {
        if (entered) revert ReentrancyGuardReentrantCall();
        entered = true;
        _;
        entered = false;
    }

    /// The transfer checks both ends; the latest time is Permit2's deadline.
    function _requirePayable(address owner, address to, uint256 validAfter) internal view {
        if (owner == address(0)) revert InvalidOwner();
        if (to == address(0)) revert InvalidDestination();
        if (block.timestamp < validAfter) revert PaymentTooEarly();
    }

    /// Tries the permit and goes on without it: somebody may have submitted it
    /// first, and where the allowance is missing the transfer fails by itself.
    function _tryPermit(address token, address owner, EIP2612Permit calldata permit2612, uint256 permitted) internal {
        if (permit2612.value != permitted) revert Permit2612AmountMismatch();
        bytes memory data = abi.encodeWithSignature(
            "permit(address,address,uint256,uint256,uint8,bytes32,bytes32)",
            owner,
            PERMIT2,
            permit2612.value,
            permit2612.deadline,
            permit2612.v,
            permit2612.r,
            permit2612.s
        );
        assembly ("memory-safe") {
            // Nothing of what it returns is copied.
            pop(call(gas(), token, 0, add(data, 0x20), mload(data), 0, 0))
        }
    }
}
