//! `tollway inspect`: what a URL would cost. Nothing is signed.

use tollway_payer::{Inspection, OfferView, Payer, Policy, Via};

use crate::cli::InspectArgs;
use crate::commands::pay;
use crate::exit::{Exit, Failure};

/// Runs it.
pub async fn run(args: InspectArgs) -> Result<Exit, Failure> {
    let request = pay::request(
        &args.url,
        Some(&args.method),
        &args.headers,
        args.data.as_deref(),
    )?;
    let payer = Payer::builder()
        .policy(Policy {
            allow_insecure: args.allow_http,
            ..Policy::default()
        })
        .build()
        .map_err(|error| pay::failure(&error))?;
    let inspection = payer
        .inspect(request)
        .await
        .map_err(|error| pay::failure(&error))?;
    if args.json {
        let json = serde_json::to_string(&inspection).map_err(Failure::new)?;
        println!("{json}");
    } else {
        print(&inspection);
    }
    Ok(Exit::Done)
}

/// In words.
pub fn print(inspection: &Inspection) {
    if inspection.offers.is_empty() {
        println!(
            "{} answers {}: nothing to pay.",
            inspection.url, inspection.status
        );
        return;
    }
    let version = inspection
        .version
        .map_or_else(String::new, |version| format!(" (x402 version {version})"));
    println!("{} asks for payment{version}", inspection.url);
    if let Some(description) = inspection
        .description
        .as_deref()
        .filter(|text| !text.is_empty())
    {
        println!("  {}", crate::story::printable(description));
    }
    if let Some(endpoint) = &inspection.token_endpoint {
        println!("  access tokens are sold at {endpoint}");
    }
    for offer in &inspection.offers {
        println!(
            "  {}  to {}, {}{}, within {} s",
            offer.words,
            offer.pay_to,
            by(offer),
            flow(offer),
            offer.lifetime_seconds
        );
        if let Some(refusal) = &offer.refusal {
            println!(
                "    not payable by us: {} [{}]",
                refusal.message, refusal.code
            );
        }
    }
}

/// `by permit2, `, where the way has a name.
fn by(offer: &OfferView) -> String {
    offer
        .method
        .map_or_else(String::new, |method| format!("by {method}, "))
}

fn flow(offer: &OfferView) -> &'static str {
    match (offer.via, offer.upfront) {
        (Via::Token, _) => "settled by the seller later",
        (Via::Header, true) => "settled before the answer",
        (Via::Header, false) => "settled after the answer",
    }
}
