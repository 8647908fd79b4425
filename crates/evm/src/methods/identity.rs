//! What the chain makes unique about a payment, as the text of an identity and
//! back.
//!
//! | method | scope | nonce |
//! |---|---|---|
//! | eip3009 | the asset | `0x` and 64 hex digits |
//! | permit2, also for `upto` | Permit2, one space for all of an owner's tokens | decimal |
//! | eip2612 | the asset | `permit:`, decimal, and `:` and the deadline |
//! | erc7710 | the delegation manager | `call:` or `sum:` and the hash of the delegation that pays once |
//! | txid | `tx:` and the asset | the hash, and `:` and the log where there are several |
//!
//! A token counts permits one after the other: whose permit failed, for lack of
//! money, can sign none but the same number again. The deadline tells the two
//! apart; the chain takes one of them, and the ledger one payment by its transfer.

use alloy_primitives::{Address, B256, U256};
use tollway_core::{ChainError, Identity};

use super::Payment;
use super::erc7710::Mark;
use super::fields::decimal;

/// What tells that a payment was settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// The nonce of an EIP-3009 authorization.
    Authorization(B256),
    /// A bit of the payer's bitmap in Permit2, and where that is.
    Permit2(Address, U256),
    /// A nonce of the payer's in the token, spent through a settler.
    Permit(U256),
    /// A transaction, and which of its logs.
    Transaction(B256, Option<u64>),
    /// What of a chain of delegations can be used once, and the manager's address.
    Delegated(Mark, Address),
}

impl Payment {
    /// Scope and nonce of its identity.
    pub fn scope_and_nonce(&self, asset: &str, permit2: Address) -> (String, String) {
        match self {
            Self::Eip3009(signed) => (
                asset.to_owned(),
                format!("{:#x}", signed.authorization.nonce),
            ),
            Self::Permit2(signed) => (address_text(permit2), signed.permit.nonce.to_string()),
            Self::Eip2612(signed) => {
                let permit = &signed.permit;
                let nonce = format!("permit:{}:{}", permit.nonce, permit.deadline);
                (asset.to_owned(), nonce)
            }
            Self::Txid(proof) => (format!("tx:{asset}"), proof.nonce()),
            Self::Erc7710(permission) => {
                let nonce = match permission.mark() {
                    Mark::Call(hash) => format!("call:{hash:#x}"),
                    Mark::Sum(hash) => format!("sum:{hash:#x}"),
                };
                (address_text(permission.manager), nonce)
            }
        }
    }
}

fn address_text(address: Address) -> String {
    format!("{address:#x}")
}

/// Reads an identity that was made here.
pub(crate) fn key_of(identity: &Identity) -> Result<Key, ChainError> {
    let nonce = identity.nonce.as_str();
    let key = if identity.scope.starts_with("tx:") {
        let (hash, index) = match nonce.split_once(':') {
            None => (nonce, Some(None)),
            Some((hash, index)) => (hash, index.parse().ok().map(Some)),
        };
        hash.parse()
            .ok()
            .zip(index)
            .map(|(hash, index)| Key::Transaction(hash, index))
    } else if let Some(permit) = nonce.strip_prefix("permit:") {
        let (nonce, deadline) = permit.split_once(':').unwrap_or_default();
        let (nonce, deadline) = (decimal(nonce), decimal(deadline));
        deadline.and(nonce).map(Key::Permit)
    } else if let Some((kind, hash)) = nonce.split_once(':') {
        let hash = hash.parse().ok();
        let mark = match kind {
            "call" => hash.map(Mark::Call),
            "sum" => hash.map(Mark::Sum),
            _ => None,
        };
        mark.zip(identity.scope.parse().ok())
            .map(|(mark, manager)| Key::Delegated(mark, manager))
    } else if let Some(number) = decimal(nonce) {
        let permit2 = identity.scope.parse().ok();
        permit2.map(|permit2| Key::Permit2(permit2, number))
    } else {
        nonce.parse().ok().map(Key::Authorization)
    };
    key.ok_or_else(|| ChainError::unavailable(format!("{nonce} is not a nonce")))
}

#[cfg(test)]
mod tests {
    use tollway_core::Network;

    use super::*;
    use crate::contracts::PERMIT2;

    fn key(scope: &str, nonce: &str) -> Option<Key> {
        let network = Network::eip155(84532);
        let payer = network.address(&format!("0x{:040x}", 7)).unwrap();
        key_of(&Identity {
            network,
            scope: scope.to_owned(),
            payer,
            nonce: nonce.to_owned(),
        })
        .ok()
    }

    #[test]
    fn an_identity_says_by_which_method_it_settles() {
        let asset = format!("0x{:040x}", 5);
        let hash = format!("0x{:064x}", 9);
        let word = B256::from(U256::from(9));
        assert_eq!(key(&asset, &hash), Some(Key::Authorization(word)));
        assert_eq!(
            key(&address_text(PERMIT2), "9"),
            Some(Key::Permit2(PERMIT2, U256::from(9)))
        );
        let permit = Some(Key::Permit(U256::from(9)));
        assert_eq!(key(&asset, "permit:9:1700000000"), permit);
        let tx = format!("tx:{asset}");
        assert_eq!(key(&tx, &hash), Some(Key::Transaction(word, None)));
        assert_eq!(
            key(&tx, &format!("{hash}:3")),
            Some(Key::Transaction(word, Some(3)))
        );
        let delegated = |mark| Some(Key::Delegated(mark, asset.parse().unwrap()));
        let call = key(&asset, &format!("call:{hash}"));
        assert_eq!(call, delegated(Mark::Call(word)));
        let sum = key(&asset, &format!("sum:{hash}"));
        assert_eq!(sum, delegated(Mark::Sum(word)));
        for (scope, nonce) in [
            (&asset, "permit:01:1700000000"),
            (&asset, "permit:9"),
            (&asset, "permit:9:"),
            (&asset, "call:9"),
            (&asset, "other:9"),
            (&asset, "9x"),
            (&tx, "9"),
            (&address_text(PERMIT2), "0x9"),
        ] {
            assert_eq!(key(scope, nonce), None, "{scope} {nonce}");
        }
    }
}
