//! A running facilitator's settings, read anew: its callers with their quotas,
//! certificate and log. The rest is fixed as long as it runs.

use std::path::Path;
use std::sync::Arc;

use tollway_facilitator::Engine;

use crate::cli::FacilitatorArgs;
use crate::environment::Environment;
use crate::exit::Failure;
use crate::logs::{self, LogSettings};
use crate::operate::{Renews, fixed_changed, fixed_settings};
use crate::serve::{self, Tls};
use crate::wiring;

/// A facilitator that serves, and what it was started with.
pub(super) struct FacilitatorRenewal {
    pub(super) said: FacilitatorArgs,
    pub(super) began: FacilitatorArgs,
    /// Whether callers are known by their keys, as of the settings in force.
    pub(super) is_closed: bool,
    pub(super) engine: Engine,
    pub(super) tls: Option<Arc<Tls>>,
}

impl Renews for FacilitatorRenewal {
    async fn renew(&mut self) -> Result<Vec<String>, Failure> {
        let environment = Environment::read(Path::new("."))?;
        let args = self.said.clone().complete(&environment)?;
        fixed_changed(&fixed(&self.began), &fixed(&args))?;
        let filter = LogSettings {
            filter: args.log.clone(),
            ..LogSettings::default()
        };
        let filter = filter.filter(&environment)?;
        let certificate = serve::certificate(args.tls_cert.as_deref(), args.tls_key.as_deref())?;
        if args.callers.is_empty() && self.is_closed {
            return Err(Failure::usage(
                "No callers are listed any more, and anybody could call; list them, or restart it to serve everybody.",
            ));
        }
        let callers = wiring::callers(&args.callers)?;
        let warnings = self.without_settlers(&args);
        // From here on nothing fails.
        self.engine.set_callers(&callers);
        self.is_closed = !args.callers.is_empty();
        if let (Some(tls), Some(certificate)) = (&self.tls, certificate) {
            tls.renew(certificate);
        }
        logs::change(filter);
        Ok(warnings)
    }
}

impl FacilitatorRenewal {
    /// Callers' addresses for which no contract is deployed before the next start.
    fn without_settlers(&self, args: &FacilitatorArgs) -> Vec<String> {
        let known = |payee: &String| {
            let before = self.began.callers.iter().flat_map(|caller| &caller.pay_to);
            before
                .chain(&self.began.settlers_for)
                .any(|known| known == payee)
        };
        let payees = args.callers.iter().flat_map(|caller| &caller.pay_to);
        let new: Vec<&str> = payees.filter(|p| !known(p)).map(String::as_str).collect();
        if new.is_empty() {
            return Vec::new();
        }
        vec![format!(
            "The settlers of {} are deployed with their first EIP-2612 payments only after a restart.",
            new.join(", ")
        )]
    }
}

/// What counts as long as a facilitator runs, by name. Every setting is here or is
/// read anew.
fn fixed(args: &FacilitatorArgs) -> Vec<(&'static str, String)> {
    let mut all = fixed_settings!(args, FacilitatorArgs {
        read anew: [
            callers,
            tls_key,
            log,
            config,
            tls_cert,
        ],
        fixed: [
            listen: "listen",
            networks: "network",
            signer_key_files: "signer-key-file",
            starknet_accounts: "starknet-account",
            starknet_max_fee: "starknet-max-fee",
            add_assets: "add-asset",
            ledger: "ledger",
            finality: "finality",
            max_finality: "max-finality",
            batch: "batch",
            max_gas_per_day: "max-gas-per-day",
            max_lost_gas_per_payer: "max-lost-gas-per-payer",
            helper_key_file: "helper-key-file",
            max_help_per_day: "max-help-per-day",
            wallet_factories: "wallet-factory",
            settlers_for: "settler-for",
            min_amount: "min-amount",
            sponsor_account: "sponsor-account",
            sponsor_entrypoints: "sponsor-entrypoint",
            sponsor_fees_per_day: "sponsor-fees-per-day",
            self_calls: "self-calls",
            delegation_managers: "delegation-manager",
            open_upto: "open-upto",
            min_validity: "min-validity",
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
