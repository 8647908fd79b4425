//! A running gate's settings, read anew: routes, prices, passes, the server behind,
//! certificate and log. The rest is fixed as long as it runs.

use std::path::Path;
use std::sync::Arc;

use tollway_gate::{Gate, Proxy, RenewError};
use tollway_ledger::Store;
use tower::Layer;

use super::doors::{Current, Open};
use super::gate::{Settings, Settler, builder, not_started, proxy};
use crate::cli::GateArgs;
use crate::environment::Environment;
use crate::exit::Failure;
use crate::logs::{self, LogSettings};
use crate::operate::{Renews, fixed_changed, fixed_settings};
use crate::serve::Tls;

/// A gate that serves, and what it was started with.
pub(super) struct GateRenewal {
    pub(super) said: GateArgs,
    pub(super) began: GateArgs,
    pub(super) routes_cost_gas: bool,
    pub(super) upstream: String,
    pub(super) base_url: String,
    pub(super) gate: Gate,
    pub(super) proxy: Proxy,
    pub(super) settler: Arc<Settler>,
    pub(super) ledger: Store,
    pub(super) doors: Arc<Current>,
    pub(super) tls: Option<Arc<Tls>>,
}

impl Renews for GateRenewal {
    async fn renew(&mut self) -> Result<Vec<String>, Failure> {
        let environment = Environment::read(Path::new("."))?;
        let args = self.said.clone().complete(&environment)?;
        fixed_changed(&fixed(&self.began), &fixed(&args))?;
        let filter = LogSettings {
            filter: args.log.clone(),
            ..LogSettings::default()
        };
        let filter = filter.filter(&environment)?;
        let settings = Settings::read(&args, &environment)?;
        if settings.costs_gas() && !self.routes_cost_gas {
            return Err(Failure::usage(
                "A route is paid by transactions that cost gas, and the gate was started without an account for them; restart it.",
            ));
        }
        let builder = builder(&self.base_url, &settings, &self.settler, &self.ledger)?;
        let sdk = settings.sdk_routes()?;
        let proxy = match settings.upstream == self.upstream {
            true => self.proxy.clone(),
            false => proxy(&settings.upstream, &self.base_url)?,
        };
        let renewed = self.gate.renew(builder).await;
        let (gate, warnings) = renewed.map_err(|error| match error {
            RenewError::Build(error) => Failure::usage(error),
            RenewError::Start(error) => not_started(error),
        })?;
        // From here on nothing fails.
        self.doors.replace(Open {
            priced: gate.layer().layer(proxy.clone()),
            sdk,
        });
        if let (Some(tls), Some(certificate)) = (&self.tls, settings.certificate) {
            tls.renew(certificate);
        }
        logs::change(filter);
        (self.gate, self.proxy, self.upstream) = (gate, proxy, settings.upstream);
        Ok(warnings)
    }
}

/// What counts as long as a gate runs, by name. Every setting is here or is read anew.
fn fixed(args: &GateArgs) -> Vec<(&'static str, String)> {
    let mut all = fixed_settings!(args, GateArgs {
        read anew: [
            upstream,
            routes,
            settle,
            token_path,
            token_key_file,
            proof_key_file,
            new_token_keys,
            receipt_key_file,
            receipt_transactions,
            exposure_per_payer,
            exposure,
            webhook,
            webhook_key_file,
            no_page,
            no_discovery,
            page,
            discovery,
            access,
            about,
            tls_key,
            log,
            config,
            tls_cert,
        ],
        fixed: [
            listen: "listen",
            pay_to: "pay-to",
            starknet_pay_to: "starknet-pay-to",
            networks: "network",
            facilitator: "facilitator",
            signer_key_files: "signer-key-file",
            starknet_accounts: "starknet-account",
            starknet_max_fee: "starknet-max-fee",
            add_assets: "add-asset",
            ledger: "ledger",
            batch: "batch",
            max_gas_per_day: "max-gas-per-day",
            max_lost_gas_per_payer: "max-lost-gas-per-payer",
            helper_key_file: "helper-key-file",
            max_help_per_day: "max-help-per-day",
            wallet_factories: "wallet-factory",
            facilitator_key_file: "facilitator-key-file",
            public_url: "public-url",
            finality: "finality",
            allow_http: "allow-http",
            log_format: "log-format",
            admin_listen: "admin-listen",
            admin_token_file: "admin-token-file",
            drain_delay: "drain-delay",
            otlp_endpoint: "otlp-endpoint",
            dashboard: "dashboard",
            dashboard_token_file: "dashboard-token-file",
        ],
    });
    // Another certificate is read anew; none where there was one is not.
    let is_https = args.tls_cert.is_some().to_string();
    all.push(("tls-cert (whether https is served)", is_https));
    all
}
