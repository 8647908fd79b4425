//! `tollway dashboard`: figures of a ledger that somebody else writes to.

use crate::cli::DashboardArgs;
use crate::dashboard::{self, Dashboard, Settings};
use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::{assets, serve, wiring};

/// Runs it until it is stopped.
pub async fn run(args: DashboardArgs, environment: &Environment) -> Result<Exit, Failure> {
    let table = assets::table(&args.add_assets, environment)?;
    let url = wiring::ledger_url(args.ledger.as_deref(), "gate.db", environment)?;
    let ledger = super::ledger::open_to_read(args.ledger.as_deref(), environment).await?;
    let settings = Settings::of(&args.listen, args.dashboard_token_file.as_deref());
    let source = dashboard::Source {
        store: ledger.clone(),
        name: dashboard::ledger_name(&url),
        assets: table,
        chains: None,
    };
    let opened = Dashboard::open(&settings, source).await?;
    let stop = serve::stop_on_signal()?;
    println!("tollway dashboard: listening on http://{}", opened.address);
    opened.serve(stop).await;
    ledger.close().await;
    Ok(Exit::Done)
}
