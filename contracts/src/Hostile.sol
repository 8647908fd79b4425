// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

/// Contracts that cheat, for tests that must notice.

/// Says that it has an authorization's effect, and does nothing: the call
/// succeeds, no Transfer is logged, nobody is paid.
contract SilentToken {
    string public constant name = "USDC";
    string public constant symbol = "USDC";
    string public constant version = "2";
    uint8 public constant decimals = 6;

    function balanceOf(address) external pure returns (uint256) {
        return type(uint128).max;
    }

    function authorizationState(address, bytes32) external pure returns (bool) {
        return false;
    }

    function DOMAIN_SEPARATOR() external view returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256(bytes(name)),
                keccak256(bytes(version)),
                block.chainid,
                address(this)
            )
        );
    }

    function transferWithAuthorization(
        address,
        address,
        uint256,
        uint256,
        uint256,
        bytes32,
        uint8,
        bytes32,
        bytes32
    ) external {}

    function transferWithAuthorization(address, address, uint256, uint256, uint256, bytes32, bytes calldata)
        external
    {}
}

/// Logs the Transfer that was asked for without moving anything.
contract LyingToken {
    event Transfer(address indexed from, address indexed to, uint256 value);

    function balanceOf(address) external pure returns (uint256) {
        return type(uint128).max;
    }

    function transferWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256,
        uint256,
        bytes32,
        uint8,
        bytes32,
        bytes32
    ) external {
        emit Transfer(from, to, value);
    }
}

/// Says yes to every signature.
contract YesWallet {
    function isValidSignature(bytes32, bytes calldata) external pure returns (bytes4) {
        return 0x1626ba7e;
    }
}

/// Says yes while it is asked by `eth_call` at a zero gas price and no in a
/// real transaction: what is verified is not what is executed.
contract TwoFacedWallet {
    function isValidSignature(bytes32, bytes calldata) external view returns (bytes4) {
        return tx.gasprice == 0 ? bytes4(0x1626ba7e) : bytes4(0xffffffff);
    }
}

/// Spends all the gas that it is given before it says no.
contract GasBurnerWallet {
    function isValidSignature(bytes32, bytes calldata) external view returns (bytes4) {
        uint256 x;
        while (gasleft() > 500) {
            x = uint256(keccak256(abi.encode(x)));
        }
        return bytes4(0xffffffff);
    }
}
