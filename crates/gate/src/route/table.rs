//! From a request to the route that prices it.

use http::Method;
use tollway_core::mistake;

use super::path::{PathError, Spelling, plain_reading};
use super::pattern::Pattern;

/// What a request costs, as far as its target says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Nothing: forward the canonical path.
    Free { path: String },
    /// The price of the route with this index.
    Paid { route: usize, path: String },
    /// Refused.
    Refused(PathError),
}

/// Decides by the first pattern, in order, that each reading of the path hits.
pub(crate) fn decide<'a>(
    patterns: impl Iterator<Item = &'a Pattern> + Clone,
    method: &Method,
    raw_path: &str,
) -> Decision {
    // CONNECT asks for a tunnel; its target is an authority.
    if *method == Method::CONNECT {
        return Decision::Refused(PathError::NotAPath);
    }
    if !raw_path.is_empty() && !raw_path.starts_with('/') {
        return target_without_path(patterns, method, raw_path);
    }
    if mistake::is("get_only") && *method != Method::GET {
        return decided(None, raw_path.to_owned());
    }
    let first = |reading: &str| {
        patterns
            .clone()
            .position(|pattern| pattern.covers(method) && pattern.fits(reading))
    };
    if mistake::is("raw_path_gate") {
        return decided(first(raw_path), raw_path.to_owned());
    }
    if let Some(reading) = plain_reading(raw_path) {
        return decided(first(&reading), raw_path.to_owned());
    }
    let spelling = match Spelling::of(raw_path) {
        Ok(spelling) => spelling,
        Err(error) => return Decision::Refused(error),
    };
    let mut hit = None;
    for reading in &spelling.readings {
        let found = first(reading);
        match (hit, found) {
            (Some(before), Some(now)) if before != now => {
                return Decision::Refused(PathError::Ambiguous);
            }
            _ => hit = hit.or(found),
        }
    }
    decided(hit, spelling.canonical)
}

fn decided(hit: Option<usize>, path: String) -> Decision {
    match hit {
        Some(route) => Decision::Paid { route, path },
        None => Decision::Free { path },
    }
}

/// `OPTIONS *` speaks of the whole server; anything else here is no path.
fn target_without_path<'a>(
    mut patterns: impl Iterator<Item = &'a Pattern>,
    method: &Method,
    target: &str,
) -> Decision {
    if target != "*" || method != Method::OPTIONS {
        return Decision::Refused(PathError::NotAPath);
    }
    let path = target.to_owned();
    match patterns.position(|p| p.covers(method) && p.fits("/")) {
        Some(route) => Decision::Paid { route, path },
        None => Decision::Free { path },
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use super::*;

    fn decide_on(routes: &[&str], method: &str, path: &str) -> Decision {
        let patterns: Vec<Pattern> = routes.iter().map(|r| r.parse().unwrap()).collect();
        decide(patterns.iter(), &Method::from_str(method).unwrap(), path)
    }

    /// Paths that we protect and the SDK does not, all on purpose: servers
    /// exist that read them as the protected path.
    const WIDER: [&str; 4] = [
        "r014_GET__weather_2F",
        "r015_GET__weather_20",
        "r018_GET__weather_3Fx",
        "r074_GET__2577eather",
    ];

    #[test]
    fn every_vector_is_protected_at_least_as_widely() {
        let file: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/vectors/routes.json")).unwrap();
        let cases = file["cases"].as_array().unwrap();
        assert_eq!(cases.len(), 84);
        for case in cases {
            let name = case["name"].as_str().unwrap();
            let input = &case["input"];
            let routes: Vec<&str> = input["routes"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|r| r.as_str())
                .collect();
            let decisions: Vec<Decision> = ["path", "decoded_path"]
                .iter()
                .filter_map(|view| input[view].as_str())
                .map(|path| decide_on(&routes, input["method"].as_str().unwrap(), path))
                .collect();
            let expected = &case["expected"];
            let questionable = expected["questionable"].as_bool().unwrap_or(false);
            let must =
                expected["protected"].as_bool().unwrap() || questionable || WIDER.contains(&name);
            let free = decisions.iter().all(|d| matches!(d, Decision::Free { .. }));
            assert_eq!(!free, must, "{name}: {decisions:?}");
            let first = routes
                .iter()
                .position(|r| r.ends_with(expected["pattern"].as_str().unwrap_or("\0")));
            let hit = decisions.iter().find_map(|d| match d {
                Decision::Paid { route, .. } => Some(*route),
                _ => None,
            });
            if let (Some(first), Some(hit)) = (first, hit) {
                assert!(
                    hit <= first || routes[hit].ends_with(expected["pattern"].as_str().unwrap()),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn readings_that_cost_differently_are_refused() {
        let routes = ["/cheap/*", "/dear/*"];
        let refused = Decision::Refused(PathError::Ambiguous);
        assert_eq!(decide_on(&routes, "GET", "/cheap/..%2fdear/x"), refused);
        assert_eq!(decide_on(&routes, "GET", "/cheap/../dear/x"), refused);
    }

    #[test]
    fn a_target_that_is_no_path_is_refused() {
        let routes = ["/paid"];
        assert_eq!(
            decide_on(&routes, "CONNECT", "host:443"),
            Decision::Refused(PathError::NotAPath)
        );
        assert_eq!(
            decide_on(&routes, "OPTIONS", "*"),
            Decision::Free {
                path: "*".to_owned()
            }
        );
    }
}
