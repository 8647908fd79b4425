//! `tollway check URL`: anybody's endpoint, from outside.

use http::Method;
use tollway_core::assets::AssetTable;
use tollway_core::wire::PaymentRequirements;
use tollway_core::{Network, Terms};
use tollway_payer::{PayRequest, Policy};

use super::flags::CheckArgs;
use super::resource::{Resource, Surroundings};
use super::wire::Wire;
use super::{Report, door, nodes, terms};
use crate::assets;
use crate::commands::pay;
use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::wiring;

/// Looks at it.
///
/// # Errors
/// A usage error, where the URL or a flag is none.
pub async fn look(
    report: &mut Report,
    args: &CheckArgs,
    url: &str,
    environment: &Environment,
) -> Result<(), Failure> {
    own_flags_only(args)?;
    let request = pay::request(url, args.method.as_deref(), &[], args.data.as_deref())?;
    wiring::http_url(url, "The URL")?;
    if !request.url.username().is_empty() || request.url.password().is_some() {
        return Err(Failure::usage(
            "The URL holds a name or a password, which would be sent to the server; leave them out.",
        ));
    }
    let policy = Policy {
        allow_insecure: args.gate.allow_http,
        ..Policy::default()
    };
    policy.check_transport(&request.url).map_err(|refusal| {
        Failure::coded(Exit::Usage, refusal.code().to_owned(), refusal.message())
    })?;
    let assets = assets::table(&args.gate.add_assets, environment)?;
    // A mistake in a flag is told before anything is asked.
    wiring::networks(&args.gate.networks, environment)?;
    let resource = resource(&request, args.try_changes);
    report.about(&format!("{} {}", resource.method, resource.url));
    terms::transport(report, &request.url);
    let mut wire = Wire::to(&request.url).map_err(Failure::new)?;
    let surroundings = Surroundings::look(&mut wire, None).await;
    let offers = door::look(report, &mut wire, &resource, &surroundings, &assets).await;
    for network in terms::networks(&offers) {
        on_chain(report, args, &network, &offers, &assets, environment).await;
    }
    Ok(())
}

/// Tokens and payees on a network whose node is named, by flag or environment.
async fn on_chain(
    report: &mut Report,
    args: &CheckArgs,
    network: &Network,
    offers: &[PaymentRequirements],
    assets: &AssetTable,
    environment: &Environment,
) {
    let is_meant = |text: &&String| {
        let name = text.split('=').next().unwrap_or_default();
        wiring::network(name).is_ok_and(|named| named == *network)
    };
    let named = args.gate.networks.iter().find(is_meant);
    let text = named.map_or_else(|| network.to_string(), Clone::clone);
    // What a server says may be no network that we can ask.
    let Ok(settings) = wiring::networks(&[text], environment) else {
        return;
    };
    let asked = settings
        .iter()
        .filter(|s| named.is_some() || !s.rpc.is_empty());
    for setting in asked {
        let looked = nodes::connect(report, setting, args.gate.allow_http, false).await;
        let Some(looked) = looked else {
            continue;
        };
        let terms = offers
            .iter()
            .filter_map(|wire| Terms::check(wire.clone()).ok());
        let terms: Vec<Terms> = terms.collect();
        looked.offers(report, &terms, assets, true).await;
        for payee in payees(offers, network.as_str()) {
            looked.payee(report, payee).await;
        }
    }
}

fn payees<'a>(offers: &'a [PaymentRequirements], network: &str) -> Vec<&'a str> {
    let here = offers.iter().filter(|wire| wire.network == network);
    let mut all: Vec<&str> = here.map(|wire| wire.pay_to.as_str()).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// What a gate is made of says nothing about somebody else's endpoint.
fn own_flags_only(args: &CheckArgs) -> Result<(), Failure> {
    let gate = &args.gate;
    let is_ours = gate.config.is_some()
        || gate.listen.is_some()
        || gate.upstream.is_some()
        || !gate.routes.is_empty()
        || gate.pay_to.is_some()
        || gate.facilitator.is_some()
        || gate.public_url.is_some()
        || gate.ledger.is_some()
        || !gate.signer_key_files.is_empty()
        || !args.paths.is_empty();
    match is_ours {
        true => Err(Failure::usage(
            "A URL is checked from outside and a configuration from inside; name one of them.",
        )),
        false => Ok(()),
    }
}

fn resource(request: &PayRequest, try_changes: bool) -> Resource {
    let mut url = request.url.clone();
    url.set_fragment(None);
    let path = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let mut methods = vec![request.method.clone()];
    if request.method == Method::GET {
        methods.push(Method::HEAD);
    }
    Resource {
        try_spellings: try_changes || matches!(request.method, Method::GET | Method::HEAD),
        method: request.method.clone(),
        methods,
        path,
        origin: url.origin().ascii_serialization(),
        url: url.into(),
        body: match request.body.is_empty() {
            true => b"{}".to_vec(),
            false => request.body.to_vec(),
        },
        expected: None,
        speaks_sdk: false,
    }
}
