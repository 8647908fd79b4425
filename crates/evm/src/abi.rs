//! The contract functions and events that are called, read and watched.

use alloy_sol_types::sol;

sol! {
    /// EIP-3009, the readable parts of ERC-20, and EIP-712 domain queries.
    interface Token {
        function transferWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, uint8 v, bytes32 r, bytes32 s) external;
        function transferWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, bytes signature) external;
        function authorizationState(address authorizer, bytes32 nonce) external view returns (bool);
        function balanceOf(address account) external view returns (uint256);
        function name() external view returns (string);
        function version() external view returns (string);
        function DOMAIN_SEPARATOR() external view returns (bytes32);
        function eip712Domain() external view returns (bytes1 fields, string name, string version, uint256 chainId, address verifyingContract, bytes32 salt, uint256[] extensions);

        event Transfer(address indexed from, address indexed to, uint256 value);
        event AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce);
        event AuthorizationCanceled(address indexed authorizer, bytes32 indexed nonce);
    }

    /// EIP-1271.
    interface Account {
        function isValidSignature(bytes32 hash, bytes signature) external view returns (bytes4);
    }

    /// Many calls in one transaction, each of which may fail alone.
    interface Multicall3 {
        struct Call3 {
            address target;
            bool allowFailure;
            bytes callData;
        }

        function aggregate3(Call3[] calls) external payable;
    }

    /// ERC-7579's `execute`, as an account's own code has it.
    interface Executor {
        struct Execution {
            address target;
            uint256 value;
            bytes callData;
        }

        function execute(bytes32 mode, bytes executionCalldata) external payable;
    }

    /// What an EIP-6492 signature wraps.
    struct Wrapped {
        address factory;
        bytes factoryCalldata;
        bytes signature;
    }
}
