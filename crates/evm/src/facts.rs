//! What a token's contract says of itself.

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::SolCall;
use tollway_core::ChainError;
use tollway_rpc::ask::{ask_all, typed, unavailable};
use tollway_rpc::{Batch, RpcClient, RpcError};

use crate::abi::Token as Abi;
use crate::node::{CallRequest, LATEST, is_revert};
use crate::typed_data::Domain;

/// What a token's contract says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenFacts {
    /// Whether there is a contract at all.
    pub has_code: bool,
    /// Its EIP-712 domain separator; zero where what it says is none, `None` where it says
    /// nothing.
    pub separator: Option<B256>,
    /// Digits after the point, where it says so.
    pub decimals: Option<u8>,
}

/// Asks a token's contract for its domain (`DOMAIN_SEPARATOR`, else EIP-5267) and its
/// decimals.
///
/// # Errors
/// [`ChainError::Unavailable`] if the node cannot be asked.
pub async fn token_facts(rpc: &RpcClient, token: Address) -> Result<TokenFacts, ChainError> {
    let domain = Bytes::from(Abi::DOMAIN_SEPARATORCall {}.abi_encode());
    let decimals = Bytes::from(Abi::decimalsCall {}.abi_encode());
    let mut batch = Batch::new();
    batch.push("eth_getCode", &(token, LATEST));
    batch.push("eth_call", &(CallRequest::new(token, &domain), LATEST));
    batch.push("eth_call", &(CallRequest::new(token, &decimals), LATEST));
    let mut answers = ask_all(rpc, batch).await?;
    let code: Bytes = typed("eth_getCode", answers.next())?;
    let separator = match answers.next() {
        Some(Err(error)) if is_revert(&error) => separator_in_parts(rpc, token).await?,
        answer => separator(&typed::<Bytes>("DOMAIN_SEPARATOR", answer)?),
    };
    let decimals = match answers.next() {
        Some(Err(error)) if is_revert(&error) => None,
        answer => number(&typed::<Bytes>("decimals", answer)?),
    };
    Ok(TokenFacts {
        has_code: !code.is_empty(),
        separator,
        decimals,
    })
}

fn number(word: &Bytes) -> Option<u8> {
    let word = word.get(..32)?;
    U256::from_be_slice(word).try_into().ok()
}

/// A separator as a contract answers with it; nothing where there is no contract.
pub(crate) fn separator(answer: &Bytes) -> Option<B256> {
    match answer.len() {
        0 => None,
        32.. => Some(B256::from_slice(&answer[..32])),
        _ => Some(B256::ZERO),
    }
}

/// EIP-5267, for tokens that do not show their separator.
pub(crate) async fn separator_in_parts(
    rpc: &RpcClient,
    token: Address,
) -> Result<Option<B256>, ChainError> {
    let question = Bytes::from(Abi::eip712DomainCall {}.abi_encode());
    let call = (CallRequest::new(token, &question), LATEST);
    let answer: Result<Bytes, RpcError> = rpc.call("eth_call", call).await;
    match answer {
        Ok(bytes) => Ok(Some(
            Abi::eip712DomainCall::abi_decode_returns(&bytes).map_or(B256::ZERO, |d| {
                let chain_id = u64::try_from(d.chainId).unwrap_or(0);
                Domain::new(&d.name, &d.version, chain_id, d.verifyingContract).separator()
            }),
        )),
        Err(error) if is_revert(&error) => Ok(Some(B256::ZERO)),
        Err(error) => Err(unavailable("eip712Domain")(error)),
    }
}
