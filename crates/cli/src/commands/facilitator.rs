//! `tollway facilitator`: verify and settle payments for others.

use std::sync::Arc;
use std::time::Duration;

use tollway_core::Finality;
use tollway_facilitator::{HttpOptions, service};

use super::facilitator_renewal::FacilitatorRenewal;
use crate::chains::ServedChain;
use crate::cli::FacilitatorArgs;
use crate::dashboard::{self, Dashboard};
use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::help::Help;
use crate::operate::{Admin, AdminSettings, Asks, Hangups, State, keep_reading};
use crate::serve::Tls;
use crate::settings::required;
use crate::sponsor::{FacilitatorHealth, Sponsors, WithSponsors};
use crate::wiring::EngineSettings;
use crate::{assets, logs, serve, wiring};

/// Runs it until it is stopped.
pub async fn run(args: FacilitatorArgs, environment: &Environment) -> Result<Exit, Failure> {
    // From the beginning: one that comes while the ledger is opened must not end us.
    let hangups = Hangups::catch()?;
    let said = args.clone();
    let args = args.complete(environment)?;
    let listen = required(args.listen.as_deref(), "--listen", "127.0.0.1:4020")?;
    let mut networks = wiring::networks(&args.networks, environment)?;
    wiring::delegation_managers(&args.delegation_managers, &mut networks)?;
    for setting in &mut networks {
        setting.self_calls = args.self_calls;
    }
    let assets = assets::table(&args.add_assets, environment)?;
    let pages = dashboard::Settings::read(
        args.dashboard.as_deref(),
        args.dashboard_token_file.as_deref(),
    )?;
    let tls = serve::certificate(args.tls_cert.as_deref(), args.tls_key.as_deref())?;
    let finality = wiring::finality(args.finality.as_deref(), "--finality")?;
    let metrics = crate::metrics::install()?;
    let admin = AdminSettings::open(args.admin_listen.as_deref(), args.admin_token_file.as_ref());
    let admin = admin.await?;
    let ledger = wiring::ledger(args.ledger.as_deref(), "facilitator.db", environment).await?;
    let sponsors = Sponsors::read(&args, &networks, &assets, &ledger)?;
    let payees = args.callers.iter().flat_map(|caller| &caller.pay_to);
    let payees = args.settlers_for.iter().chain(payees);
    let settings = EngineSettings {
        networks: &networks,
        signer_key_files: &args.signer_key_files,
        starknet_accounts: &args.starknet_accounts,
        starknet_max_fee: args.starknet_max_fee.as_deref(),
        assets: &assets,
        sends: true,
        finality,
        finality_cap: match args.max_finality.as_deref() {
            Some(text) => wiring::finality(Some(text), "--max-finality")?,
            None => Finality::Finalized,
        },
        min_validity: args.min_validity.map(Duration::from_secs),
        allow_http: args.allow_http,
        batch: args.batch,
        max_gas_per_day: args.max_gas_per_day.as_deref(),
        max_lost_gas_per_payer: args.max_lost_gas_per_payer.as_deref(),
        min_amount: args.min_amount.as_deref().unwrap_or("0.001"),
        callers: &args.callers,
        open_upto: args.open_upto,
        help: Help {
            key_file: args.helper_key_file.as_deref(),
            max_per_day: args.max_help_per_day.as_deref(),
            wallet_factories: &args.wallet_factories,
            settlers_for: payees.map(String::as_str).collect(),
        },
        with_gate: false,
    };
    let local = settings.start(&ledger, environment).await?;
    let delay = Duration::from_secs(args.drain_delay.unwrap_or_default().into());
    let leaving = serve::leave_on_signal(delay)?;
    let stop = leaving.stop.clone();
    let dashboard = match pages {
        Some(pages) => {
            let url = wiring::ledger_url(args.ledger.as_deref(), "facilitator.db", environment)?;
            let source = dashboard::Source {
                store: ledger.beside().await.map_err(wiring::ledger_unavailable)?,
                name: dashboard::ledger_name(&url),
                assets: assets.clone(),
                chains: Some(local.chains.iter().map(ServedChain::chain).collect()),
            };
            Some(Dashboard::open(&pages, source).await?)
        }
        None => None,
    };
    let options = HttpOptions {
        metrics: Some(metrics.clone()),
        ..HttpOptions::default()
    };
    let api = service(local.engine.clone(), options);
    let state = Arc::new(State::new(leaving.draining.clone()));
    let health = FacilitatorHealth::new(local.engine.clone(), Arc::clone(&state));
    let health = Arc::new(health);
    let app = WithSponsors::new(api, local.engine.clone(), sponsors, Arc::clone(&health));
    let tls = tls.map(|certificate| Arc::new(Tls::new(certificate)));
    let renewal = FacilitatorRenewal {
        said,
        began: args.clone(),
        is_closed: !args.callers.is_empty(),
        engine: local.engine.clone(),
        tls: tls.clone(),
    };
    let (listener, address) = serve::bind(listen).await?;
    if let Some(admin) = &admin {
        println!("tollway facilitator: admin on http://{}", admin.address());
    }
    println!(
        "tollway facilitator: listening on {}",
        serve::url(address, tls.as_ref())
    );
    if let Some(dashboard) = dashboard {
        println!(
            "tollway facilitator: dashboard at http://{}",
            dashboard.address
        );
        tokio::spawn(dashboard.serve(stop.clone()));
    }
    let (asks, asked) = Asks::new();
    tokio::spawn(keep_reading(renewal, hangups, asked, state, stop.clone()));
    tokio::spawn(crate::metrics::watch(ledger.clone()));
    if let Some(settings) = admin {
        let admin = Admin {
            metrics,
            health,
            asks,
            leaving,
            passes: None,
        };
        admin.serve(settings);
    }
    serve::serve_tls(listener, tls, app, stop).await;
    if !local.engine.drain(serve::DRAIN_TIME).await {
        logs::say("some payments are still open; they go on at the next start.");
    }
    ledger.close().await;
    Ok(Exit::Done)
}
