//! Who redeems permissions (ERC-7710): the accounts that the facilitator lists, in
//! the offers that are paid so and in no others.
//!
//! Two names for the list are in use; both are read, and both are written.

use serde_json::Value;
use tollway_core::Terms;
use tollway_core::assets::Method;
use tollway_core::wire::Object;

const NAMES: [&str; 2] = ["facilitatorAddresses", "facilitators"];
const MANAGERS: &str = "delegationManagers";

/// What a facilitator adds to an offer's `extra`, of all that it lists for the scheme.
pub(crate) fn added(terms: &Terms, mut listed: Object) -> Object {
    let list = NAMES.iter().find_map(|name| {
        let list = listed.get(*name)?.as_array()?;
        (!list.is_empty()).then(|| list.clone())
    });
    for name in NAMES {
        listed.shift_remove(name);
    }
    if terms.transfer_method() != Some(Method::Erc7710) {
        listed.shift_remove(MANAGERS);
        return listed;
    }
    if let Some(list) = list {
        for name in NAMES {
            listed.insert(name.to_owned(), Value::Array(list.clone()));
        }
    }
    listed
}

/// Whether an offer is paid by permissions and nobody is named who could redeem them.
pub(crate) fn are_missing(terms: &Terms) -> bool {
    let named = |name: &str| {
        let extra = terms.wire.extra.as_ref();
        let list = extra.and_then(|extra| extra.get(name)?.as_array());
        list.is_some_and(|list| !list.is_empty())
    };
    terms.transfer_method() == Some(Method::Erc7710) && !NAMES.iter().any(|name| named(name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tollway_core::wire::PaymentRequirements;

    use super::*;

    fn terms(method: Method) -> Terms {
        let wire = PaymentRequirements {
            scheme: "exact".to_owned(),
            network: "eip155:84532".to_owned(),
            amount: "1".to_owned(),
            asset: format!("0x{:040x}", 1),
            pay_to: format!("0x{:040x}", 2),
            max_timeout_seconds: 60,
            extra: None,
        };
        Terms::check(wire.with_method(method)).unwrap()
    }

    fn of(method: Method, listed: Value) -> Value {
        let listed = listed.as_object().unwrap().clone();
        added(&terms(method), Object::from_iter(listed))
            .into_iter()
            .collect::<serde_json::Map<_, _>>()
            .into()
    }

    #[test]
    fn both_names_of_the_redeemers_are_read_and_written() {
        let both = json!({"facilitatorAddresses": ["0x1"], "facilitators": ["0x1"]});
        for listed in [
            json!({"facilitatorAddresses": ["0x1"]}),
            json!({"facilitators": ["0x1"]}),
            json!({"facilitatorAddresses": [], "facilitators": ["0x1"]}),
        ] {
            assert_eq!(of(Method::Erc7710, listed), both);
        }
    }

    #[test]
    fn offers_of_other_methods_say_nothing_of_redeemers() {
        let listed = json!({"facilitators": ["0x1"], "delegationManagers": ["0x2"], "more": 1});
        assert_eq!(of(Method::Eip3009, listed), json!({"more": 1}));
    }

    #[test]
    fn a_permission_that_nobody_redeems_is_noticed() {
        assert!(are_missing(&terms(Method::Erc7710)));
        assert!(!are_missing(&terms(Method::Eip3009)));
    }
}
