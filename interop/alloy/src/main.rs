//! What an unmodified alloy provider asks of a chain: blocks, fees, calls, logs, and
//! transactions that it fills in, signs, sends and waits for. It panics where the chain
//! answers otherwise than a node does, and prints what it paid.

use std::error::Error;
use std::time::Duration;

use alloy_eips::BlockNumberOrTag::Latest;
use alloy_eips::eip2718::Encodable2718;
use alloy_network::{EthereumWallet, NetworkTransactionBuilder, TransactionBuilder};
use alloy_primitives::{Address, B256, U256, bytes};
use alloy_provider::{Provider, ProviderBuilder};
use alloy_rpc_types_eth::state::{AccountOverride, StateOverride};
use alloy_rpc_types_eth::{Filter, TransactionReceipt, TransactionRequest};
use alloy_signer_local::PrivateKeySigner;
use alloy_sol_types::{Revert, SolCall, SolError, SolEvent, sol};
use serde::Deserialize;
use serde_json::json;

sol! {
    event Transfer(address indexed from, address indexed to, uint256 value);
    function balanceOf(address account) returns (uint256);
    function transfer(address to, uint256 value) returns (bool);
}

type Done = Result<(), Box<dyn Error>>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    url: String,
    chain_id: u64,
    /// Holds ether and dollars.
    key: B256,
    #[serde(skip)]
    account: Address,
    token: Address,
    /// Dollars of the account, atomic units.
    dollars: U256,
    pay_to: Address,
    /// Has nothing.
    friend: Address,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Done {
    let mut asked: Asked = serde_json::from_str(&std::env::var("INTEROP")?)?;
    let signer = PrivateKeySigner::from_bytes(&asked.key)?;
    asked.account = signer.address();
    let wallet = EthereumWallet::from(signer);
    let chain = ProviderBuilder::new()
        .wallet(wallet.clone())
        .connect_http(asked.url.parse()?);
    chain.client().set_poll_interval(Duration::from_millis(100));
    blocks_and_fees(&chain, &asked).await?;
    transfers(&chain, &wallet, &asked).await?;
    calls(&chain, &asked).await?;
    let paid = pays(&chain, &asked).await?;
    println!("{}", json!({ "transaction": paid }));
    Ok(())
}

async fn blocks_and_fees(chain: &impl Provider, asked: &Asked) -> Done {
    assert_eq!(chain.get_chain_id().await?, asked.chain_id);
    let latest = chain.get_block(Latest.into()).full().await?.unwrap();
    assert!(chain.get_block_number().await? >= latest.header.number);
    assert!(latest.header.base_fee_per_gas.is_some());
    let same = chain.get_block_by_hash(latest.header.hash).await?.unwrap();
    assert_eq!(same.header, latest.header);
    let by_number = chain.get_block_by_number(latest.header.number.into());
    assert_eq!(by_number.await?.unwrap().header, latest.header);
    assert!(chain.get_block_by_number(u64::MAX.into()).await?.is_none());

    assert!(chain.get_gas_price().await? > 0);
    let fees = chain.estimate_eip1559_fees().await?;
    assert!(fees.max_fee_per_gas >= fees.max_priority_fee_per_gas);
    let history = chain.get_fee_history(2, Latest, &[25.0, 75.0]).await?;
    assert!(history.base_fee_per_gas.len() >= 2);
    let rewards = history.reward.unwrap();
    assert!(rewards.iter().all(|block| block.len() == 2));
    Ok(())
}

/// Ether: as raw bytes that it signed, and with all left to the library, which counts
/// nonces by itself from then on.
async fn transfers(chain: &impl Provider, wallet: &EthereumWallet, asked: &Asked) -> Done {
    let one = || {
        TransactionRequest::default()
            .with_from(asked.account)
            .with_to(asked.friend)
            .with_value(U256::from(7))
    };
    assert_eq!(chain.estimate_gas(one()).await?, 21_000);
    let fees = chain.estimate_eip1559_fees().await?;
    let whole = one()
        .with_chain_id(asked.chain_id)
        .with_nonce(chain.get_transaction_count(asked.account).await?)
        .with_gas_limit(21_000)
        .with_max_fee_per_gas(fees.max_fee_per_gas)
        .with_max_priority_fee_per_gas(fees.max_priority_fee_per_gas);
    let raw = whole.build(wallet).await?.encoded_2718();
    let receipt = chain
        .send_raw_transaction(&raw)
        .await?
        .get_receipt()
        .await?;
    assert_mined(chain, &receipt).await?;
    assert_eq!(chain.get_balance(asked.friend).await?, U256::from(7));

    let sent = chain.send_transaction(one()).await?;
    let receipt = sent.with_required_confirmations(1).get_receipt().await?;
    assert_mined(chain, &receipt).await?;
    assert_eq!(chain.get_balance(asked.friend).await?, U256::from(14));
    Ok(())
}

/// The receipt, the transaction and the block agree.
async fn assert_mined(chain: &impl Provider, receipt: &TransactionReceipt) -> Done {
    assert!(receipt.status());
    let hash = receipt.transaction_hash;
    // anvil calls a transaction pending a moment longer than its receipt does.
    let mut sent = chain.get_transaction_by_hash(hash).await?.unwrap();
    for _ in 0..20 {
        if sent.block_hash.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        sent = chain.get_transaction_by_hash(hash).await?.unwrap();
    }
    assert_eq!(sent.block_hash, receipt.block_hash);
    let number = receipt.block_number.unwrap();
    let block = chain.get_block_by_number(number.into()).await?.unwrap();
    assert!(block.transactions.hashes().any(|other| other == hash));
    let receipts = chain.get_block_receipts(number.into()).await?.unwrap();
    assert!(receipts.iter().any(|other| other == receipt));
    Ok(())
}

async fn calls(chain: &impl Provider, asked: &Asked) -> Done {
    let account = asked.account;
    let to_token = |input: Vec<u8>| {
        TransactionRequest::default()
            .with_from(asked.friend)
            .with_to(asked.token)
            .with_input(input)
    };
    let balance = to_token(balanceOfCall { account }.abi_encode());
    let held = chain.call(balance.clone()).await?;
    assert_eq!(balanceOfCall::abi_decode_returns(&held)?, asked.dollars);

    let (to, value) = (account, U256::from(1));
    let poor = chain.call(to_token(transferCall { to, value }.abi_encode()));
    let refused = poor.await.unwrap_err();
    let data = refused.as_error_resp().unwrap().as_revert_data().unwrap();
    let reason = Revert::abi_decode(&data)?.reason;
    assert!(reason.contains("exceeds balance"), "{reason}");

    // The call sees code that is not there.
    let other = AccountOverride {
        code: Some(bytes!("602a60005260206000f3")),
        ..AccountOverride::default()
    };
    let overrides: StateOverride = [(asked.token, other)].into_iter().collect();
    let answer = chain.call(balance).overrides(overrides).await?;
    assert_eq!(U256::from_be_slice(&answer), U256::from(42));
    Ok(())
}

/// A payment in dollars, found again by its log.
async fn pays(chain: &impl Provider, asked: &Asked) -> Result<B256, Box<dyn Error>> {
    let value = U256::from(10_000);
    let to = asked.pay_to;
    let payment = TransactionRequest::default()
        .with_to(asked.token)
        .with_input(transferCall { to, value }.abi_encode());
    let sent = chain.send_transaction(payment).await?;
    let receipt = sent.get_receipt().await?;
    assert_mined(chain, &receipt).await?;
    let filter = Filter::new()
        .address(asked.token)
        .event_signature(Transfer::SIGNATURE_HASH)
        .topic2(to)
        .from_block(receipt.block_number.unwrap());
    let logs = chain.get_logs(&filter).await?;
    assert_eq!(logs.len(), 1);
    assert_eq!(logs[0].transaction_hash, Some(receipt.transaction_hash));
    let moved = Transfer::decode_log(&logs[0].inner)?;
    assert_eq!((moved.from, moved.value), (asked.account, value));
    Ok(receipt.transaction_hash)
}
