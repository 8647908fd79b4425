//! The wallet behind `tollway pay --session` and `--starknet-account`.

use std::path::Path;
use std::sync::Arc;

use tollway_core::assets::AssetTable;
use tollway_core::{Family, SystemClock, Wallet};
use tollway_starknet::StarknetWallet;
use tollway_starknet::session::SessionWallet;

use super::sender::not_starknet;
use super::{KeptSession, Sessions, node, unlock};
use crate::chains;
use crate::environment::Environment;
use crate::exit::Failure;
use crate::wiring::{self, NetworkSetting};

/// From so many calls on the buyer is told that few are left.
const FEW_CALLS: u32 = 5;

/// A session that is about to pay.
pub struct PayingSession {
    name: String,
    kept: KeptSession,
}

impl PayingSession {
    /// Reads it.
    pub fn open(name: &str, environment: &Environment) -> Result<Self, Failure> {
        Ok(Self {
            name: name.to_owned(),
            kept: Sessions::open(&environment.home()?)?.read(name)?,
        })
    }

    /// Where it pays, as a node is asked there.
    pub fn network(&self) -> Result<NetworkSetting, Failure> {
        let urls = self.kept.rpc.iter();
        let rpc = urls.map(|url| wiring::http_url(url, "The RPC URL"));
        Ok(NetworkSetting {
            network: self.kept.network.clone(),
            rpc: rpc.collect::<Result<_, _>>()?,
            contracts: tollway_evm::Contracts::default(),
            delegation_managers: None,
            self_calls: false,
        })
    }

    /// Most that one payment may cost, in units of its token.
    pub fn max(&self) -> String {
        self.kept.max_per_call.to_decimal(self.kept.token.decimals)
    }

    /// Whether plain http may leave the machine to its nodes.
    pub fn allows_http(&self) -> bool {
        self.kept.allow_http
    }

    /// The wallet, with the owner's key behind it where that is named.
    pub fn wallet(
        &self,
        owner: Option<&str>,
        passphrase_file: Option<&Path>,
        assets: &AssetTable,
        environment: &Environment,
    ) -> Result<Arc<dyn Wallet>, Failure> {
        let kept = &self.kept;
        let key = unlock(kept, passphrase_file, environment)?;
        let rpc = node(kept, environment)?;
        let account = kept.account()?;
        let wallet = SessionWallet::new(&account, kept.network.clone(), key, rpc);
        let name = self.name.clone();
        let mut wallet = wallet
            .ok_or_else(|| not_starknet(&kept.network))?
            .with(assets.clone(), Arc::new(SystemClock))
            .with_budget(kept.max_calls, kept.token()?, kept.max_per_call)
            .when_low(FEW_CALLS, move |left| {
                eprintln!("tollway: session {name} has {left} calls left; renew it with `tollway session renew {name}`.");
            });
        if let Some(text) = owner {
            let owner = chains::starknet_account(text, "--starknet-account")?;
            if *owner.address() != account {
                return Err(Failure::usage(
                    "--starknet-account is another account than the session's; name its own, or leave it out.",
                ));
            }
            let networks = vec![kept.network.clone()];
            let owner = StarknetWallet::new(&account, networks, owner.signer());
            let owner = owner.ok_or_else(|| not_starknet(&kept.network))?;
            wallet = wallet.with_owner(owner.with_assets(assets.clone()));
        }
        Ok(Arc::new(wallet))
    }
}

/// An account that pays with its owner's key.
pub fn owner(
    text: &str,
    networks: &[NetworkSetting],
    assets: &AssetTable,
    allow_http: bool,
) -> Result<Arc<dyn Wallet>, Failure> {
    let account = chains::starknet_account(text, "--starknet-account")?;
    let on_starknet = |setting: &&NetworkSetting| setting.network.family() == Family::Starknet;
    let served: Vec<_> = networks.iter().filter(on_starknet).collect();
    if served.is_empty() {
        return Err(Failure::usage(
            "--network is missing; add --network starknet=https://your.rpc, where the account is.",
        ));
    }
    let names = served.iter().map(|setting| setting.network.clone());
    let wallet = StarknetWallet::new(account.address(), names.collect(), account.signer());
    let mut wallet = wallet
        .ok_or_else(|| Failure::usage("--starknet-account names no account; correct it."))?
        .with_assets(assets.clone());
    for setting in served.iter().filter(|setting| !setting.rpc.is_empty()) {
        let node = wiring::node(setting, allow_http)?;
        wallet = wallet.with_node(setting.network.clone(), node);
    }
    Ok(Arc::new(wallet))
}
