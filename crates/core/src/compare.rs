//! Comparing what came back with what was sent.

use serde_json::Value;

use crate::Network;

/// Whether `actual` holds everything that `expected` holds, at every level;
/// objects may have more keys, everything else is equal.
pub(crate) fn contains(expected: &Value, actual: &Value) -> bool {
    match (expected, actual) {
        (Value::Object(expected), Value::Object(actual)) => expected
            .iter()
            .all(|(key, value)| actual.get(key).is_some_and(|a| contains(value, a))),
        _ => expected == actual,
    }
}

/// Whether two texts name the same account: by value where both are addresses of
/// the network (so case on EVM and padding on Starknet do not matter), else as texts.
pub(crate) fn same_account(network: &str, one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    let Ok(network) = network.parse::<Network>() else {
        return false;
    };
    match (network.address(one), network.address(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}
