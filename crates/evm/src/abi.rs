//! The contract functions and events that are called, read and watched.

pub(crate) mod delegation;

use alloy_sol_types::sol;

sol! {
    /// EIP-3009, the readable parts of ERC-20, and EIP-712 domain queries.
    interface Token {
        function transferWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, uint8 v, bytes32 r, bytes32 s) external;
        function transferWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, bytes signature) external;
        function authorizationState(address authorizer, bytes32 nonce) external view returns (bool);
        function balanceOf(address account) external view returns (uint256);
        function decimals() external view returns (uint8);
        function name() external view returns (string);
        function version() external view returns (string);
        function DOMAIN_SEPARATOR() external view returns (bytes32);
        function eip712Domain() external view returns (bytes1 fields, string name, string version, uint256 chainId, address verifyingContract, bytes32 salt, uint256[] extensions);

        event Transfer(address indexed from, address indexed to, uint256 value);
        event AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce);
        event AuthorizationCanceled(address indexed authorizer, bytes32 indexed nonce);
    }

    /// Permit2's own structs, and what the x402 proxies sign beside them.
    struct TokenPermissions {
        address token;
        uint256 amount;
    }

    struct PermitTransferFrom {
        TokenPermissions permitted;
        uint256 nonce;
        uint256 deadline;
    }

    struct ExactWitness {
        address to;
        uint256 validAfter;
    }

    struct UptoWitness {
        address to;
        address facilitator;
        uint256 validAfter;
    }

    struct Eip2612Permit {
        uint256 value;
        uint256 deadline;
        bytes32 r;
        bytes32 s;
        uint8 v;
    }

    /// x402ExactPermit2Proxy.
    interface ExactProxy {
        function settle(PermitTransferFrom permit, address owner, ExactWitness witness, bytes signature) external;
        function settleWithPermit(Eip2612Permit permit2612, PermitTransferFrom permit, address owner, ExactWitness witness, bytes signature) external;
    }

    /// x402UptoPermit2Proxy.
    interface UptoProxy {
        function settle(PermitTransferFrom permit, uint256 amount, address owner, UptoWitness witness, bytes signature) external;
        function settleWithPermit(Eip2612Permit permit2612, PermitTransferFrom permit, uint256 amount, address owner, UptoWitness witness, bytes signature) external;
    }

    /// Permit2.
    interface Permit2 {
        function nonceBitmap(address owner, uint256 word) external view returns (uint256);
    }

    /// ERC-20's allowances and transfers, and EIP-2612.
    interface Allowances {
        function allowance(address owner, address spender) external view returns (uint256);
        function approve(address spender, uint256 amount) external returns (bool);
        function transfer(address to, uint256 amount) external returns (bool);
        function nonces(address owner) external view returns (uint256);
        function permit(address owner, address spender, uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s) external;
    }

    /// What pays one payee from EIP-2612 permits.
    interface Settler {
        function settle(address token, address owner, uint256 value, uint256 nonce, uint256 deadline, bytes signature) external;
        function nextNonce(address token, address owner) external view returns (uint256);

        event Settled(address indexed token, address indexed owner, uint256 indexed nonce, uint256 value);
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

        struct Result {
            bool success;
            bytes returnData;
        }

        function aggregate3(Call3[] calls) external payable returns (Result[] returnData);
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

/// EIP-6492: a signature of an account that does not exist yet ends so.
pub(crate) const WRAPPED_SUFFIX: [u8; 32] = [
    0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92,
    0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92,
];

#[cfg(test)]
mod tests {
    use alloy_sol_types::SolCall;

    use super::*;

    #[test]
    fn selectors_are_the_published_ones() {
        assert_eq!(ExactProxy::settleCall::SELECTOR, [0x13, 0xcd, 0x3b, 0x53]);
        assert_eq!(
            ExactProxy::settleWithPermitCall::SELECTOR,
            [0xfa, 0x34, 0x03, 0x78]
        );
        assert_eq!(UptoProxy::settleCall::SELECTOR, [0xff, 0x11, 0xe7, 0xb4]);
        assert_eq!(
            UptoProxy::settleWithPermitCall::SELECTOR,
            [0x01, 0x6c, 0x17, 0x48]
        );
        assert_eq!(Permit2::nonceBitmapCall::SELECTOR, [0x4f, 0xe0, 0x2b, 0x44]);
        assert_eq!(Allowances::permitCall::SELECTOR, [0xd5, 0x05, 0xac, 0xcf]);
        assert_eq!(Settler::settleCall::SELECTOR, [0x92, 0x61, 0x9b, 0xbf]);
        assert_eq!(Settler::nextNonceCall::SELECTOR, [0x41, 0xeb, 0x98, 0xc6]);
        assert_eq!(Allowances::noncesCall::SELECTOR, [0x7e, 0xce, 0xbe, 0x00]);
    }
}
