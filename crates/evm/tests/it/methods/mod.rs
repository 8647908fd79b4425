//! The ways to pay beside EIP-3009, each by its stories.

mod eip2612;
mod hostile;
mod permit2;
mod places;
mod smart;
mod sponsored;
mod txid;
mod upto;
mod vectors;

use std::sync::Arc;
use std::time::Duration;

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address as Account, B256, Bytes, Signature, TxKind, U256};
use alloy_sol_types::{SolCall, sol};
use serde_json::{Value, json};
use tollway_core::wire::{Object, PaymentPayload, PaymentRequirements, ResourceInfo};
use tollway_core::{
    Amount, Broadcast, Chain, ChainError, Charge, Finality, Intent, Limits, Lookup, Offered,
    Outcome, Phase, PlannedPayment, Prepared, Raw, Refusal, Settled, Terms, Verified, Wallet,
    WalletError, Watch,
};
use tollway_devnet::DEV_ACCOUNTS;
use tollway_evm::{EvmChain, EvmSigner, PERMIT2};

use crate::support::world::{PRICE, World, key, look, watch};

sol! {
    interface Erc20 {
        function approve(address spender, uint256 amount);
        function transfer(address to, uint256 amount);
        function transferFrom(address from, address to, uint256 amount);
        function permit(address owner, address spender, uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s);
        function nonces(address owner) returns (uint256);
    }
    interface Nonces {
        function invalidateUnorderedNonces(uint256 word, uint256 mask);
    }
    interface Multicall {
        struct Call3 { address target; bool allowFailure; bytes callData; }
        function aggregate3(Call3[] calls);
    }
}

pub const RESOURCE: &str = "https://api.example.com/weather";

/// The default offer with other words.
pub fn offer(world: &World, scheme: &str, extra: &Value) -> Terms {
    let mut wire = PaymentRequirements::clone(&world.terms().wire);
    wire.scheme = scheme.to_owned();
    let more = extra.as_object().unwrap().clone();
    wire.extra.as_mut().unwrap().extend(more);
    Terms::check(wire).unwrap()
}

pub fn exact(world: &World, method: &str) -> Terms {
    offer(world, "exact", &json!({"assetTransferMethod": method}))
}

pub fn limits() -> Limits {
    Limits {
        max_amount: Amount::from_atomic(u128::from(PRICE)),
        max_lifetime: Duration::from_secs(900),
    }
}

/// What dev account 0 pays by these terms, knowing the node.
pub async fn prepare(world: &World, terms: &Terms) -> Result<Prepared, WalletError> {
    prepare_as(world, key(0), terms, None).await
}

pub async fn prepare_as(
    world: &World,
    signer: EvmSigner,
    terms: &Terms,
    extensions: Option<&Object>,
) -> Result<Prepared, WalletError> {
    let resource = ResourceInfo {
        url: RESOURCE.to_owned(),
        ..ResourceInfo::default()
    };
    let offered = Offered {
        resource: Some(&resource),
        extensions,
        may_approve: true,
        ..Offered::default()
    };
    let wallet = world.wallet(signer);
    wallet.prepare_offered(terms, &limits(), offered).await
}

/// The payment as it reaches the facilitator.
pub fn present(terms: &Terms, payload: Object, extensions: Option<Object>) -> PaymentPayload {
    PaymentPayload {
        x402_version: 2,
        resource: Some(ResourceInfo {
            url: RESOURCE.to_owned(),
            ..ResourceInfo::default()
        }),
        accepted: PaymentRequirements::clone(&terms.wire),
        payload,
        extensions,
    }
}

pub fn inspect(
    chain: &EvmChain,
    terms: &Terms,
    payment: &PaymentPayload,
) -> Result<Intent, Refusal> {
    chain.inspect(&Arc::new(payment.clone()), &Arc::new(terms.clone()))
}

/// A payment of dev account 0, read by the facilitator.
pub async fn paid(world: &World, terms: &Terms) -> Intent {
    paid_as(world, key(0), terms).await
}

pub async fn paid_as(world: &World, signer: EvmSigner, terms: &Terms) -> Intent {
    let prepared = prepare_as(world, signer, terms, None).await.unwrap();
    let payment = present(terms, prepared.payload, prepared.extensions);
    let intent = inspect(&world.chain, terms, &payment).unwrap();
    assert_eq!(intent.identity, prepared.identity);
    assert_eq!(intent.deadline, prepared.valid_until);
    intent
}

/// The code of a payment whose payload was changed after it was signed.
pub async fn refused_if(
    world: &World,
    terms: &Terms,
    change: impl FnOnce(&mut PaymentPayload),
) -> String {
    let prepared = prepare(world, terms).await.unwrap();
    let mut payment = present(terms, prepared.payload, prepared.extensions);
    change(&mut payment);
    refusal_of(world, terms, &payment).await
}

pub async fn refusal_of(world: &World, terms: &Terms, payment: &PaymentPayload) -> String {
    let intent = match inspect(&world.chain, terms, payment) {
        Ok(intent) => intent,
        Err(refusal) => return refusal.code().to_owned(),
    };
    match verify(&world.chain, &intent, Phase::Verify).await {
        Ok(_) => "good".to_owned(),
        Err(ChainError::Refused(refusal)) => refusal.code().to_owned(),
        Err(error) => panic!("not decided: {error:?}"),
    }
}

pub async fn verify(
    chain: &EvmChain,
    intent: &Intent,
    phase: Phase,
) -> Result<Verified, ChainError> {
    chain.verify(intent.clone(), phase, Amount::ZERO).await
}

/// Verify, plan, seal, broadcast: with what is charged.
pub async fn send_charged(
    world: &World,
    chain: &EvmChain,
    intent: &Intent,
    charge: Amount,
) -> (Raw, Watch) {
    verify(chain, intent, Phase::Verify).await.unwrap();
    let verified = verify(chain, intent, Phase::Settle).await.unwrap();
    let payment = PlannedPayment {
        verified,
        charge: Charge { amount: charge },
        alone: false,
    };
    let plan = chain.plan(&[payment]).await.unwrap().remove(0);
    let mut slot = world.slot().await;
    slot.signer = plan.signers[0].clone();
    slot.nonce = chain.confirmed_nonce(&slot.signer).await.unwrap();
    let raw = chain.seal(&plan, &slot).await.unwrap();
    assert_eq!(chain.broadcast(&raw).await.unwrap(), Broadcast::Accepted);
    let mut charged = intent.clone();
    charged.expected.amount = charge;
    let watch = watch(&charged, &slot, &[&raw]);
    (raw, watch)
}

/// The whole way, which must end with exactly this much at the payee.
pub async fn settles(world: &World, chain: &EvmChain, intent: &Intent, charge: u64) -> Settled {
    let before = world.payee_has();
    let amount = Amount::from_atomic(u128::from(charge));
    let (raw, watch) = send_charged(world, chain, intent, amount).await;
    let Outcome::Settled(settled) = look(chain, &watch).await else {
        panic!("not settled");
    };
    assert_eq!(settled.transaction, raw.hash);
    assert_eq!(settled.amount, amount);
    assert_eq!(world.payee_has() - before, U256::from(charge));
    settled
}

pub async fn lookup(chain: &EvmChain, intent: &Intent) -> Lookup {
    chain
        .lookup(&intent.identity, &intent.expected, Finality::Included)
        .await
        .unwrap()
}

/// A transaction of an account's own, which must succeed.
pub fn transact(world: &World, signer: &EvmSigner, to: Account, input: Vec<u8>) -> B256 {
    let hash = send(world, signer, to, input);
    assert_eq!(world.devnet.succeeded(hash), Some(true));
    hash
}

pub fn send(world: &World, signer: &EvmSigner, to: Account, input: Vec<u8>) -> B256 {
    let account = signer.address();
    if world.devnet.balance(account).is_zero() {
        let ether = U256::from(10).pow(U256::from(18));
        world.devnet.set_balance(account, ether);
    }
    let transaction = TxEip1559 {
        chain_id: world.devnet.chain_id(),
        nonce: world.devnet.nonce(account),
        gas_limit: 2_000_000,
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
    world.devnet.send_raw(&envelope.encoded_2718()).unwrap()
}

/// Lets Permit2 move an account's dollars.
pub fn approve(world: &World, signer: &EvmSigner) {
    let dollar = world.devnet.dollar().address;
    let call = Erc20::approveCall {
        spender: PERMIT2,
        amount: U256::MAX,
    };
    transact(world, signer, dollar, call.abi_encode());
}

/// A world whose payer has approved Permit2.
pub async fn approved() -> World {
    let world = World::new().await;
    approve(&world, &key(0));
    world
}

/// What the settling transaction of a payment would be, sent by a stranger.
pub async fn front_run(world: &World, intent: &Intent) -> B256 {
    let (to, input) = settling_call(world, intent).await;
    transact(world, &key(3), to, input.to_vec())
}

/// The call that settles a payment.
pub async fn settling_call(world: &World, intent: &Intent) -> (Account, Bytes) {
    use alloy_consensus::Transaction;
    use alloy_eips::eip2718::Decodable2718;

    let plan = world.plan(intent).await;
    let raw = world.chain.seal(&plan, &world.slot().await).await.unwrap();
    let sealed = TxEnvelope::decode_2718(&mut raw.bytes.as_slice()).unwrap();
    (sealed.to().unwrap(), sealed.input().clone())
}

/// Changes a field of a payload by its path.
pub fn set(payment: &mut PaymentPayload, pointer: &str, value: impl Into<Value>) {
    let mut whole = Value::Object(std::mem::take(&mut payment.payload));
    *whole.pointer_mut(pointer).unwrap() = value.into();
    let Value::Object(payload) = whole else {
        unreachable!()
    };
    payment.payload = payload;
}

pub fn stranger() -> String {
    DEV_ACCOUNTS[3].address.to_checksum(None)
}
