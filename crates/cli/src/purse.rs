//! What `pay` pays with: a key of our own, or a permission and the budget that it is.

use std::sync::Arc;
use std::time::Duration;

use tollway_core::assets::AssetTable;
use tollway_core::{Amount, Wallet};
use tollway_evm::PermissionWallet;
use tollway_evm::delegation::Allowance;
use tollway_ledger::{Limit, LimitScope};

use crate::exit::{Exit, Failure};
use crate::permissions::Permission;
use crate::wiring::{self, NetworkSetting};

/// The agent's name where nothing else is said.
const AGENT: &str = "default";

/// A wallet, and the limits that come with it.
pub struct Purse {
    /// What signs.
    pub wallet: Arc<dyn Wallet>,
    /// Whose spending is counted.
    pub agent: String,
    /// What is left is reserved before anything is signed, also across processes.
    pub limits: Vec<Limit>,
}

impl Purse {
    /// Keys of our own, with no limits but the policy's.
    pub fn without_limits(wallet: Arc<dyn Wallet>) -> Self {
        Self {
            wallet,
            agent: AGENT.to_owned(),
            limits: Vec::new(),
        }
    }
}

/// A permission. The allowance is a budget of the delegation's own, told apart by
/// its hash, so that two names for one grant share it. The chain's periods begin at
/// fixed times; the budget's window slides, which never allows more.
pub fn of_permission(
    permission: Permission,
    networks: &[NetworkSetting],
    assets: &AssetTable,
    allow_http: bool,
) -> Result<Purse, Failure> {
    let hash = permission.chain.last().map(|root| root.hash());
    let agent = format!("permission {:#x}", hash.unwrap_or_default());
    let network = permission.network.clone();
    let wallet = PermissionWallet::of_account(
        permission.session,
        permission.account,
        permission.network,
        permission.manager,
        permission.chain,
    );
    let mut wallet = wallet.map_err(|refusal| {
        Failure::coded(Exit::RefusedByPolicy, refusal.code(), refusal.message())
    })?;
    wallet = wallet
        .with_assets(assets.clone())
        .with_dependencies(permission.dependencies);
    let node = networks
        .iter()
        .find(|setting| setting.network == network && !setting.rpc.is_empty());
    if let Some(setting) = node {
        wallet = wallet.with_node(wiring::node(setting, allow_http)?);
    }
    let limits = wallet.grant().allowances.iter();
    let limits = limits.map(|allowance| limit(&agent, allowance)).collect();
    Ok(Purse {
        wallet: Arc::new(wallet),
        agent,
        limits,
    })
}

fn limit(agent: &str, allowance: &Allowance) -> Limit {
    let window = match allowance {
        Allowance::Period { duration, .. } => u64::try_from(*duration).ok(),
        Allowance::Total(_) | Allowance::Stream { .. } => None,
    };
    Limit {
        scope: LimitScope::Agent(agent.to_owned()),
        window: window.map(Duration::from_secs),
        max: Amount::from(allowance.most()),
    }
}
