// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

import {TestDollar} from "./TestDollar.sol";

/// Dollars that check signatures, nonces and allowances like the honest one and
/// cheat when money moves. Each must be initialized as the honest one.

/// Says "false" instead of moving anything.
contract FalseToken is TestDollar {
    function transfer(address, uint256) external pure override returns (bool) {
        return false;
    }

    function transferFrom(address, address, uint256) external pure override returns (bool) {
        return false;
    }

    function _transfer(address, address, uint256) internal pure override {}
}

/// Keeps one percent of every transfer: the payee gets less than was signed.
contract FeeToken is TestDollar {
    function _transfer(address from, address to, uint256 value) internal override {
        uint256 fee = value / 100;
        super._transfer(from, to, value - fee);
        super._transfer(from, address(this), fee);
    }
}

/// Once armed it makes one call in the middle of the next transfer, and
/// remembers whether that call got through.
contract ReentrantToken is TestDollar {
    address public target;
    bytes public data;
    bool public calledBack;
    bool public gotThrough;

    function arm(address target_, bytes calldata data_) external {
        (target, data) = (target_, data_);
    }

    function _transfer(address from, address to, uint256 value) internal override {
        address callee = target;
        if (callee != address(0)) {
            target = address(0);
            calledBack = true;
            (gotThrough,) = callee.call(data);
        }
        super._transfer(from, to, value);
    }
}

/// Once armed it answers a transfer with `size` bytes, for the caller to pay for:
/// after moving the money, or instead of it by a revert.
contract BombToken is TestDollar {
    uint256 public size;
    bool public reverts;

    function arm(uint256 size_, bool reverts_) external {
        (size, reverts) = (size_, reverts_);
    }

    function _transfer(address from, address to, uint256 value) internal override {
        super._transfer(from, to, value);
        (uint256 length, bool fail) = (size, reverts);
        if (length == 0) return;
        assembly ("memory-safe") {
            let start := mload(0x40)
            mstore(start, 1)
            if fail { revert(start, length) }
            return(start, length)
        }
    }
}

/// Burns all the gas of a transfer, in real transactions only: a call without a
/// gas price sees an honest token.
contract BurnerToken is TestDollar {
    function _transfer(address from, address to, uint256 value) internal override {
        if (tx.gasprice != 0) {
            assembly ("memory-safe") {
                invalid()
            }
        }
        super._transfer(from, to, value);
    }
}

/// An old wrapped coin: it has transfers and allowances, and a fallback that
/// takes any other call, such as a permit, and does nothing.
contract PhantomPermitToken {
    event Transfer(address indexed from, address indexed to, uint256 value);
    event Approval(address indexed owner, address indexed spender, uint256 value);

    string public constant name = "USDC";
    string public constant symbol = "USDC";
    uint8 public constant decimals = 6;
    mapping(address => uint256) public balanceOf;
    mapping(address => mapping(address => uint256)) public allowance;

    fallback() external payable {}
    receive() external payable {}

    function mint(address to, uint256 value) external {
        balanceOf[to] += value;
        emit Transfer(address(0), to, value);
    }

    function approve(address spender, uint256 value) external returns (bool) {
        allowance[msg.sender][spender] = value;
        emit Approval(msg.sender, spender, value);
        return true;
    }

    function transfer(address to, uint256 value) external returns (bool) {
        return _move(msg.sender, to, value);
    }

    function transferFrom(address from, address to, uint256 value) external returns (bool) {
        if (from != msg.sender) allowance[from][msg.sender] -= value;
        return _move(from, to, value);
    }

    function _move(address from, address to, uint256 value) private returns (bool) {
        balanceOf[from] -= value;
        balanceOf[to] += value;
        emit Transfer(from, to, value);
        return true;
    }
}
