//! What a session may do, as far as it can be told from the call alone.

use array::{ArrayTrait, SpanTrait};
use box::BoxTrait;
use option::OptionTrait;
use poseidon::poseidon_hash_span;
use traits::Into;
use starknet::{ContractAddress, contract_address_to_felt252, get_tx_info};
use starknet::account::Call;

/// A session key's standing. Revoked: `valid_until` is zero and `max_calls` is not.
#[derive(Copy, Drop, Serde, starknet::Store)]
struct SessionData {
    /// Unix seconds; the last moment that counts.
    valid_until: u64,
    max_calls: u32,
    calls_used: u32,
    /// Zero: every entry point, but none of the account itself.
    allowed_entrypoints_len: u32,
}

/// How much of a token a session may move or approve.
#[derive(Copy, Drop, Serde, starknet::Store)]
struct SpendingPolicy {
    max_per_call: u256,
    max_per_window: u256,
    window_seconds: u64,
    spent_in_window: u256,
    window_start: u64,
}

/// Entry points that no session may call, of whatever contract.
fn is_administrative(selector: felt252) -> bool {
    if selector == 0xf2f7c15cbe06c8d94597cd91fd7f3369eae842359235712def5584f8d270cd { // upgrade
        return true;
    }
    if selector == 0x27d4f8b711f8a318b18cac75c0b7c9941844dbbece6f62ca10111055acb64c1 { // add_or_update_session_key
        return true;
    }
    if selector == 0x32d4c11046940bbba0d48557b365ca002c6adc3f58d28671c8b7542ab7d60e9 { // revoke_session_key
        return true;
    }
    if selector == 0x15d40a3d6ca2ac30f4031e42be28da9b056fef9bb7357ac5e85627ee876e5ad { // __execute__
        return true;
    }
    if selector == 0x2e3e21ff5952b2531241e37999d9c4c8b3034cccc89a202a6bf019bdf5294f9 { // set_public_key
        return true;
    }
    if selector == 0xbc0eb87884ab91e330445c3584a50d7ddf4b568f02fbeb456a6242cce3f5d9 { // setPublicKey
        return true;
    }
    if selector == 0x34cc13b274446654ca3233ed2c1620d4c5d1d32fd20b47146a3371064bdc57d { // execute_from_outside_v2
        return true;
    }
    if selector == 0x27b6399a529753e66438fe0341234566c390277e9c20b0f556016eb33bb698 { // set_spending_policy
        return true;
    }
    selector == 0x28dac008d849601a4f136c3a869aa4dcb43907ea63ab552ecddfd2281144040 // remove_spending_policy
}

/// Entry points of tokens that give money away, or the right to take it: their
/// amount is a u256 behind the recipient.
fn is_spending(selector: felt252) -> bool {
    if selector == 0x83afd3f4caedc6eebf44246fe54e38c95e3179a5ec9ea81740eca5b482d12e { // transfer
        return true;
    }
    if selector == 0x219209e083275171774dab1df80982e9df2096516f06319c5c6d71ae0a8480c { // approve
        return true;
    }
    if selector == 0x1d13ab0a76d7407b1d5faccd4b3d8a9efe42f3d3c21766431d4fafb30f45bd4 { // increase_allowance
        return true;
    }
    selector == 0x16cc063b8338363cf388ce7fe1df408bf10f16cd51635d392e21d852fafb683 // increaseAllowance
}

/// Poseidon over the account, the chain, the transaction's nonce, the signed end, and
/// of each call its contract, entry point, length and calldata.
fn session_message_hash(
    mut calls: Span<Call>, account: ContractAddress, valid_until: u64
) -> felt252 {
    let info = get_tx_info().unbox();
    let mut parts = ArrayTrait::new();
    parts.append(contract_address_to_felt252(account));
    parts.append(info.chain_id);
    parts.append(info.nonce);
    parts.append(valid_until.into());
    loop {
        match calls.pop_front() {
            Option::Some(call) => {
                parts.append(contract_address_to_felt252(*call.to));
                parts.append(*call.selector);
                let mut calldata = call.calldata.span();
                parts.append(calldata.len().into());
                loop {
                    match calldata.pop_front() {
                        Option::Some(felt) => {
                            parts.append(*felt);
                        },
                        Option::None(()) => {
                            break;
                        },
                    };
                };
            },
            Option::None(()) => {
                break;
            },
        };
    };
    poseidon_hash_span(parts.span())
}
