//! Is this the chain that it is said to be, and are our accounts there?

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use tollway_core::{ChainError, Health, Timestamp};
use tollway_rpc::Batch;
use tollway_rpc::ask::typed;

use super::StarknetChain;
use crate::felt;
use crate::node::{LATEST, Num, code, refused_with};

/// A failed check is not repeated sooner.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The oldest version of the node's interface whose bounds we speak.
const OLDEST_SPEC: (u64, u64) = (0, 8);

/// Why a network cannot be served.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StartError {
    /// Not a Starknet network.
    #[error("{0} is not a Starknet network; configure one as starknet:<chain id>")]
    NotStarknet(String),
    /// Nothing in the asset table can be settled there.
    #[error("no asset is known on {0}; add one to the asset table")]
    NoAsset(String),
    /// The node serves another chain.
    #[error(
        "the node at {host} serves chain {found}, not {expected}; correct its RPC URL or the network"
    )]
    WrongChain {
        /// Configured.
        expected: String,
        /// Found.
        found: String,
        /// Host and port.
        host: String,
    },
    /// The node's interface is too old.
    #[error(
        "the node at {host} speaks RPC {found}; use a node that speaks 0.8 or later (many have it under /rpc/v0_8 or /v0_9)"
    )]
    OldNode {
        /// Its version.
        found: String,
        /// Host and port.
        host: String,
    },
    /// A settling account has no class.
    #[error(
        "the settling account {0} is not deployed; deploy it, or correct its address or the network"
    )]
    NoAccount(String),
    /// The node could not be asked.
    #[error("the node of {network} cannot be asked; correct its RPC URL or try again later")]
    Node {
        /// The network.
        network: String,
        /// What failed, for the log.
        detail: String,
    },
}

/// How the check went the last time.
#[derive(Debug, Default)]
pub(super) struct StartState {
    passed: AtomicBool,
    last: Mutex<Option<(Timestamp, Option<String>)>>,
    one_at_a_time: tokio::sync::Mutex<()>,
}

impl StarknetChain {
    /// Asks the node for its chain, its version and the settling accounts.
    /// Payments are refused until this passes once.
    ///
    /// # Errors
    /// [`StartError`], which says what to do.
    pub async fn check(&self) -> Result<(), StartError> {
        let outcome = self.run_check().await;
        self.start.passed.store(outcome.is_ok(), Ordering::Release);
        let problem = outcome.as_ref().err().map(ToString::to_string);
        *self.last_check() = Some((self.now(), problem));
        outcome
    }

    fn last_check(&self) -> std::sync::MutexGuard<'_, Option<(Timestamp, Option<String>)>> {
        let last = self.start.last.lock();
        last.unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes at once when the check has passed, else runs it.
    pub(super) async fn require_check(&self) -> Result<(), ChainError> {
        if self.start.passed.load(Ordering::Acquire) {
            return Ok(());
        }
        let _one = self.start.one_at_a_time.lock().await;
        if self.start.passed.load(Ordering::Acquire) {
            return Ok(());
        }
        let recent = self.last_check().clone();
        if let Some((at, Some(problem))) = recent
            && self.now().since(at) < RETRY_AFTER
        {
            return Err(ChainError::unavailable_because(
                problem,
                "the last check failed",
            ));
        }
        self.check().await.map_err(|error| {
            let detail = match &error {
                StartError::Node { detail, .. } => detail.clone(),
                _ => "the check failed".to_owned(),
            };
            ChainError::unavailable_because(error.to_string(), detail)
        })
    }

    async fn run_check(&self) -> Result<(), StartError> {
        let node = |error: ChainError| StartError::Node {
            network: self.network.to_string(),
            detail: match error {
                ChainError::Unavailable { detail, .. } => detail,
                ChainError::Refused(refusal) => refusal.to_string(),
            },
        };
        let mut batch = Batch::new();
        batch.push("starknet_chainId", &[(); 0]);
        batch.push("starknet_specVersion", &[(); 0]);
        for account in &self.accounts {
            let address = felt::text(&account.number);
            batch.push("starknet_getClassHashAt", &json!([LATEST, address]));
        }
        let answers = self.rpc.batch::<serde_json::Value>(batch).await;
        let mut answers = answers
            .map_err(|error| node(ChainError::unavailable(error)))?
            .into_iter();
        let chain: Num = typed("starknet_chainId", answers.next()).map_err(node)?;
        if chain.0 != self.chain_id {
            return Err(StartError::WrongChain {
                expected: felt::text(&self.chain_id),
                found: felt::text(&chain.0),
                host: self.host(),
            });
        }
        let spec: String = typed("starknet_specVersion", answers.next()).map_err(node)?;
        if version(&spec) < Some(OLDEST_SPEC) {
            return Err(StartError::OldNode {
                found: spec.chars().take(20).collect(),
                host: self.host(),
            });
        }
        for account in &self.accounts {
            match answers.next() {
                Some(Err(error)) if refused_with(&error) == Some(code::CONTRACT_NOT_FOUND) => {
                    return Err(StartError::NoAccount(account.address.to_string()));
                }
                answer => {
                    typed::<Num>("starknet_getClassHashAt", answer).map_err(node)?;
                }
            }
        }
        Ok(())
    }

    fn host(&self) -> String {
        self.rpc
            .hosts()
            .first()
            .copied()
            .unwrap_or_default()
            .to_owned()
    }

    pub(super) async fn read_health(&self) -> Health {
        let checked = self.require_check().await;
        let head = match checked {
            Ok(()) => self.newest().await.map(|(head, _)| head),
            Err(error) => Err(error),
        };
        match head {
            Ok(head) => Health {
                ready: true,
                block_number: Some(head.number),
                problem: None,
            },
            Err(error) => Health {
                ready: false,
                block_number: None,
                problem: Some(error.to_string()),
            },
        }
    }
}

/// Major and minor number.
fn version(text: &str) -> Option<(u64, u64)> {
    let mut parts = text.split(['.', '-']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(version("0.10.2") >= Some(OLDEST_SPEC));
        assert!(version("0.8.0-rc1") >= Some(OLDEST_SPEC));
        assert!(version("0.7.1") < Some(OLDEST_SPEC));
        assert!(version("nonsense") < Some(OLDEST_SPEC));
    }
}
