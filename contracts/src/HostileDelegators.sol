// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

/// An account that says yes to every delegation, and executes as it is told or
/// not, by its mood: what a simulation sees is not what is executed.
contract MoodyDelegator {
    enum Mood {
        Honest,
        /// Executes where no fee is taken, as in a call, and else does nothing.
        OnlyTried,
        /// Executes where no fee is taken, and else burns all gas that it is given.
        TrapsGas,
        /// Burns all gas that it is given, always.
        BurnsGas,
        /// Makes the transfer twice.
        Twice,
        /// Pays one unit less.
        Less,
        /// Does nothing, always.
        Idle
    }

    Mood public mood;

    function set(Mood mood_) external {
        mood = mood_;
    }

    function isValidSignature(bytes32, bytes calldata) external pure returns (bytes4) {
        return this.isValidSignature.selector;
    }

    /// `execution` is a target, 32 bytes of value, and an ERC-20 `transfer`.
    function executeFromExecutor(bytes32, bytes calldata execution) external payable returns (bytes[] memory results) {
        results = new bytes[](1);
        bool tried = tx.gasprice == 0 || block.basefee == 0;
        if (mood == Mood.Idle || (mood == Mood.OnlyTried && !tried)) return results;
        if (mood == Mood.BurnsGas || (mood == Mood.TrapsGas && !tried)) {
            assembly {
                invalid()
            }
        }
        address token = address(bytes20(execution[:20]));
        address to = abi.decode(execution[56:88], (address));
        uint256 amount = abi.decode(execution[88:120], (uint256));
        if (mood == Mood.Less) amount -= 1;
        _transfer(token, to, amount);
        if (mood == Mood.Twice) _transfer(token, to, amount);
    }

    receive() external payable {}

    function _transfer(address token, address to, uint256 amount) private {
        (bool good, bytes memory answer) = token.call(abi.encodeWithSignature("transfer(address,uint256)", to, amount));
        require(good && abi.decode(answer, (bool)), "transfer failed");
    }
}

/// A manager that takes every redemption and does nothing.
contract IdleManager {
    function redeemDelegations(bytes[] calldata, bytes32[] calldata, bytes[] calldata) external {}
}

/// A manager that pays where no fee is taken, out of an allowance that it was given,
/// and else does nothing.
contract TwoFacedManager {
    address public immutable enforcer;

    constructor(address enforcer_) {
        enforcer = enforcer_;
    }

    function redeemDelegations(bytes[] calldata contexts, bytes32[] calldata modes, bytes[] calldata executions) external {
        if (tx.gasprice != 0 && block.basefee != 0) return;
        Link[] memory chain = abi.decode(contexts[0], (Link[]));
        Link memory leaf = chain[0];
        // The leaf's use is counted as by an honest manager.
        for (uint256 i = 0; i < leaf.caveats.length; i++) {
            if (leaf.caveats[i].enforcer != enforcer) continue;
            Enforcer(enforcer).beforeHook(leaf.caveats[i].terms, "", modes[0], executions[0], hashOf(leaf), leaf.delegator, msg.sender);
        }
        bytes calldata execution = executions[0];
        address token = address(bytes20(execution[:20]));
        address to = abi.decode(execution[56:88], (address));
        uint256 amount = abi.decode(execution[88:120], (uint256));
        (bool good,) = token.call(
            abi.encodeWithSignature("transferFrom(address,address,uint256)", chain[chain.length - 1].delegator, to, amount)
        );
        require(good, "transfer failed");
    }

    function hashOf(Link memory link) public pure returns (bytes32) {
        bytes32[] memory caveats = new bytes32[](link.caveats.length);
        for (uint256 i = 0; i < caveats.length; i++) {
            Condition memory one = link.caveats[i];
            caveats[i] = keccak256(abi.encode(keccak256("Caveat(address enforcer,bytes terms)"), one.enforcer, keccak256(one.terms)));
        }
        bytes32 kind = keccak256(
            "Delegation(address delegate,address delegator,bytes32 authority,Caveat[] caveats,uint256 salt)Caveat(address enforcer,bytes terms)"
        );
        return keccak256(
            abi.encode(kind, link.delegate, link.delegator, link.authority, keccak256(abi.encodePacked(caveats)), link.salt)
        );
    }
}

struct Condition {
    address enforcer;
    bytes terms;
    bytes args;
}

struct Link {
    address delegate;
    address delegator;
    bytes32 authority;
    Condition[] caveats;
    uint256 salt;
    bytes signature;
}

interface Enforcer {
    function beforeHook(
        bytes calldata terms,
        bytes calldata args,
        bytes32 mode,
        bytes calldata execution,
        bytes32 delegationHash,
        address delegator,
        address redeemer
    ) external;
}
