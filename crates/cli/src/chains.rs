//! The chains behind networks, of either family, and the accounts that settle on
//! them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tollway_core::assets::AssetTable;
use tollway_core::money::Decimal;
use tollway_core::{Address, Chain, Family, Network};
use tollway_evm::{BatchWay, EvmChain, EvmConfig, SigningKey};
use tollway_rpc::RpcClient;
use tollway_starknet::{StarkKey, StarknetAccount, StarknetChain, StarknetConfig};

use crate::environment::Environment;
use crate::exit::Failure;
use crate::help::Beside;
use crate::wiring::{self, NetworkSetting};
use crate::{keys, kms, logs};

/// Most STRK that one transaction may cost, unless it is said.
const MAX_FEE: &str = "1";
/// Digits of STRK after the point.
const STRK_DECIMALS: u8 = 18;

/// The accounts that settle, by family.
#[derive(Default)]
pub struct Signers {
    evm: Vec<SigningKey>,
    starknet: Vec<StarknetAccount>,
    /// Most fri that one transaction on Starknet may cost.
    max_fee: Option<u128>,
    beside: Beside,
}

impl Signers {
    /// With what is done on EVM networks beside settling.
    pub fn beside(mut self, beside: Beside) -> Self {
        self.beside = beside;
        self
    }

    /// None: chains that only look.
    pub fn none() -> Self {
        Self::default()
    }

    /// From the flags, each family's where one of its networks is served; those of
    /// EVM networks only where anything is sent.
    pub async fn read(
        networks: &[NetworkSetting],
        key_files: &[PathBuf],
        sends: bool,
        accounts: &[String],
        max_fee: Option<&str>,
        environment: &Environment,
    ) -> Result<Self, Failure> {
        let serves = |family| networks.iter().any(|n| n.network.family() == family);
        let missing =
            |flag: &str, what: &str| Err(Failure::usage(format!("{flag} is missing; {what}.")));
        if sends && serves(Family::Evm) && key_files.is_empty() {
            return missing(
                "--signer-key-file",
                "name a file (mode 0600) with the hex key that pays for gas",
            );
        }
        if serves(Family::Starknet) && accounts.is_empty() {
            return missing(
                "--starknet-account",
                "name an account that holds STRK for fees, and the file (mode 0600) of its key, as ADDRESS=KEY_FILE",
            );
        }
        Ok(Self {
            evm: evm_signers(key_files, environment).await?,
            starknet: starknet_accounts(accounts)?,
            max_fee: Some(strk(max_fee, "--starknet-max-fee")?),
            beside: Beside::default(),
        })
    }
}

async fn evm_signers(
    files: &[PathBuf],
    environment: &Environment,
) -> Result<Vec<SigningKey>, Failure> {
    let mut signers: Vec<SigningKey> = Vec::new();
    for file in files {
        let signer = kms::signing_key(file, environment).await?;
        let known = |known: &SigningKey| known.address() == signer.address();
        if signers.iter().any(known) {
            return Err(twice("--signer-key-file", &file.display().to_string()));
        }
        signers.push(signer);
    }
    Ok(signers)
}

fn starknet_accounts(texts: &[String]) -> Result<Vec<StarknetAccount>, Failure> {
    let mut accounts: Vec<StarknetAccount> = Vec::new();
    for text in texts {
        let account = starknet_account(text, "--starknet-account")?;
        let known = |known: &StarknetAccount| known.address() == account.address();
        if accounts.iter().any(known) {
            return Err(twice("--starknet-account", account.address().as_str()));
        }
        accounts.push(account);
    }
    Ok(accounts)
}

fn twice(flag: &str, what: &str) -> Failure {
    Failure::usage(format!("{flag} {what} is given twice; give each once."))
}

/// Reads `ADDRESS=KEY_FILE`.
pub fn starknet_account(text: &str, flag: &str) -> Result<StarknetAccount, Failure> {
    let (address, file) = text.split_once('=').ok_or_else(|| {
        Failure::usage(format!(
            "{flag} names no key file; write it as 0xADDRESS=KEY_FILE."
        ))
    })?;
    let address = starknet_address(address.trim(), flag)?;
    let key = stark_key(Path::new(file.trim()))?;
    StarknetAccount::new(address, key)
        .ok_or_else(|| Failure::usage(format!("{flag} names the zero address; correct it.")))
}

/// An account or contract on Starknet, of whatever network.
pub fn starknet_address(text: &str, flag: &str) -> Result<Address, Failure> {
    let network = wiring::network("starknet")?;
    network
        .address(text)
        .map_err(|e| Failure::usage(format!("{flag}: {e}.")))
}

/// A key of the STARK curve from a private file.
pub fn stark_key(path: &Path) -> Result<StarkKey, Failure> {
    StarkKey::from_hex(&keys::read_private(path)?)
        .map_err(|e| Failure::usage(format!("{}: {e}.", path.display())))
}

/// An amount of STRK, in fri.
pub fn strk(text: Option<&str>, flag: &str) -> Result<u128, Failure> {
    let text = text.unwrap_or(MAX_FEE);
    let fri = text.parse::<Decimal>().ok();
    let fri = fri.and_then(|amount| amount.to_atomic(STRK_DECIMALS)?.as_u128());
    fri.ok_or_else(|| {
        Failure::usage(format!(
            "{flag}: `{text}` is no amount of STRK; write for example 0.5."
        ))
    })
}

/// A chain that is served or looked at.
#[derive(Clone)]
pub enum ServedChain {
    /// An EVM network.
    Evm(Arc<EvmChain>),
    /// A Starknet network.
    Starknet(Arc<StarknetChain>),
}

impl ServedChain {
    /// The chain behind a network, as a facilitator settles on it, or looks at it
    /// without signers.
    pub fn build(
        setting: &NetworkSetting,
        rpc: RpcClient,
        signers: &Signers,
        assets: &AssetTable,
        min_validity: Option<Duration>,
    ) -> Result<Self, Failure> {
        let network = setting.network.clone();
        if network.family() == Family::Starknet {
            return starknet(network, rpc, signers, assets, min_validity);
        }
        let mut config = EvmConfig::new(network, rpc, signers.evm.clone());
        config.assets = assets.clone();
        config.contracts = setting.contracts;
        if let Some(managers) = &setting.delegation_managers {
            config.delegation_managers.clone_from(managers);
        }
        config.helper = signers.beside.helper.clone();
        config.wallet_factories = signers.beside.wallet_factories.clone();
        config.settler_payees = signers.beside.settler_payees.clone();
        if setting.self_calls {
            config.limits.batch_way = BatchWay::SelfCall;
        }
        if let Some(remaining) = min_validity {
            config.limits.verify_remaining = remaining;
        }
        let chain = EvmChain::new(config).map_err(Failure::usage)?;
        Ok(Self::Evm(Arc::new(chain)))
    }

    /// As the other rooms hold it.
    pub fn chain(&self) -> Arc<dyn Chain> {
        match self {
            Self::Evm(chain) => chain.clone(),
            Self::Starknet(chain) => chain.clone(),
        }
    }

    /// Asks the chain whether it is the one that was meant. A wrong chain stops
    /// the start; a dead node is said, and asked again while we serve.
    pub async fn check(&self) -> Result<(), Failure> {
        use tollway_evm::StartError as Evm;
        use tollway_starknet::StartError as Starknet;
        let dead = match self {
            Self::Evm(chain) => match chain.check().await {
                Ok(()) => return make_ready(chain).await,
                Err(error @ Evm::Node { .. }) => error.to_string(),
                Err(error) => return Err(Failure::usage(error)),
            },
            Self::Starknet(chain) => match chain.check().await {
                Ok(()) => return Ok(()),
                Err(error @ Starknet::Node { .. }) => error.to_string(),
                Err(error) => return Err(Failure::usage(error)),
            },
        };
        logs::say(format_args!(
            "{dead}. Payments are refused until it answers."
        ));
        Ok(())
    }
}

/// Settling accounts that shall call as themselves are given the code for it.
async fn make_ready(chain: &EvmChain) -> Result<(), Failure> {
    if chain.limits().batch_way != BatchWay::SelfCall {
        return Ok(());
    }
    let sent = chain.set_up_self_calls().await.map_err(Failure::new)?;
    for transaction in sent {
        logs::say(format_args!(
            "made ready for shared transactions: {transaction}"
        ));
    }
    Ok(())
}

fn starknet(
    network: Network,
    rpc: RpcClient,
    signers: &Signers,
    assets: &AssetTable,
    min_validity: Option<Duration>,
) -> Result<ServedChain, Failure> {
    let mut config = StarknetConfig::new(network, rpc, signers.starknet.clone());
    config.assets = assets.clone();
    if let Some(fee) = signers.max_fee {
        config.limits.max_transaction_fee = fee;
    }
    if let Some(remaining) = min_validity {
        // The scheme asks for thirty seconds at least.
        config.limits.margins.settle = remaining.as_secs().max(config.limits.margins.settle);
    }
    let chain = StarknetChain::new(config).map_err(Failure::usage)?;
    Ok(ServedChain::Starknet(Arc::new(chain)))
}
