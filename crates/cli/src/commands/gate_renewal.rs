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
use crate::operate::{Renews, fixed_changed};
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
    let GateArgs {
        // Read anew.
        upstream: _,
        routes: _,
        settle: _,
        token_path: _,
        token_key_file: _,
        proof_key_file: _,
        new_token_keys: _,
        receipt_key_file: _,
        receipt_transactions: _,
        exposure_per_payer: _,
        exposure: _,
        webhook: _,
        webhook_key_file: _,
        no_page: _,
        no_discovery: _,
        page: _,
        discovery: _,
        access: _,
        about: _,
        tls_key: _,
        log: _,
        config: _,
        // Fixed.
        listen,
        pay_to,
        starknet_pay_to,
        networks,
        facilitator,
        signer_key_files,
        starknet_accounts,
        starknet_max_fee,
        add_assets,
        ledger,
        batch,
        max_gas_per_day,
        max_lost_gas_per_payer,
        helper_key_file,
        max_help_per_day,
        wallet_factories,
        facilitator_key_file,
        public_url,
        finality,
        allow_http,
        tls_cert,
        log_format,
        admin_listen,
        admin_token_file,
        drain_delay,
        otlp_endpoint,
        dashboard,
        dashboard_token_file,
    } = args;
    vec![
        ("listen", format!("{listen:?}")),
        ("pay-to", format!("{pay_to:?}")),
        ("starknet-pay-to", format!("{starknet_pay_to:?}")),
        ("network", format!("{networks:?}")),
        ("facilitator", format!("{facilitator:?}")),
        ("signer-key-file", format!("{signer_key_files:?}")),
        ("starknet-account", format!("{starknet_accounts:?}")),
        ("starknet-max-fee", format!("{starknet_max_fee:?}")),
        ("add-asset", format!("{add_assets:?}")),
        ("ledger", format!("{ledger:?}")),
        ("batch", format!("{batch:?}")),
        ("max-gas-per-day", format!("{max_gas_per_day:?}")),
        (
            "max-lost-gas-per-payer",
            format!("{max_lost_gas_per_payer:?}"),
        ),
        ("helper-key-file", format!("{helper_key_file:?}")),
        ("max-help-per-day", format!("{max_help_per_day:?}")),
        ("wallet-factory", format!("{wallet_factories:?}")),
        ("facilitator-key-file", format!("{facilitator_key_file:?}")),
        ("public-url", format!("{public_url:?}")),
        ("finality", format!("{finality:?}")),
        ("allow-http", format!("{allow_http:?}")),
        (
            "tls-cert (whether https is served)",
            tls_cert.is_some().to_string(),
        ),
        ("log-format", format!("{log_format:?}")),
        ("admin-listen", format!("{admin_listen:?}")),
        ("admin-token-file", format!("{admin_token_file:?}")),
        ("drain-delay", format!("{drain_delay:?}")),
        ("otlp-endpoint", format!("{otlp_endpoint:?}")),
        ("dashboard", format!("{dashboard:?}")),
        ("dashboard-token-file", format!("{dashboard_token_file:?}")),
    ]
}
