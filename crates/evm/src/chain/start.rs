//! Is this the chain that it is said to be, and are these our tokens?

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use alloy_primitives::{Bytes, U64, U256};
use alloy_sol_types::SolCall;
use serde_json::Value;
use tollway_core::{ChainError, Health, Timestamp};
use tollway_rpc::ask::{ask, ask_all, typed};
use tollway_rpc::{Batch, RpcError};

use super::EvmChain;
use crate::abi::Token as Abi;
use crate::facts::{separator, separator_in_parts};
use crate::node::{CallRequest, LATEST, is_revert};
use crate::token::{Token, TokenState};

/// Why a network cannot be served.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StartError {
    /// Not an EVM network.
    #[error("{0} is not an EVM network; configure one as eip155:<chain id>")]
    NotEvm(String),
    /// Nothing in the asset table can be settled there.
    #[error("no asset that can be settled is known on {0}; add one to the asset table")]
    NoAsset(String),
    /// The helping account is one that settles.
    #[error(
        "{0} settles and cannot be the helping account too; configure an account without rights for that"
    )]
    HelperSettles(String),
    /// Two of the contracts are one, or one is at address zero.
    #[error(
        "permit2, exact-proxy, upto-proxy and multicall3 must be four contracts on {0}; correct their addresses"
    )]
    OddContracts(String),
    /// There is no contract where one was configured.
    #[error(
        "there is no contract at {address}, where {name} was said to be on {network}; correct its address or the RPC URL"
    )]
    ContractMissing {
        /// Which of them.
        name: &'static str,
        /// Where.
        address: String,
        /// The network.
        network: String,
    },
    /// The node serves another chain.
    #[error(
        "the node at {host} serves eip155:{found}, not eip155:{expected}; correct its RPC URL or the network"
    )]
    WrongChain {
        /// Configured.
        expected: u64,
        /// Found.
        found: u64,
        /// Host and port.
        host: String,
    },
    /// A token's EIP-712 domain is not the one in our table.
    #[error(
        "the asset {asset} has another EIP-712 domain on chain than name `{name}` and version `{version}`; correct the asset table or the RPC URL"
    )]
    OtherDomain {
        /// Contract.
        asset: String,
        /// Name in our table.
        name: String,
        /// Version in our table.
        version: String,
    },
    /// None of the tokens has a contract.
    #[error(
        "none of the known assets has a contract on {0}; correct the asset table or the RPC URL"
    )]
    NoContract(String),
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
    /// Whether Multicall3 is there.
    pub multicall: AtomicBool,
    /// Whether the proxy of `upto` is missing.
    pub no_upto: AtomicBool,
    /// Which settling accounts run our executor's code, by their place.
    pub delegated: Mutex<Vec<bool>>,
    /// Gas that the newest block may hold; zero while it is unknown.
    pub block_gas: AtomicU64,
    /// When it ran, and what was wrong.
    last: Mutex<Option<(Timestamp, Option<String>)>>,
    one_at_a_time: tokio::sync::Mutex<()>,
}

/// A failed check is not repeated sooner.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// A passed check is believed that long before health asks again.
const BELIEVED: Duration = Duration::from_secs(15 * 60);

impl EvmChain {
    /// Asks the node for its chain id, each token's domain and the settling
    /// accounts' balances. Payments are refused until this passes once.
    ///
    /// # Errors
    /// [`StartError`], which says what to do.
    pub async fn check(&self) -> Result<(), StartError> {
        let outcome = self.run_check().await;
        self.start.passed.store(outcome.is_ok(), Ordering::Release);
        let problem = outcome.as_ref().err().map(ToString::to_string);
        let mut last = self
            .start
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *last = Some((self.now(), problem));
        outcome
    }

    /// Passes at once when the check has passed, else runs it.
    pub(super) async fn require_check(&self) -> Result<(), ChainError> {
        match self.start.passed.load(Ordering::Acquire) {
            true => Ok(()),
            // Boxed: what is asked once must not make every verification larger.
            false => Box::pin(self.check_now()).await,
        }
    }

    async fn check_now(&self) -> Result<(), ChainError> {
        let _guard = self.start.one_at_a_time.lock().await;
        if self.start.passed.load(Ordering::Acquire) {
            return Ok(());
        }
        match self.recent_problem() {
            Some(problem) => Err(not_ready(problem)),
            None => self.check().await.map_err(not_ready),
        }
    }

    fn recent_problem(&self) -> Option<String> {
        let last = self
            .start
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (at, problem) = last.as_ref()?;
        let recent = self.now().since(*at) < RETRY_AFTER && *at <= self.now();
        problem.clone().filter(|_| recent)
    }

    fn is_check_old(&self) -> bool {
        let last = self
            .start
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        last.as_ref()
            .is_some_and(|(at, _)| self.now().since(*at) >= BELIEVED)
    }

    async fn run_check(&self) -> Result<(), StartError> {
        let node = |e: ChainError| self.node_failed(&e);
        self.check_chain_ids().await?;
        let mut batch = Batch::new();
        let question = Bytes::from(Abi::DOMAIN_SEPARATORCall {}.abi_encode());
        let tokens: Vec<&Token> = self.tokens.iter().collect();
        for token in &tokens {
            match token.signs_itself() {
                true => batch.push(
                    "eth_call",
                    &(CallRequest::new(token.address, &question), LATEST),
                ),
                false => batch.push("eth_getCode", &(token.address, LATEST)),
            };
        }
        for signer in &self.signers {
            batch.push("eth_getBalance", &(signer.address(), LATEST));
        }
        for (_, contract) in self.contracts.elsewhere() {
            batch.push("eth_getCode", &(contract, LATEST));
        }
        self.ask_sharing(&mut batch);
        let mut answers = ask_all(&self.rpc, batch).await.map_err(node)?;
        for token in tokens {
            self.check_token(token, answers.next()).await?;
        }
        for _ in &self.signers {
            typed::<U256>("eth_getBalance", answers.next()).map_err(node)?;
        }
        for (name, contract) in self.contracts.elsewhere() {
            let code: Bytes = typed("eth_getCode", answers.next()).map_err(node)?;
            if code.is_empty() {
                return Err(StartError::ContractMissing {
                    name,
                    address: contract.to_checksum(None),
                    network: self.network.to_string(),
                });
            }
        }
        self.read_sharing(&mut answers).map_err(node)?;
        if self.tokens.iter().all(|t| t.state() == TokenState::NoCode) {
            return Err(StartError::NoContract(self.network.to_string()));
        }
        Ok(())
    }

    /// Every node that answers must serve this chain, and one must answer.
    async fn check_chain_ids(&self) -> Result<(), StartError> {
        let mut failed = None;
        let mut answered = false;
        for node in self.rpc.nodes() {
            match ask::<U64>(&node, "eth_chainId", [(); 0]).await {
                Ok(found) if found == U64::from(self.chain_id) => answered = true,
                Ok(found) => {
                    return Err(StartError::WrongChain {
                        expected: self.chain_id,
                        found: found.to(),
                        host: node.hosts().join(", "),
                    });
                }
                Err(error) => failed = Some(self.node_failed(&error)),
            }
        }
        match failed {
            Some(error) if !answered => Err(error),
            _ => Ok(()),
        }
    }

    async fn check_token(
        &self,
        token: &Token,
        answer: Option<Result<Value, RpcError>>,
    ) -> Result<(), StartError> {
        if !token.signs_itself() {
            let code: Bytes = typed("eth_getCode", answer).map_err(|e| self.node_failed(&e))?;
            token.set_state(match code.is_empty() {
                true => TokenState::NoCode,
                false => TokenState::Good,
            });
            return Ok(());
        }
        let separator = match answer {
            Some(Err(error)) if is_revert(&error) => separator_in_parts(&self.rpc, token.address)
                .await
                .map_err(|e| self.node_failed(&e))?,
            answer => {
                let bytes: Bytes =
                    typed("DOMAIN_SEPARATOR", answer).map_err(|e| self.node_failed(&e))?;
                separator(&bytes)
            }
        };
        let state = match separator {
            None => TokenState::NoCode,
            Some(found) if found == token.domain.separator() => TokenState::Good,
            Some(_) => TokenState::OtherDomain,
        };
        token.set_state(state);
        match state {
            TokenState::OtherDomain => Err(StartError::OtherDomain {
                asset: token.address.to_checksum(None),
                name: token.name.clone(),
                version: token.version.clone(),
            }),
            TokenState::NoCode => {
                tracing::warn!(network = %self.network, asset = %token.address, "the asset has no contract; payments in it are refused");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn node_failed(&self, error: &ChainError) -> StartError {
        let detail = match error {
            ChainError::Unavailable { detail, .. } => detail.clone(),
            ChainError::Refused(refusal) => refusal.to_string(),
        };
        StartError::Node {
            network: self.network.to_string(),
            detail,
        }
    }

    /// Confirmed transactions of an account.
    pub(super) async fn transaction_count(
        &self,
        account: alloy_primitives::Address,
    ) -> Result<u64, ChainError> {
        let count: U64 = ask(&self.rpc, "eth_getTransactionCount", (account, LATEST)).await?;
        Ok(count.to())
    }

    pub(super) async fn read_health(&self) -> Health {
        if self.is_check_old() {
            self.start.passed.store(false, Ordering::Release);
        }
        if let Err(problem) = self.require_check().await {
            let detail = match problem {
                ChainError::Unavailable { message, .. } => message,
                ChainError::Refused(refusal) => refusal.to_string(),
            };
            return unready(None, detail);
        }
        match self.block_and_balances().await {
            Ok((block, balances)) => {
                let block = Some(block);
                match balances.iter().max() {
                    Some(most) if most.is_zero() => unready(
                        block,
                        "no settling account holds anything to pay gas with; fund one".to_owned(),
                    ),
                    None => unready(
                        block,
                        "there is no settling account; configure a key".to_owned(),
                    ),
                    Some(_) => Health {
                        ready: true,
                        block_number: block,
                        problem: None,
                    },
                }
            }
            Err(ChainError::Unavailable { message, detail }) => {
                tracing::warn!(network = %self.network, detail, "node is not healthy");
                unready(None, message)
            }
            Err(ChainError::Refused(refusal)) => unready(None, refusal.to_string()),
        }
    }

    async fn block_and_balances(&self) -> Result<(u64, Vec<U256>), ChainError> {
        let mut batch = Batch::new();
        batch.push("eth_blockNumber", &[(); 0]);
        for signer in &self.signers {
            batch.push("eth_getBalance", &(signer.address(), LATEST));
        }
        let mut answers = ask_all(&self.rpc, batch).await?;
        let block: U64 = typed("eth_blockNumber", answers.next())?;
        let balances = self
            .signers
            .iter()
            .map(|_| typed("eth_getBalance", answers.next()))
            .collect::<Result<_, _>>()?;
        Ok((block.to(), balances))
    }
}

fn unready(block_number: Option<u64>, problem: String) -> Health {
    Health {
        ready: false,
        block_number,
        problem: Some(problem),
    }
}

fn not_ready(problem: impl ToString) -> ChainError {
    ChainError::unavailable_because(problem.to_string(), "the start-up check has not passed")
}
