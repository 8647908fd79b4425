//! What the body of a 402 answer says beside the terms, where a route sells a
//! pass: the fields that clients of token doors read.

use serde_json::{Map, Value, json};
use tollway_core::assets;

use super::in_units;
use crate::Offer;

/// The version of the token door's exchange.
pub(crate) const DOOR_VERSION: &str = "Version 0.1";

/// Fields of a 402 body.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extras(Map<String, Value>);

impl Extras {
    /// Where and how a token is bought.
    pub(crate) fn new(endpoint: &str, offers: &[Offer]) -> Self {
        let components: Vec<Value> = offers
            .iter()
            .filter_map(|offer| component(offer, spender(offer, offers)))
            .collect();
        let mut methods: Vec<&str> = offers.iter().map(method).collect();
        methods.dedup();
        let fields = json!({
            "access_token_endpoint": endpoint,
            "payment_scheme": {
                "payment_components": components,
                "payment_methods": methods,
                "protocol_version": DOOR_VERSION,
            },
            "payment_methods": methods,
            "payment_instruction": "Payment required to access this resource. Submit payment to the access_token_endpoint using methods specified in payment_scheme.",
        });
        match fields {
            Value::Object(fields) => Self(fields),
            _ => Self::default(),
        }
    }

    /// Adds them to a body, with the reason why nothing was opened.
    pub(crate) fn add_to(&self, body: &mut Map<String, Value>, reason: Option<&str>) {
        body.extend(self.0.clone());
        let reason = reason.unwrap_or("Missing authorization token");
        body.insert("reason".to_owned(), reason.into());
    }
}

fn method(offer: &Offer) -> &str {
    offer.terms().method().unwrap_or("eip3009")
}

/// Whom a permit of the offer's token must name. Clients that know permits only
/// read the first way to pay with a token, whatever its method, so all say it.
fn spender<'a>(offer: &Offer, offers: &'a [Offer]) -> Option<&'a str> {
    let (network, asset) = (&offer.terms().network, &offer.terms().asset);
    let mut same = offers
        .iter()
        .map(Offer::terms)
        .filter(|terms| terms.network == *network && terms.asset == *asset);
    same.find_map(|terms| terms.wire.extra_str("settler"))
}

/// One way to pay, in the fields of all versions of the exchange.
fn component(offer: &Offer, spender: Option<&str>) -> Option<Value> {
    let terms = offer.terms();
    let chain_id = terms.network.chain_id()?;
    let asset = assets::find(&terms.network, &terms.asset)?;
    let text = |key: &str| terms.wire.extra_str(key).unwrap_or_default().to_owned();
    let (name, version) = (text("name"), text("version"));
    Some(json!({
        "payment_type": "evm",
        "amount": in_units(terms.amount, asset.decimals),
        "currency": asset.symbol,
        "metadata": {
            "symbol": asset.symbol,
            "name": name,
            "decimals": asset.decimals,
            "network": terms.network.as_str(),
            "version": version,
            "wallet_address": spender.unwrap_or(&terms.wire.pay_to),
        },
        "created_at": "1970-01-01T00:00:00",
        "caip2": terms.network.as_str(),
        "chain_id": chain_id,
        "pay_to": terms.wire.pay_to,
        "token": terms.wire.asset,
        "token_name": name,
        "token_decimals": asset.decimals,
        "token_version": version,
        "payment_method": method(offer),
    }))
}
