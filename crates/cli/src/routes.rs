//! `--route PATTERN=PRICE[, PRICE …][; OPTION …]`, read into a pattern, its prices
//! and its options.

use tollway_core::money::Price;
use tollway_core::{Finality, Network};

use crate::exit::{Exit, Failure};
use crate::wiring;

/// A route as the seller wrote it.
#[derive(Clone, Debug)]
pub struct RouteSetting {
    /// `VERB /path`, or `/path` for every method.
    pub pattern: String,
    /// What it costs, any of these.
    pub prices: Vec<PriceSetting>,
    /// How deep a settlement must lie, where the route says so.
    pub finality: Option<Finality>,
    /// Whether each payment has a transaction of its own.
    pub single: bool,
}

/// One price, on one network or on all that are configured.
#[derive(Clone, Debug)]
pub struct PriceSetting {
    /// How much of what.
    pub price: Price,
    /// Where; `None` on every configured network.
    pub network: Option<Network>,
}

/// Reads one `--route`.
pub fn parse(text: &str) -> Result<RouteSetting, Failure> {
    let bad = |why: &str| {
        Failure::usage(format!(
            "--route '{text}': {why}; write for example --route 'GET /paid/*=$0.01'."
        ))
    };
    // A pattern never holds `=`, so the first one parts it from the prices.
    let (pattern, prices) = text
        .split_once('=')
        .ok_or_else(|| bad("there is no price"))?;
    let mut parts = prices.split(';');
    let prices = parts
        .next()
        .unwrap_or_default()
        .split(',')
        .map(|price| parse_price(price.trim(), text))
        .collect::<Result<Vec<_>, _>>()?;
    let mut route = RouteSetting {
        pattern: pattern.trim().to_owned(),
        prices,
        finality: None,
        single: false,
    };
    for option in parts.map(str::trim) {
        match option.split_once('=') {
            None if option == "single" => route.single = true,
            Some(("finality", depth)) => {
                route.finality = Some(depth.trim().parse().map_err(|e: String| bad(&e))?);
            }
            _ => return Err(bad(&format!("`{option}` is neither finality=… nor single"))),
        }
    }
    Ok(route)
}

fn parse_price(text: &str, route: &str) -> Result<PriceSetting, Failure> {
    if text.is_empty() {
        return Err(Failure::coded(
            Exit::Usage,
            "invalid_price",
            format!("--route '{route}': a price is empty; write for example $0.01."),
        ));
    }
    let (price, network) = match text.rsplit_once(" on ") {
        Some((price, name)) => (price, Some(wiring::network(name.trim())?)),
        None => (text, None),
    };
    let price: Price = price.trim().parse().map_err(|e| {
        Failure::coded(
            Exit::Usage,
            "invalid_price",
            format!("--route '{route}': `{text}`: {e}"),
        )
    })?;
    if price.is_free() {
        return Err(Failure::coded(
            Exit::Usage,
            "invalid_price",
            format!("--route '{route}': `{text}` costs nothing; leave the route out instead."),
        ));
    }
    Ok(PriceSetting { price, network })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_takes_several_prices_on_several_networks() {
        let route =
            parse("GET /paid/*=$0.01, 0.02 USDC on sei-testnet,0.5 USDC on eip155:8453").unwrap();
        assert_eq!(route.pattern, "GET /paid/*");
        let networks: Vec<_> = route
            .prices
            .iter()
            .map(|p| p.network.as_ref().map(|n| n.to_string()))
            .collect();
        assert_eq!(
            networks,
            [
                None,
                Some("eip155:1328".to_owned()),
                Some("eip155:8453".to_owned())
            ]
        );
    }

    #[test]
    fn a_route_says_how_deep_and_whether_alone() {
        let route = parse("/paid=$0.01, $0.02; finality=12 ; single").unwrap();
        assert_eq!(route.prices.len(), 2);
        assert_eq!(route.finality, Some(Finality::Confirmations(12)));
        assert!(route.single);
        let plain = parse("/paid=$0.01").unwrap();
        assert_eq!((plain.finality, plain.single), (None, false));
        for text in ["/a=$1; finality=soon", "/a=$1; fast", "/a=$1;"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_route_without_a_sound_price_is_refused() {
        for text in [
            "/paid",
            "/paid=",
            "/paid=free",
            "/paid=$-1",
            "/paid=1e3",
            "/paid=$1 on nowhere",
            "/paid=$0.01,",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
