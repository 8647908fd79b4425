// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

/// Tries EIP-3009 transfers one after the other and says what each would do.
///
/// It is never deployed: `eth_call` runs this creation code without a `to`, and
/// what it would leave as code is the answer. So any node runs it, at no address
/// and without state overrides.
///
/// `items` is packed: token (20 bytes), length of the calldata (2 bytes), calldata.
/// The first argument of the calldata is the payer. Calldata of 36 bytes only
/// asks about the payer; nothing is tried for payers with code either.
///
/// The answer is one byte 0x01 (code may not begin with 0xef), then a word an
/// item: flags (1 byte), gas of the transfer (7 bytes), the payer's balance right
/// before it, at most 2^192 - 1 (24 bytes). Flags: 1 the payer has code, 2 the
/// transfer was tried, 4 it succeeded, 8 the balance could not be read.
contract TransferProbe {
    constructor(uint256 count, uint256 itemGas, bytes memory items) {
        // Leaving the answer as code costs 200 gas a byte.
        uint256 needed = itemGas * 64 / 63 + 120_000 + count * 6_600;
        assembly ("memory-safe") {
            // Flags and the payer's balance, as they stand in the answer.
            function look(token, payer) -> word {
                mstore(0, shl(224, 0x70a08231)) // balanceOf(address)
                mstore(4, payer)
                let read := staticcall(100000, token, 0, 36, 0, 32)
                switch and(read, gt(returndatasize(), 31))
                case 0 { word := shl(251, 1) }
                default {
                    word := mload(0)
                    if shr(192, word) { word := shr(64, not(0)) }
                }
                if extcodesize(payer) { word := or(word, shl(248, 1)) }
            }

            function attempt(token, data, size, limit) -> word {
                let used := gas()
                let success := call(limit, token, 0, data, size, 0, 0)
                used := sub(used, gas())
                word := or(shl(249, 1), or(shl(250, success), shl(192, used)))
            }

            let at := add(items, 32)
            let end := add(at, mload(items))
            mstore8(mload(0x40), 1)
            let out := add(mload(0x40), 1)
            for {} lt(at, end) {} {
                let token := shr(96, mload(at))
                let size := shr(240, mload(add(at, 20)))
                at := add(at, 22)
                let word := look(token, mload(add(at, 4)))
                if and(gt(size, 36), and(iszero(and(shr(248, word), 1)), gt(gas(), needed))) {
                    word := or(word, attempt(token, at, size, itemGas))
                }
                mstore(out, word)
                out := add(out, 32)
                at := add(at, size)
            }
            return(mload(0x40), sub(out, mload(0x40)))
        }
    }
}
