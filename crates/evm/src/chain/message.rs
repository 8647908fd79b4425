//! Messages that accounts sign for people and programs (EIP-191), by key or by code.

use alloy_primitives::{Bytes, U64};
use alloy_sol_types::SolCall as _;
use tollway_core::{Address, ChainError, SignedWith};
use tollway_rpc::Batch;
use tollway_rpc::ask::ask_all;

use super::simulate::says_valid;
use super::{EvmChain, known_account};
use crate::abi::Account as AccountAbi;
use crate::node::{CallRequest, LATEST};
use crate::signer::recover;
use crate::typed_data::message_digest;

/// No account has a longer signature.
const MAX_SIGNATURE_BYTES: usize = 4096;

impl EvmChain {
    /// Whose key or code made a message's signature, if it is this account's.
    pub(super) async fn signer_of_message(
        &self,
        account: &Address,
        message: &str,
        signature: &str,
    ) -> Result<Option<SignedWith>, ChainError> {
        let digits = signature.strip_prefix("0x").unwrap_or_default();
        let Some(bytes) = (digits.len() <= 2 * MAX_SIGNATURE_BYTES)
            .then(|| hex::decode(digits).ok())
            .flatten()
        else {
            return Ok(None);
        };
        let account = known_account(account)?;
        let digest = message_digest(message);
        if recover(digest, &bytes) == Some(account) {
            return Ok(Some(SignedWith::Key));
        }
        let question = AccountAbi::isValidSignatureCall {
            hash: digest,
            signature: bytes.into(),
        };
        let question = Bytes::from(question.abi_encode());
        let mut request = CallRequest::new(account, &question);
        request.gas = Some(U64::from(self.limits.signature_gas));
        let mut batch = Batch::new();
        batch.push("eth_call", &(request, LATEST));
        let answer = ask_all(&self.rpc, batch).await?.next();
        Ok(says_valid(answer)?.then_some(SignedWith::Code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with viem 2.48.
    #[test]
    fn the_digest_is_that_of_personal_sign() {
        let signature = "535b52618c75d2ebd2ca35d8f458dbc8c4b1da678af1a82d2a5b25b8fdcca3d1188852a283b1a7c3931c696d940111b5d522f1cc560846f4b7040aeea79ef8bf1c";
        let message = "api.example wants you to sign in with your Ethereum account:\n0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266\n\n\nURI: https://api.example/paid/weather\nVersion: 1\nChain ID: 84532\nNonce: 00112233445566778899aabbccddeeff\nIssued At: 2026-11-22T00:00:00.000Z\nResources:\n- https://api.example/paid/weather";
        let signer = recover(message_digest(message), &hex::decode(signature).unwrap());
        assert_eq!(
            signer.unwrap().to_string(),
            "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
        );
    }
}
