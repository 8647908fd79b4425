// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

import {SignatureCheck} from "./SignatureCheck.sol";

/// The smallest smart account: one owner, whose key signs for it by EIP-1271
/// and who may make it call anything. The owner is storage, so that the
/// runtime can be placed anywhere and then initialized.
contract SmartWallet {
    address public owner;

    constructor(address owner_) {
        owner = owner_;
    }

    receive() external payable {}

    function initialize(address owner_) external {
        require(owner == address(0), "SmartWallet: already initialized");
        owner = owner_;
    }

    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        return SignatureCheck.recover(digest, signature) == owner ? this.isValidSignature.selector : bytes4(0xffffffff);
    }

    function execute(address target, uint256 value, bytes calldata data) external payable returns (bytes memory) {
        require(msg.sender == owner, "SmartWallet: caller is not the owner");
        (bool ok, bytes memory answer) = target.call{value: value}(data);
        if (!ok) {
            assembly ("memory-safe") {
                revert(add(answer, 0x20), mload(answer))
            }
        }
        return answer;
    }
}

/// Deploys wallets at addresses known beforehand: what an EIP-6492 signature
/// names as its factory.
contract SmartWalletFactory {
    function deploy(address owner, bytes32 salt) external returns (address) {
        address at = predict(owner, salt);
        return at.code.length != 0 ? at : address(new SmartWallet{salt: salt}(owner));
    }

    function predict(address owner, bytes32 salt) public view returns (address) {
        bytes32 initHash = keccak256(abi.encodePacked(type(SmartWallet).creationCode, abi.encode(owner)));
        return address(uint160(uint256(keccak256(abi.encodePacked(hex"ff", address(this), salt, initHash)))));
    }
}
