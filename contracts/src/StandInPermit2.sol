// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

import {ISignatureTransfer} from "./Permit2Interface.sol";

/// A stand-in for Permit2 on chains that have none, written from its published
/// interface: single signature transfers, their unordered nonces, their errors.
/// It has no allowance transfers and no batches. Payments are tried with the
/// real one as well.
///
/// It is as permissive as the real one where a verifier must be stricter: it
/// takes compact (64 bytes) and high-s signatures, and a token without code.
contract StandInPermit2 is ISignatureTransfer {
    event UnorderedNonceInvalidation(address indexed owner, uint256 word, uint256 mask);

    error InvalidAmount(uint256 maxAmount);
    error InvalidContractSignature();
    error InvalidNonce();
    error InvalidSignature();
    error InvalidSignatureLength();
    error InvalidSigner();
    error SignatureExpired(uint256 signatureDeadline);

    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,uint256 chainId,address verifyingContract)");
    bytes32 private constant TOKEN_PERMISSIONS_TYPEHASH = keccak256("TokenPermissions(address token,uint256 amount)");
    bytes32 private constant PERMIT_TYPEHASH = keccak256(
        "PermitTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline)TokenPermissions(address token,uint256 amount)"
    );
    /// What follows is the caller's: the witness and every type that it uses.
    string private constant WITNESS_PERMIT_TYPE =
        "PermitWitnessTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,";
    bytes32 private constant S_OF_COMPACT = bytes32(type(uint256).max >> 1);
    bytes4 private constant VALID_SIGNATURE = 0x1626ba7e;

    /// The used nonces of an owner, 256 a word: nonce = word << 8 | bit.
    mapping(address owner => mapping(uint256 word => uint256 bits)) public nonceBitmap;

    function permitTransferFrom(
        PermitTransferFrom memory permit,
        SignatureTransferDetails calldata transferDetails,
        address owner,
        bytes calldata signature
    ) external {
        bytes32 structHash = keccak256(
            abi.encode(PERMIT_TYPEHASH, _permissionsHash(permit), msg.sender, permit.nonce, permit.deadline)
        );
        _spend(permit, transferDetails, owner, structHash, signature);
    }

    function permitWitnessTransferFrom(
        PermitTransferFrom memory permit,
        SignatureTransferDetails calldata transferDetails,
        address owner,
        bytes32 witness,
        string calldata witnessTypeString,
        bytes calldata signature
    ) external {
        bytes32 typeHash = keccak256(abi.encodePacked(WITNESS_PERMIT_TYPE, witnessTypeString));
        bytes32 structHash = keccak256(
            abi.encode(typeHash, _permissionsHash(permit), msg.sender, permit.nonce, permit.deadline, witness)
        );
        _spend(permit, transferDetails, owner, structHash, signature);
    }

    /// Gives up every nonce of the caller's word that `mask` names.
    function invalidateUnorderedNonces(uint256 wordPos, uint256 mask) external {
        nonceBitmap[msg.sender][wordPos] |= mask;
        emit UnorderedNonceInvalidation(msg.sender, wordPos, mask);
    }

    /// Computed on every call, so that one runtime is right on any chain.
    function DOMAIN_SEPARATOR() public view returns (bytes32) {
        return keccak256(abi.encode(DOMAIN_TYPEHASH, keccak256("Permit2"), block.chainid, address(this)));
    }

    function _spend(
        PermitTransferFrom memory permit,
        SignatureTransferDetails calldata details,
        address owner,
        bytes32 structHash,
        bytes calldata signature
    ) private {
        if (block.timestamp > permit.deadline) revert SignatureExpired(permit.deadline);
        if (details.requestedAmount > permit.permitted.amount) revert InvalidAmount(permit.permitted.amount);
        _useNonce(owner, permit.nonce);
        _verify(owner, keccak256(abi.encodePacked(hex"1901", DOMAIN_SEPARATOR(), structHash)), signature);
        _transfer(permit.permitted.token, owner, details.to, details.requestedAmount);
    }

    function _permissionsHash(PermitTransferFrom memory permit) private pure returns (bytes32) {
        return keccak256(abi.encode(TOKEN_PERMISSIONS_TYPEHASH, permit.permitted.token, permit.permitted.amount));
    }

    function _useNonce(address owner, uint256 nonce) private {
        uint256 bit = 1 << (nonce & 0xff);
        uint256 used = nonceBitmap[owner][nonce >> 8];
        if (used & bit != 0) revert InvalidNonce();
        nonceBitmap[owner][nonce >> 8] = used | bit;
    }

    function _verify(address owner, bytes32 digest, bytes calldata signature) private view {
        if (owner.code.length != 0) {
            (bool ok, bytes memory answer) = owner.staticcall(abi.encodeWithSelector(VALID_SIGNATURE, digest, signature));
            if (!ok || answer.length < 32 || bytes4(answer) != VALID_SIGNATURE) revert InvalidContractSignature();
            return;
        }
        address signer = _recover(digest, signature);
        if (signer == address(0)) revert InvalidSignature();
        if (signer != owner) revert InvalidSigner();
    }

    function _recover(bytes32 digest, bytes calldata signature) private pure returns (address) {
        if (signature.length == 65) {
            return ecrecover(digest, uint8(signature[64]), bytes32(signature[0:32]), bytes32(signature[32:64]));
        }
        if (signature.length != 64) revert InvalidSignatureLength();
        // EIP-2098: the highest bit of s is the parity.
        bytes32 packed = bytes32(signature[32:64]);
        uint8 v = 27 + uint8(uint256(packed) >> 255);
        return ecrecover(digest, v, bytes32(signature[0:32]), packed & S_OF_COMPACT);
    }

    function _transfer(address token, address from, address to, uint256 amount) private {
        (bool ok, bytes memory answer) =
            token.call(abi.encodeWithSignature("transferFrom(address,address,uint256)", from, to, amount));
        bool accepted = answer.length == 0 || (answer.length >= 32 && uint256(bytes32(answer)) == 1);
        require(ok && accepted, "TRANSFER_FROM_FAILED");
    }
}
