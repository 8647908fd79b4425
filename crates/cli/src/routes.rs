//! `--route PATTERN=PRICE[, PRICE …][; OPTION …]`, read into a pattern, its prices
//! and its options.

use std::time::Duration;

use tollway_core::assets::Method;
use tollway_core::money::Price;
use tollway_core::{Finality, Network, Refusal};
use tollway_gate::{Meter, PassOffer};

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
    /// Whether it speaks the exchange of the published Starknet session SDK.
    pub starknet_sdk: bool,
    /// The pass that it sells.
    pub pass: Option<PassOffer>,
    /// For how long who paid gets it again by signing in.
    pub returning: Option<Duration>,
    /// What it charges for what it streams.
    pub meter: Option<Meter>,
    /// How it can be paid; empty: by the usual method.
    pub methods: Vec<&'static str>,
}

/// The hash of a transaction alone, as the name of a way to pay.
pub const UNSIGNED_TXID: &str = "unsigned-txid";

/// How a route can be paid.
const METHODS: [&str; 6] = [
    "eip3009",
    "permit2",
    "erc7710",
    "eip2612",
    "txid",
    UNSIGNED_TXID,
];

impl RouteSetting {
    /// Whether its buyers sign for transactions that they made.
    pub fn takes_signed_proofs(&self) -> bool {
        self.methods.contains(&Method::Txid.as_str())
    }

    /// Whether its payments send a transaction of ours, which costs gas.
    pub fn costs_gas(&self) -> bool {
        let is_shown = |name: &&str| [Method::Txid.as_str(), UNSIGNED_TXID].contains(name);
        let all_shown = !self.methods.is_empty() && self.methods.iter().all(is_shown);
        !all_shown || self.prices.iter().any(|price| price.is_most)
    }
}

/// One price, on one network or on all that are configured.
#[derive(Clone, Debug)]
pub struct PriceSetting {
    /// How much of what.
    pub price: Price,
    /// Where; `None` on every configured network.
    pub network: Option<Network>,
    /// Whether it is the most that may be charged (`upto`).
    pub is_most: bool,
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
        starknet_sdk: false,
        pass: None,
        meter: None,
        returning: None,
        methods: Vec::new(),
    };
    let mut audience = None;
    for option in parts.map(str::trim) {
        match option.split_once('=') {
            None if option == "single" => route.single = true,
            None if option == "starknet-sdk" => route.starknet_sdk = true,
            Some(("finality", depth)) => {
                route.finality = Some(depth.trim().parse().map_err(|e: String| bad(&e))?);
            }
            Some(("pass", pass)) => {
                route.pass = Some(parse_pass(pass.trim()).ok_or_else(|| {
                    bad(&format!(
                        "`{option}` is no pass; write pass=1h, pass=100 or pass=100/1h"
                    ))
                })?);
            }
            Some(("returning", within)) => {
                route.returning = Some(parse_time(within.trim()).ok_or_else(|| {
                    bad(&format!(
                        "`{option}` is no time; write returning=1h or returning=7d"
                    ))
                })?);
            }
            Some(("meter", meter)) => {
                route.meter = Some(
                    meter
                        .trim()
                        .parse()
                        .map_err(|e: Refusal| bad(e.message()))?,
                );
            }
            Some(("audience", name)) if !name.trim().is_empty() => audience = Some(name.trim()),
            Some(("methods", names)) => {
                for name in names.split(',').map(str::trim) {
                    let known = METHODS.into_iter().find(|known| *known == name);
                    let known = known.filter(|known| !route.methods.contains(known));
                    route.methods.push(known.ok_or_else(|| {
                        bad(&format!(
                            "`{name}` is no other of the methods {}",
                            METHODS.join(", ")
                        ))
                    })?);
                }
            }
            _ => {
                return Err(bad(&format!(
                    "`{option}` is none of finality=…, single, starknet-sdk, meter=…, pass=…, audience=…, returning=… and methods=…"
                )));
            }
        }
    }
    route.pass = match (route.pass, audience) {
        (Some(pass), Some(name)) => Some(pass.audience(name)),
        (None, Some(_)) => return Err(bad("there is an audience and no pass")),
        (pass, None) => pass,
    };
    Ok(route)
}

/// `1h`, `100` or `100/1h`.
fn parse_pass(text: &str) -> Option<PassOffer> {
    if let Some((calls, time)) = text.split_once('/') {
        return Some(parse_calls(calls)?.within(parse_time(time)?));
    }
    parse_calls(text).or_else(|| parse_time(text).map(PassOffer::for_time))
}

fn parse_calls(text: &str) -> Option<PassOffer> {
    let calls = text.parse::<u32>().ok()?;
    (calls > 0).then(|| PassOffer::for_calls(calls))
}

/// `30s`, `10m`, `1h` or `7d`: ten seconds to a year.
pub fn parse_time(text: &str) -> Option<Duration> {
    let year = Duration::from_secs(366 * 24 * 60 * 60);
    time(text).filter(|time| (Duration::from_secs(10)..=year).contains(time))
}

/// A number and its unit: `90s`, `30m`, `6h` or `7d`.
pub fn time(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return None,
    };
    let seconds = number.parse::<u64>().ok()?.checked_mul(unit)?;
    Some(Duration::from_secs(seconds))
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
    let (price, is_most) = match price.strip_prefix("up to ") {
        Some(price) => (price, true),
        None => (price, false),
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
    Ok(PriceSetting {
        price,
        network,
        is_most,
    })
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
    fn a_price_may_be_the_most_that_is_charged() {
        let route = parse("/x=up to $0.05, $0.02").unwrap();
        let most: Vec<_> = route.prices.iter().map(|p| p.is_most).collect();
        assert_eq!(most, [true, false]);
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
    fn a_route_sells_a_pass_for_a_time_or_for_calls() {
        let pass = |option: &str| parse(&format!("/paid=$1; {option}")).unwrap().pass;
        let hour = Duration::from_secs(3_600);
        assert_eq!(pass("pass=1h"), Some(PassOffer::for_time(hour)));
        assert_eq!(pass("pass=60m"), Some(PassOffer::for_time(hour)));
        assert_eq!(pass("pass=100"), Some(PassOffer::for_calls(100)));
        let both = PassOffer::for_calls(100).within(hour);
        assert_eq!(pass("pass=100/1h"), Some(both.clone()));
        assert_eq!(
            pass("pass=100/1h; audience=all"),
            Some(both.audience("all"))
        );
        for option in [
            "pass=",
            "pass=0",
            "pass=h",
            "pass=1w",
            "pass=-1h",
            "pass=1h/100",
            "pass=5s",
            "pass=99999999999999999999d",
            "pass=é",
            "audience=all",
            "pass=1h; audience=",
            "methods=",
            "methods=cash",
            "methods=eip3009,eip3009",
        ] {
            assert!(parse(&format!("/paid=$1; {option}")).is_err(), "{option}");
        }
        let route = parse("/paid=$1; methods=eip2612, permit2").unwrap();
        assert_eq!(route.methods, ["eip2612", "permit2"]);
        assert!(!route.takes_signed_proofs() && route.costs_gas());
        let route = parse("/paid=$1; methods=unsigned-txid").unwrap();
        assert!(!route.takes_signed_proofs() && !route.costs_gas());
        let route = parse("/paid=$1; methods=txid,unsigned-txid").unwrap();
        assert!(route.takes_signed_proofs() && !route.costs_gas());
        for text in [
            "/paid=$1",
            "/a=$1; methods=txid,eip3009",
            "/a=$1, up to $1; methods=txid",
        ] {
            assert!(parse(text).unwrap().costs_gas(), "{text}");
        }
    }

    #[test]
    fn a_route_says_what_a_unit_of_its_stream_costs() {
        let route = parse("GET /tokens=up to $0.10; meter=$0.001/event").unwrap();
        assert_eq!(route.meter, "$0.001/event".parse().ok());
        assert!(route.prices[0].is_most);
        let file = parse("/file=up to $0.50, up to 0.4 USDC on base; meter=$0.01/MB; single");
        assert_eq!(file.unwrap().meter, "$0.01/MB".parse().ok());
        for option in [
            "meter",
            "meter=",
            "meter=$0.001",
            "meter=$0/event",
            "meter=$1/mb",
        ] {
            let error = parse(&format!("/x=up to $1; {option}")).err();
            assert!(error.is_some(), "{option}");
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
