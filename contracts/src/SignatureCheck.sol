// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

/// Who may speak for an account: its code if it has any (EIP-1271, including
/// EIP-7702 delegations, never falling back to ECDSA), else its key.
library SignatureCheck {
    /// Half the order of secp256k1: a larger s is the malleable twin.
    uint256 private constant HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;
    /// The selector of `isValidSignature(bytes32,bytes)`, also its yes.
    bytes4 private constant VALID_SIGNATURE = 0x1626ba7e;

    function isValid(address signer, bytes32 digest, bytes memory signature) internal view returns (bool) {
        if (signer.code.length != 0) {
            return isValidByCode(signer, digest, signature);
        }
        return recover(digest, signature) == signer;
    }

    function isValidByCode(address signer, bytes32 digest, bytes memory signature) private view returns (bool) {
        (bool ok, bytes memory answer) = signer.staticcall(abi.encodeWithSelector(VALID_SIGNATURE, digest, signature));
        return ok && answer.length >= 32 && abi.decode(answer, (bytes32)) == bytes32(VALID_SIGNATURE);
    }

    function recover(bytes32 digest, bytes memory signature) internal pure returns (address) {
        require(signature.length == 65, "ECRecover: invalid signature length");
        bytes32 r;
        bytes32 s;
        uint8 v;
        assembly ("memory-safe") {
            r := mload(add(signature, 0x20))
            s := mload(add(signature, 0x40))
            v := byte(0, mload(add(signature, 0x60)))
        }
        require(uint256(s) <= HALF_ORDER, "ECRecover: invalid signature 's' value");
        require(v == 27 || v == 28, "ECRecover: invalid signature 'v' value");
        address signer = ecrecover(digest, v, r, s);
        require(signer != address(0), "ECRecover: invalid signature");
        return signer;
    }
}
