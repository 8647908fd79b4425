//! Keys, transactions and authorizations as a client would make them: typed
//! data comes from the Rust types here, not from the Solidity under test.

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, keccak256};
use alloy_sol_types::{Eip712Domain, SolCall, SolStruct, sol};
use secp256k1::{Message, SECP256K1, SecretKey};
use serde_json::{Value, json};
use tollway_devnet::{DEV_ACCOUNTS, Devnet, Dollar, RpcError};

sol! {
    struct TransferWithAuthorization {
        address from; address to; uint256 value; uint256 validAfter; uint256 validBefore; bytes32 nonce;
    }
    struct ReceiveWithAuthorization {
        address from; address to; uint256 value; uint256 validAfter; uint256 validBefore; bytes32 nonce;
    }
    struct CancelAuthorization { address authorizer; bytes32 nonce; }
    struct Permit { address owner; address spender; uint256 value; uint256 nonce; uint256 deadline; }

    interface Token {
        event Transfer(address indexed from, address indexed to, uint256 value);
        event AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce);
        event AuthorizationCanceled(address indexed authorizer, bytes32 indexed nonce);

        function name() returns (string);
        function version() returns (string);
        function decimals() returns (uint8);
        function DOMAIN_SEPARATOR() returns (bytes32);
        function allowance(address owner, address spender) returns (uint256);
        function authorizationState(address authorizer, bytes32 nonce) returns (bool);
        function transfer(address to, uint256 value) returns (bool);
        function transferFrom(address from, address to, uint256 value) returns (bool);
        function permit(address owner, address spender, uint256 value, uint256 deadline, bytes signature);
        function cancelAuthorization(address authorizer, bytes32 nonce, bytes signature);
        function receiveWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, bytes signature);
        function transferWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, bytes signature);
    }
    interface TokenVrs {
        function permit(address owner, address spender, uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s);
        function cancelAuthorization(address authorizer, bytes32 nonce, uint8 v, bytes32 r, bytes32 s);
        function receiveWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, uint8 v, bytes32 r, bytes32 s);
        function transferWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, uint8 v, bytes32 r, bytes32 s);
    }
    interface Wallet {
        function initialize(address owner);
        function owner() returns (address);
    }
}

/// 2025-07-01: a moment for chains whose clock stands still.
pub const NOW: u64 = 1_751_328_000;

/// A chain whose clock stands at [`NOW`].
pub fn still() -> Devnet {
    Devnet::builder().fixed_time(NOW).build().unwrap()
}

/// A secret key and its account.
#[derive(Clone, Copy)]
pub struct Key {
    secret: SecretKey,
    pub address: Address,
}

impl Key {
    pub fn new(secret: B256) -> Self {
        let secret = SecretKey::from_byte_array(secret.0).unwrap();
        let public = secret.public_key(SECP256K1).serialize_uncompressed();
        Self {
            secret,
            address: Address::from_slice(&keccak256(&public[1..])[12..]),
        }
    }

    /// One of the dev accounts.
    pub fn dev(index: usize) -> Self {
        Self::new(DEV_ACCOUNTS[index].key)
    }

    pub fn sign(&self, digest: B256) -> Signature {
        let signature =
            SECP256K1.sign_ecdsa_recoverable(Message::from_digest(digest.0), &self.secret);
        let (parity, bytes) = signature.serialize_compact();
        Signature::from_bytes_and_parity(&bytes, i32::from(parity) == 1)
    }

    pub fn sign_typed(&self, message: &impl SolStruct, domain: &Eip712Domain) -> Signature {
        self.sign(message.eip712_signing_hash(domain))
    }

    pub fn sign_tx<T: SignableTransaction<Signature>>(&self, tx: T) -> (B256, Vec<u8>)
    where
        TxEnvelope: From<alloy_consensus::Signed<T>>,
    {
        let signature = self.sign(tx.signature_hash());
        let envelope = TxEnvelope::from(tx.into_signed(signature));
        (*envelope.tx_hash(), envelope.encoded_2718())
    }
}

/// A plain EIP-1559 transaction: to account 9, one wei, generous fees.
pub fn tx(nonce: u64) -> TxEip1559 {
    TxEip1559 {
        chain_id: 84_532,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 2_000_000_000,
        max_priority_fee_per_gas: 1_000_000,
        to: TxKind::Call(DEV_ACCOUNTS[9].address),
        value: U256::ONE,
        ..TxEip1559::default()
    }
}

/// The same, calling a contract.
pub fn call_tx(nonce: u64, to: Address, data: Vec<u8>) -> TxEip1559 {
    TxEip1559 {
        gas_limit: 500_000,
        to: TxKind::Call(to),
        value: U256::ZERO,
        input: data.into(),
        ..tx(nonce)
    }
}

pub fn domain(chain_id: u64, dollar: &Dollar) -> Eip712Domain {
    Eip712Domain::new(
        Some(dollar.name.clone().into()),
        Some(dollar.version.clone().into()),
        Some(U256::from(chain_id)),
        Some(dollar.address),
        None,
    )
}

/// A payment of one cent from dev account 1 to dev account 2, valid around [`NOW`].
pub fn authorization(nonce: u8) -> TransferWithAuthorization {
    TransferWithAuthorization {
        from: DEV_ACCOUNTS[1].address,
        to: DEV_ACCOUNTS[2].address,
        value: U256::from(10_000),
        validAfter: U256::from(NOW - 60),
        validBefore: U256::from(NOW + 60),
        nonce: B256::repeat_byte(nonce),
    }
}

/// The call that spends `auth` with a signature of any length.
pub fn spend(auth: &TransferWithAuthorization, signature: impl Into<Bytes>) -> Vec<u8> {
    Token::transferWithAuthorizationCall {
        from: auth.from,
        to: auth.to,
        value: auth.value,
        validAfter: auth.validAfter,
        validBefore: auth.validBefore,
        nonce: auth.nonce,
        signature: signature.into(),
    }
    .abi_encode()
}

/// The call that spends `auth` with v, r and s.
pub fn spend_vrs(auth: &TransferWithAuthorization, signature: &Signature, v: u8) -> Vec<u8> {
    TokenVrs::transferWithAuthorizationCall {
        from: auth.from,
        to: auth.to,
        value: auth.value,
        validAfter: auth.validAfter,
        validBefore: auth.validBefore,
        nonce: auth.nonce,
        v,
        r: signature.r().into(),
        s: signature.s().into(),
    }
    .abi_encode()
}

pub fn v(signature: &Signature) -> u8 {
    27 + u8::from(signature.v())
}

pub fn sign_authorization(devnet: &Devnet, auth: &TransferWithAuthorization) -> Signature {
    Key::dev(1).sign_typed(auth, &domain(devnet.chain_id(), devnet.dollar()))
}

/// What the dollar answers to a call made by nobody in particular.
pub fn ask(devnet: &Devnet, data: Vec<u8>) -> Result<Bytes, RpcError> {
    devnet.call(devnet.dollar().address, data.into())
}

/// Mines a call to the dollar by dev account 0 and returns its receipt.
pub fn transact(devnet: &Devnet, data: Vec<u8>) -> Value {
    send(devnet, 0, devnet.dollar().address, data)
}

/// Mines a call by a dev account and returns its receipt.
pub fn send(devnet: &Devnet, from: usize, to: Address, data: Vec<u8>) -> Value {
    let sender = Key::dev(from);
    let (hash, raw) = sender.sign_tx(TxEip1559 {
        chain_id: devnet.chain_id(),
        gas_limit: 2_000_000,
        ..call_tx(devnet.nonce(sender.address), to, data)
    });
    devnet.send_raw(&raw).unwrap();
    receipt(devnet, hash)
}

pub fn receipt(devnet: &Devnet, hash: B256) -> Value {
    devnet
        .request("eth_getTransactionReceipt", json!([hash]))
        .unwrap()
}

/// Sends a raw transaction and expects a refusal; returns its message.
pub fn refusal(devnet: &Devnet, raw: &[u8]) -> String {
    let error = devnet.send_raw(raw).unwrap_err();
    assert_eq!(error.code, -32000);
    error.message
}
