//! `tollway health`: whether a server of ours takes payments, for whoever watches
//! over processes and has no other program at hand.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use url::Url;

use crate::cli::HealthArgs;
use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::settings;
use crate::wiring;

/// An answer that comes later is none.
const PATIENCE: Duration = Duration::from_secs(4);
/// Where a gate listens that was told nothing else.
const GATE: &str = "http://127.0.0.1:4021";

/// Asks, and exits with 0 if payments are taken.
pub async fn run(args: HealthArgs, environment: &Environment) -> Result<Exit, Failure> {
    let url = match &args.url {
        Some(url) => wiring::http_url(url, "The URL")?,
        None => own(&args, environment)?,
    };
    // What is on this machine is asked about itself: nothing is told it, and its
    // certificate is for another name.
    let is_here = args.url.is_none();
    let client = tollway_payer::client_builder()
        .timeout(PATIENCE)
        .tls_danger_accept_invalid_certs(is_here)
        .build()
        .map_err(|e| Failure::new(format!("HTTP cannot be used: {e}; report this.")))?;
    let asked = url.join("/health").unwrap_or(url);
    let host = asked.host_str().unwrap_or_default().to_owned();
    let failed = |why: &dyn std::fmt::Display| {
        Failure::new(format!(
            "The server at {host} does not say how it is ({why}); see whether it runs, and its log."
        ))
    };
    let answer = client.get(asked).send().await;
    let answer = answer.map_err(|e| failed(&e.without_url()))?;
    let is_well = answer.status().is_success();
    let said = answer.text().await.map_err(|e| failed(&e.without_url()))?;
    println!("{said}");
    Ok(if is_well { Exit::Done } else { Exit::Failed })
}

/// The server that the configuration file is of.
fn own(args: &HealthArgs, environment: &Environment) -> Result<Url, Failure> {
    let Some(listening) = settings::listening(args.config.as_deref(), environment)? else {
        return wiring::http_url(GATE, "The URL");
    };
    let scheme = if listening.is_tls { "https" } else { "http" };
    let address = match listening.address.parse::<SocketAddr>() {
        // Who listens everywhere listens here.
        Ok(address) if address.ip().is_unspecified() => {
            SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port()).to_string()
        }
        _ => listening.address,
    };
    wiring::http_url(
        &format!("{scheme}://{address}"),
        "listen in the configuration file",
    )
}
