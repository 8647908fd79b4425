pub mod clock;
pub mod fake_node;
pub mod world;

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, Signature, TxKind, U256};

/// Somebody (dev account 5) calls a contract.
pub async fn transact(world: &world::World, to: Address, input: Vec<u8>) {
    let signer = world::key(5);
    let transaction = TxEip1559 {
        chain_id: world.devnet.chain_id(),
        nonce: world.devnet.nonce(signer.address()),
        gas_limit: 300_000,
        max_fee_per_gas: 10_000_000_000,
        max_priority_fee_per_gas: 1,
        to: TxKind::Call(to),
        value: U256::ZERO,
        access_list: Default::default(),
        input: input.into(),
    };
    let signature = signer.sign(transaction.signature_hash());
    let signature = Signature::try_from(&signature[..]).unwrap();
    let envelope = TxEnvelope::Eip1559(transaction.into_signed(signature));
    let hash = world.devnet.send_raw(&envelope.encoded_2718()).unwrap();
    assert_eq!(world.devnet.succeeded(hash), Some(true));
}
