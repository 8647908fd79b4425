//! A running facilitator's settings, read anew: its callers with their quotas,
//! certificate and log. The rest is fixed as long as it runs.

use std::path::Path;
use std::sync::Arc;

use tollway_facilitator::Engine;

use crate::cli::FacilitatorArgs;
use crate::environment::Environment;
use crate::exit::Failure;
use crate::logs::{self, LogSettings};
use crate::operate::{Renews, fixed_changed};
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
    let FacilitatorArgs {
        // Read anew.
        callers: _,
        tls_key: _,
        log: _,
        config: _,
        // Fixed.
        listen,
        networks,
        signer_key_files,
        starknet_accounts,
        starknet_max_fee,
        add_assets,
        ledger,
        finality,
        max_finality,
        batch,
        max_gas_per_day,
        max_lost_gas_per_payer,
        helper_key_file,
        max_help_per_day,
        wallet_factories,
        settlers_for,
        min_amount,
        sponsor_account,
        sponsor_entrypoints,
        sponsor_fees_per_day,
        self_calls,
        delegation_managers,
        open_upto,
        min_validity,
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
        ("network", format!("{networks:?}")),
        ("signer-key-file", format!("{signer_key_files:?}")),
        ("starknet-account", format!("{starknet_accounts:?}")),
        ("starknet-max-fee", format!("{starknet_max_fee:?}")),
        ("add-asset", format!("{add_assets:?}")),
        ("ledger", format!("{ledger:?}")),
        ("finality", format!("{finality:?}")),
        ("max-finality", format!("{max_finality:?}")),
        ("batch", format!("{batch:?}")),
        ("max-gas-per-day", format!("{max_gas_per_day:?}")),
        (
            "max-lost-gas-per-payer",
            format!("{max_lost_gas_per_payer:?}"),
        ),
        ("helper-key-file", format!("{helper_key_file:?}")),
        ("max-help-per-day", format!("{max_help_per_day:?}")),
        ("wallet-factory", format!("{wallet_factories:?}")),
        ("settler-for", format!("{settlers_for:?}")),
        ("min-amount", format!("{min_amount:?}")),
        ("sponsor-account", format!("{sponsor_account:?}")),
        ("sponsor-entrypoint", format!("{sponsor_entrypoints:?}")),
        ("sponsor-fees-per-day", format!("{sponsor_fees_per_day:?}")),
        ("self-calls", format!("{self_calls:?}")),
        ("delegation-manager", format!("{delegation_managers:?}")),
        ("open-upto", format!("{open_upto:?}")),
        ("min-validity", format!("{min_validity:?}")),
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
