//! Looks for the money of the record on its chains.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream;
use tollway_core::assets::AssetTable;
use tollway_core::{Chain, Finality, Network, Outcome};
use tollway_ledger::{Claimed, LookKind, Store};

use crate::chains::{ServedChain, Signers};
use crate::exit::{Exit, Failure};
use crate::wiring::{self, NetworkSetting};

/// Transactions that are asked for at a time.
const AT_A_TIME: usize = 8;

/// What the chains say of one network's payments.
#[derive(Default)]
pub struct OnChain {
    /// Payments whose transaction holds exactly their Transfer.
    pub found: u64,
    /// Payments whose transaction does not.
    pub wrong: u64,
    /// Payments of which the node could not say.
    pub unknown: u64,
    /// Some of the wrong ones.
    pub faults: Vec<String>,
}

/// Most that are told one by one.
const TOLD: usize = 20;

/// Looks up every transfer that the record names, network by network.
pub async fn look(
    store: &Store,
    settings: &[NetworkSetting],
    assets: &AssetTable,
    allow_http: bool,
) -> Result<BTreeMap<Network, OnChain>, Failure> {
    let mut chains: BTreeMap<Network, Arc<dyn Chain>> = BTreeMap::new();
    for setting in settings {
        let node = wiring::node(setting, allow_http)?;
        let chain = ServedChain::build(setting, node, &Signers::none(), assets, None)?;
        chain.check().await?;
        chains.insert(setting.network.clone(), chain.chain());
    }
    let mut seen = BTreeMap::new();
    for kind in [LookKind::Payment, LookKind::Grant, LookKind::Spend] {
        let mut after = 0;
        loop {
            let page = store.claimed_transfers(kind, after).await;
            let page = page.map_err(|e| Failure::coded(Exit::Failed, "ledger_unavailable", e))?;
            let Some(last) = page.last() else {
                break;
            };
            after = last.number();
            look_up(&chains, page, &mut seen).await;
        }
    }
    Ok(seen)
}

async fn look_up(
    chains: &BTreeMap<Network, Arc<dyn Chain>>,
    page: Vec<Claimed>,
    seen: &mut BTreeMap<Network, OnChain>,
) {
    let ask = |claimed: Claimed| async {
        let outcome = match chains.get(&claimed.identity.network) {
            Some(chain) => Some(observed(chain, &claimed).await),
            None => None,
        };
        (claimed, outcome)
    };
    let mut answers = stream::iter(page).map(ask).buffered(AT_A_TIME);
    while let Some((claimed, outcome)) = answers.next().await {
        let of = seen.entry(claimed.identity.network.clone()).or_default();
        match outcome {
            Some(Outcome::Settled(settled)) if settled.transaction == claimed.transaction => {
                of.found += 1;
            }
            Some(Outcome::Settled(_) | Outcome::NotSettled(_)) => {
                of.wrong += 1;
                if of.faults.len() < TOLD {
                    of.faults.push(format!(
                        "{} {} says that {} moved, and transaction {} does not hold that Transfer",
                        claimed.kind.as_str(),
                        claimed.id,
                        claimed.expected.amount,
                        claimed.transaction
                    ));
                }
            }
            Some(Outcome::Unknown | Outcome::Included { .. }) | None => of.unknown += 1,
        }
    }
}

async fn observed(chain: &Arc<dyn Chain>, claimed: &Claimed) -> Outcome {
    let asked = chain.observe(
        &claimed.transaction,
        &claimed.identity,
        &claimed.expected,
        Finality::Included,
    );
    asked.await.unwrap_or(Outcome::Unknown)
}
