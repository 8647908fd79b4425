// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

/// An EIP-1271 wallet that calls every signature valid in one situation and
/// none in another, so that what is verified is not what is executed. It also
/// works as the code of an EIP-7702 account.
contract MoodyWallet {
    enum Mood {
        Never,
        Always,
        /// While the base fee is at most `bound`: a call without fees has none.
        BaseFeeAtMost,
        /// While more gas than `bound` is left: calls are often given more.
        GasLeftAbove,
        /// Up to the block `bound`.
        BlockAtMost,
        /// Up to the second `bound`.
        TimeAtMost,
        /// While the block's producer is the address `bound`.
        CoinbaseIs,
        /// While the transaction was sent by the address `bound`.
        OriginIs
    }

    Mood public mood;
    uint256 public bound;

    function set(Mood mood_, uint256 bound_) external {
        (mood, bound) = (mood_, bound_);
    }

    function isValidSignature(bytes32, bytes calldata) external view returns (bytes4) {
        return _agrees() ? this.isValidSignature.selector : bytes4(0xffffffff);
    }

    receive() external payable {}

    function _agrees() private view returns (bool) {
        if (mood == Mood.BaseFeeAtMost) return block.basefee <= bound;
        if (mood == Mood.GasLeftAbove) return gasleft() > bound;
        if (mood == Mood.BlockAtMost) return block.number <= bound;
        if (mood == Mood.TimeAtMost) return block.timestamp <= bound;
        if (mood == Mood.CoinbaseIs) return block.coinbase == address(uint160(bound));
        if (mood == Mood.OriginIs) return tx.origin == address(uint160(bound));
        return mood == Mood.Always;
    }
}
