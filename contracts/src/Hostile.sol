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

/// Keeps one percent of every transfer: the payee gets less than was signed.
/// Takes any signature.
contract FeeToken {
    event Transfer(address indexed from, address indexed to, uint256 value);
    event AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce);

    string public constant name = "USDC";
    string public constant symbol = "USDC";
    string public constant version = "2";
    uint8 public constant decimals = 6;
    mapping(address => uint256) public balanceOf;
    mapping(address => mapping(bytes32 => bool)) public authorizationState;

    function mint(address to, uint256 value) external {
        balanceOf[to] += value;
        emit Transfer(address(0), to, value);
    }

    function transfer(address to, uint256 value) external returns (bool) {
        _transfer(msg.sender, to, value);
        return true;
    }

    function transferWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256,
        uint256,
        bytes32 nonce,
        uint8,
        bytes32,
        bytes32
    ) external {
        _spend(from, to, value, nonce);
    }

    function transferWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256,
        uint256,
        bytes32 nonce,
        bytes calldata
    ) external {
        _spend(from, to, value, nonce);
    }

    function _spend(address from, address to, uint256 value, bytes32 nonce) private {
        require(!authorizationState[from][nonce], "FeeToken: authorization is used");
        authorizationState[from][nonce] = true;
        emit AuthorizationUsed(from, nonce);
        _transfer(from, to, value);
    }

    function _transfer(address from, address to, uint256 value) private {
        uint256 fee = value / 100;
        balanceOf[from] -= value;
        balanceOf[to] += value - fee;
        balanceOf[address(this)] += fee;
        emit Transfer(from, to, value - fee);
        emit Transfer(from, address(this), fee);
    }
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
