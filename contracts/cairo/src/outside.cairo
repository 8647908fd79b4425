//! SNIP-9 version 2: what an account lets somebody else send for it, and its
//! SNIP-12 revision 1 hash.

use array::{ArrayTrait, SpanTrait};
use box::BoxTrait;
use option::OptionTrait;
use poseidon::poseidon_hash_span;
use traits::Into;
use starknet::{ContractAddress, contract_address_to_felt252, get_tx_info};
use starknet::account::Call;

/// 'ANY_CALLER': anybody may send it.
const ANY_CALLER: felt252 = 'ANY_CALLER';

const PREFIX: felt252 = 'StarkNet Message';
const DOMAIN_NAME: felt252 = 'Account.execute_from_outside';
// sn_keccak of the SNIP-12 type texts.
const DOMAIN_TYPE: felt252 = 0x1ff2f602e42168014d405a94f75e8a93d640751d71d16311266e140d8b0a210;
const EXECUTION_TYPE: felt252 = 0x312b56c05a7965066ddbda31c016d8d05afc305071c0ca3cdc2192c3c2f1f0f;
const CALL_TYPE: felt252 = 0x3635c7f2a7ba93844c0d064e18e487f35ab90f7c39d00f186a781fc3f0c2ca9;

#[derive(Drop, Serde)]
struct OutsideExecution {
    /// Who may send it.
    caller: ContractAddress,
    /// Usable once.
    nonce: felt252,
    /// Blocks must be later, Unix seconds.
    execute_after: u64,
    /// And earlier.
    execute_before: u64,
    calls: Array<Call>,
}

/// The hash that the account signs.
fn message_hash(execution: @OutsideExecution, account: ContractAddress) -> felt252 {
    let mut domain = ArrayTrait::new();
    domain.append(DOMAIN_TYPE);
    domain.append(DOMAIN_NAME);
    domain.append(2);
    domain.append(get_tx_info().unbox().chain_id);
    domain.append(1);

    let mut message = ArrayTrait::new();
    message.append(EXECUTION_TYPE);
    message.append(contract_address_to_felt252(*execution.caller));
    message.append(*execution.nonce);
    message.append((*execution.execute_after).into());
    message.append((*execution.execute_before).into());
    message.append(hash_calls(execution.calls.span()));

    let mut whole = ArrayTrait::new();
    whole.append(PREFIX);
    whole.append(poseidon_hash_span(domain.span()));
    whole.append(contract_address_to_felt252(account));
    whole.append(poseidon_hash_span(message.span()));
    poseidon_hash_span(whole.span())
}

fn hash_calls(mut calls: Span<Call>) -> felt252 {
    let mut hashes = ArrayTrait::new();
    loop {
        match calls.pop_front() {
            Option::Some(call) => {
                let mut parts = ArrayTrait::new();
                parts.append(CALL_TYPE);
                parts.append(contract_address_to_felt252(*call.to));
                parts.append(*call.selector);
                parts.append(poseidon_hash_span(call.calldata.span()));
                hashes.append(poseidon_hash_span(parts.span()));
            },
            Option::None(()) => {
                break;
            },
        };
    };
    poseidon_hash_span(hashes.span())
}
