// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

import {SignatureCheck} from "./SignatureCheck.sol";

/// Turns a buyer's EIP-2612 permit into a payment to the one payee of this
/// contract.
///
/// A permit names a spender, not a payee, so the spender must be something that
/// can pay nobody else. This contract holds nothing, has no owner and cannot
/// change; anybody may call it. Why that is safe:
///
/// - **No redirection.** The payee is part of the code (and so of the address
///   that the buyer signs as spender).
/// - **No more than was signed, and once.** Only the exact value of a permit
///   moves, each permit moves it at most once (`nextNonce`), never after its
///   deadline, and either all of it or nothing (fees on transfer revert).
/// - **A permit that somebody else has submitted first still pays.** The token
///   has then used the permit's nonce. This contract checks the signature
///   itself and takes the allowance, but only while the nonce before the
///   token's next one is the permit's: no later permit has replaced it.
/// - **An allowance alone moves nothing.** What an owner approved by hand, or
///   what is left of a permit that was never settled, is out of reach without a
///   signature over this spender, that nonce and that value. One case is left:
///   who signs two permits with the same nonce and submits the other one has
///   revoked the first on the token, but it is still good here until its
///   deadline, for an allowance that the owner gave this contract otherwise.
///   The money goes to the payee for whom it was signed.
/// - **Odd tokens pay nothing.** Without a `nonces` that moves by one, a permit
///   that a fallback swallows is refused; answers that are long are not copied.
contract PermitSettler {
    /// The payment of `owner`'s permit with `nonce` is done.
    event Settled(address indexed token, address indexed owner, uint256 indexed nonce, uint256 value);

    error InvalidPayee();
    error InvalidValue();
    /// The deadline is over, for the transfer too.
    error PermitExpired();
    /// This permit, or a later one of the owner, was settled here.
    error PermitSpent();
    /// The token's next nonce for the owner is `next`: the permit is neither
    /// good now nor the last one that the token took.
    error NonceMismatch(uint256 next);
    /// The token took this nonce already, and this is not the owner's signature.
    error InvalidSignature();
    /// The token refused the permit, for this reason (cut to 256 bytes).
    error PermitRefused(bytes reason);
    /// The token said yes to a permit and did not use its nonce.
    error PermitIgnored();
    /// The token refused the transfer, for this reason (cut to 256 bytes).
    error TransferRefused(bytes reason);
    /// The payee did not get the exact value.
    error PaidInPart();
    /// The token does not answer as one with permits does.
    error UnsupportedToken();

    bytes32 private constant PERMIT_TYPEHASH =
        keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");

    address public immutable payTo;
    /// The lowest nonce of an owner's permits for a token that can still be settled here.
    mapping(address token => mapping(address owner => uint256)) public nextNonce;

    constructor(address payTo_) {
        if (payTo_ == address(0)) revert InvalidPayee();
        payTo = payTo_;
    }

    /// Pays `value` of `token` from `owner` to the payee. A signature of 65
    /// bytes (r, s, v) reaches the token as v, r and s; any other as bytes.
    function settle(
        address token,
        address owner,
        uint256 value,
        uint256 nonce,
        uint256 deadline,
        bytes calldata signature
    ) external {
        if (value == 0) revert InvalidValue();
        if (block.timestamp > deadline) revert PermitExpired();
        if (nonce < nextNonce[token][owner]) revert PermitSpent();
        nextNonce[token][owner] = nonce + 1;

        uint256 next = _word(token, abi.encodeWithSignature("nonces(address)", owner));
        if (next == nonce) {
            _permit(token, owner, value, nonce, deadline, signature);
        } else if (next == nonce + 1) {
            _requireSigned(token, owner, value, nonce, deadline, signature);
        } else {
            revert NonceMismatch(next);
        }
        _pay(token, owner, value);
        emit Settled(token, owner, nonce, value);
    }

    function _permit(
        address token,
        address owner,
        uint256 value,
        uint256 nonce,
        uint256 deadline,
        bytes calldata signature
    ) private {
        (bool ok,, bytes memory reason) = _call(token, _permitCall(owner, value, deadline, signature));
        if (!ok) revert PermitRefused(reason);
        if (_word(token, abi.encodeWithSignature("nonces(address)", owner)) != nonce + 1) revert PermitIgnored();
    }

    function _permitCall(address owner, uint256 value, uint256 deadline, bytes calldata signature)
        private
        view
        returns (bytes memory)
    {
        if (signature.length != 65) {
            return abi.encodeWithSignature(
                "permit(address,address,uint256,uint256,bytes)", owner, address(this), value, deadline, signature
            );
        }
        return abi.encodeWithSignature(
            "permit(address,address,uint256,uint256,uint8,bytes32,bytes32)",
            owner,
            address(this),
            value,
            deadline,
            uint8(signature[64]),
            bytes32(signature[0:32]),
            bytes32(signature[32:64])
        );
    }

    function _requireSigned(
        address token,
        address owner,
        uint256 value,
        uint256 nonce,
        uint256 deadline,
        bytes calldata signature
    ) private view {
        bytes32 domain = bytes32(_word(token, abi.encodeWithSignature("DOMAIN_SEPARATOR()")));
        bytes32 structHash = keccak256(abi.encode(PERMIT_TYPEHASH, owner, address(this), value, nonce, deadline));
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", domain, structHash));
        if (!SignatureCheck.isValid(owner, digest, signature)) revert InvalidSignature();
    }

    function _pay(address token, address owner, uint256 value) private {
        bytes memory balance = abi.encodeWithSignature("balanceOf(address)", payTo);
        uint256 before = _word(token, balance);
        (bool ok, uint256 answer, bytes memory reason) =
            _call(token, abi.encodeWithSignature("transferFrom(address,address,uint256)", owner, payTo, value));
        // Tokens that answer nothing are taken at their balance.
        if (!ok || (reason.length != 0 && answer != 1)) revert TransferRefused(reason);
        unchecked {
            if (_word(token, balance) - before != value) revert PaidInPart();
        }
    }

    /// One word that `token` answers.
    function _word(address token, bytes memory data) private view returns (uint256 word) {
        bool ok;
        assembly ("memory-safe") {
            ok := staticcall(gas(), token, add(data, 0x20), mload(data), 0, 0x20)
            ok := and(ok, gt(returndatasize(), 0x1f))
            word := mload(0)
        }
        if (!ok) revert UnsupportedToken();
    }

    /// Calls, and copies at most 256 bytes of the answer; `word` is its first.
    function _call(address token, bytes memory data) private returns (bool ok, uint256 word, bytes memory answer) {
        answer = new bytes(256);
        assembly ("memory-safe") {
            ok := call(gas(), token, 0, add(data, 0x20), mload(data), 0, 0)
            let size := returndatasize()
            if gt(size, 256) { size := 256 }
            returndatacopy(add(answer, 0x20), 0, size)
            mstore(answer, size)
            word := mload(add(answer, 0x20))
        }
    }
}
