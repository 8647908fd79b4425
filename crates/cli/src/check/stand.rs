//! The gate that a configuration makes, in this process and with a record that is
//! forgotten: to be looked at, where the real one does not run.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tollway_core::Facilitator;
use tollway_gate::{Gate, Proxy};
use tollway_ledger::Store;
use tower::Layer;

use super::facilitator::Told;
use crate::chains::ServedChain;
use crate::commands::doors::{Doors, Health, Open};
use crate::commands::gate::{self, Settings};
use crate::exit::Failure;
use crate::operate::State;
use crate::sdk::SdkRoutes;
use crate::serve;

/// A record in memory.
const NO_LEDGER: &str = "sqlite::memory:";

/// A gate that settles nothing.
pub struct Stand {
    /// The gate itself, for what it decides.
    pub gate: Gate,
    proxy: Proxy,
    sdk: Option<SdkRoutes>,
}

/// What it said at its start.
pub struct Said {
    /// Of the facilitator: what it does not list.
    pub unsupported: Vec<String>,
    /// Of everything else.
    pub warnings: Vec<String>,
}

impl Stand {
    /// Builds it, as the real one would be built.
    pub async fn build(
        settings: &Settings,
        base_url: &str,
        told: Told,
        chains: Vec<ServedChain>,
    ) -> Result<(Self, Said), Failure> {
        let is_known = told.is_known();
        let facilitator: Arc<dyn Facilitator> = Arc::new(told);
        let ledger = Store::open(NO_LEDGER).await.map_err(Failure::new)?;
        let (gate, proxy, sdk) =
            gate::looked_at(settings, base_url, facilitator, chains, &ledger).await?;
        let report = gate.start().await.map_err(gate::not_started)?;
        let unsupported = match is_known {
            true => gate.refresh_supported().await,
            false => Vec::new(),
        };
        let others = report.warnings.into_iter();
        let of_facilitator = |warning: &String| warning.starts_with("The facilitator");
        let warnings =
            others.filter(|warning| !of_facilitator(warning) && !unsupported.contains(warning));
        let said = Said {
            warnings: warnings.collect(),
            unsupported: unsupported.clone(),
        };
        Ok((Self { gate, proxy, sdk }, said))
    }

    /// Serves it on a free port of this machine until the guard is dropped, and says where.
    pub async fn serve(self) -> Result<(String, tokio_util::sync::DropGuard), Failure> {
        let (listener, address) = serve::bind("127.0.0.1:0").await?;
        let stop = CancellationToken::new();
        let state = Arc::new(State::new(stop.clone()));
        let health = Arc::new(Health::new(self.gate.clone(), None, state));
        let open = Open {
            priced: self.gate.layer().layer(self.proxy),
            sdk: self.sdk,
        };
        let doors = Doors::new(health, open);
        tokio::spawn(serve::serve(listener, doors, stop.clone()));
        Ok((format!("http://{address}"), stop.drop_guard()))
    }
}
