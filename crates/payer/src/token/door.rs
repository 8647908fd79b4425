//! The body of a 402 answer that sells access tokens: where, and for what.
//!
//! ```json
//! {"access_token_endpoint":"/token",
//!  "payment_scheme":{"payment_components":[COMPONENT],"protocol_version":"Version 0.1"},
//!  "payment_methods":["eip3009"]}
//! ```
//! Amounts are in whole units and become atomic ones by our own asset table.

use serde_json::Value;
use tollway_core::assets::{AssetTable, Method};
use tollway_core::wire::{Object, PaymentRequirements};
use tollway_core::{Network, Refusal};
use url::Url;

use super::number::{atomic, read, text};
use crate::code;
use crate::error::shown;

/// Most components that are looked at.
const MAX_COMPONENTS: usize = 32;
/// Longest text of a component, in bytes.
const MAX_TEXT_BYTES: usize = 256;
/// How long such a permit lives, as clients of this wire sign it, seconds.
const LIFETIME_SECONDS: u64 = 600;

/// A token endpoint and what it asks.
#[derive(Clone, Debug)]
pub(crate) struct TokenDoor {
    /// Where the permit is posted; of the same origin as the goods.
    pub endpoint: Url,
    /// The protocol's version, to be sent back.
    pub version: String,
    components: Vec<Value>,
    methods: Option<Vec<Method>>,
}

/// One way to pay at the endpoint, or why it is none.
pub(crate) type Entry = (PaymentRequirements, Option<Refusal>);

impl TokenDoor {
    /// Reads it from a 402 body; `None` if the body names no endpoint.
    ///
    /// # Errors
    /// `policy_redirect` if the endpoint is of another origin, `invalid_offer` if
    /// the rest cannot be read.
    pub(crate) fn read(bytes: &[u8], asked: &Url) -> Option<Result<Self, Refusal>> {
        let body = read(bytes)?;
        let endpoint = body.get("access_token_endpoint")?;
        let scheme = body.get("payment_scheme")?;
        Some(Self::check(&body, endpoint, scheme, asked))
    }

    fn check(body: &Value, endpoint: &Value, scheme: &Value, asked: &Url) -> Result<Self, Refusal> {
        let endpoint = endpoint.as_str().and_then(|text| same_origin(asked, text));
        let endpoint = endpoint.ok_or_else(|| {
            Refusal::new(
                code::POLICY_REDIRECT,
                "The server sells its tokens at another origin, and nothing is paid there; ask the operator of the server.",
            )
        })?;
        let components = scheme.get("payment_components").and_then(Value::as_array);
        let version = text(scheme, "protocol_version").unwrap_or("Version 0.1");
        let components = components
            .filter(|_| version.len() <= MAX_TEXT_BYTES)
            .ok_or_else(|| {
                Refusal::new(
                    code::INVALID_OFFER,
                    "The server sells tokens and its prices cannot be read; ask the operator of the server.",
                )
            })?;
        Ok(Self {
            endpoint,
            version: version.to_owned(),
            components: components.iter().take(MAX_COMPONENTS).cloned().collect(),
            methods: methods(scheme).or_else(|| methods(body)),
        })
    }

    /// Each way to pay, in atomic units by our own table.
    pub(crate) fn entries(&self, assets: &AssetTable) -> Vec<Entry> {
        let each = self.components.iter();
        each.flat_map(|component| self.entry(component, assets))
            .collect()
    }

    fn entry(&self, component: &Value, assets: &AssetTable) -> Vec<Entry> {
        let metadata = component.get("metadata").unwrap_or(&Value::Null);
        let field = |key: &str| text(component, key).filter(|t| t.len() <= MAX_TEXT_BYTES);
        let inner = |key: &str| text(metadata, key).filter(|t| t.len() <= MAX_TEXT_BYTES);
        // Version 0.1.1 names the chain by number, and the payee in its metadata.
        let network = field("caip2").map(str::to_owned);
        let is_old = network.is_none();
        let network = network.or_else(|| Some(format!("eip155:{}", field("chain_id")?)));
        let network = network.unwrap_or_default();
        let spender = inner("wallet_address");
        let mut wire = PaymentRequirements {
            scheme: "exact".to_owned(),
            amount: "0".to_owned(),
            asset: field("token").unwrap_or_default().to_owned(),
            pay_to: field("pay_to").or(spender).unwrap_or_default().to_owned(),
            max_timeout_seconds: LIFETIME_SECONDS,
            extra: None,
            network,
        };
        let domain = [
            ("name", field("token_name").or_else(|| inner("name"))),
            (
                "version",
                field("token_version").or_else(|| inner("version")),
            ),
        ];
        let said = field("token_decimals").or_else(|| inner("decimals"));
        let refusal = price(&mut wire, field("amount"), said, assets).err();
        let default = match is_old {
            true => Method::Eip2612,
            false => Method::Eip3009,
        };
        let methods = match field("payment_method") {
            Some(name) => method(name).into_iter().collect(),
            None => self.methods.clone().unwrap_or_else(|| vec![default]),
        };
        let one = |method: Method| {
            let mut wire = wire.clone();
            wire.extra = Some(extra(method, &domain, spender));
            (wire, refusal.clone())
        };
        methods.into_iter().map(one).collect()
    }
}

/// The amount in atomic units, where our table knows the asset. What it does not
/// know is refused by the policy.
fn price(
    wire: &mut PaymentRequirements,
    amount: Option<&str>,
    decimals: Option<&str>,
    assets: &AssetTable,
) -> Result<(), Refusal> {
    let network: Option<Network> = wire.network.parse().ok();
    let row = network.and_then(|network| {
        let asset = network.address(&wire.asset).ok()?;
        assets.find(&network, &asset)
    });
    let Some(row) = row else { return Ok(()) };
    if decimals.is_some_and(|said| said != row.decimals.to_string()) {
        return Err(Refusal::new(
            code::POLICY_ASSET,
            format!(
                "The server gives {} other decimals than the asset table; correct whichever is wrong.",
                row.symbol
            ),
        ));
    }
    let units = amount.and_then(|text| atomic(text, row.decimals));
    let units = units.ok_or_else(|| {
        Refusal::new(
            code::INVALID_OFFER,
            format!(
                "The price `{}` is not an amount of {}; ask the operator of the server.",
                shown(amount.unwrap_or_default()),
                row.symbol
            ),
        )
    })?;
    wire.amount = units.to_string();
    Ok(())
}

fn extra(method: Method, domain: &[(&str, Option<&str>)], spender: Option<&str>) -> Object {
    let texts = domain
        .iter()
        .filter_map(|(key, value)| Some((*key, (*value)?)));
    let mut extra: Object = texts
        .map(|(key, value)| (key.to_owned(), value.into()))
        .collect();
    if method != Method::Eip3009 {
        extra.insert("assetTransferMethod".to_owned(), method.as_str().into());
    }
    // The wallet signs for the payee's settler only, and refuses other spenders.
    if let Some(spender) = spender.filter(|_| method == Method::Eip2612) {
        extra.insert("settler".to_owned(), spender.into());
    }
    extra
}

/// The ways that a seller of tokens names, where it names any. Permit2 is none of
/// them: on this wire it names no payee.
fn methods(value: &Value) -> Option<Vec<Method>> {
    let named = value.get("payment_methods")?.as_array()?;
    let mut known: Vec<Method> = named
        .iter()
        .filter_map(|one| method(one.as_str()?))
        .collect();
    known.sort();
    known.dedup();
    Some(known)
}

fn method(name: &str) -> Option<Method> {
    match name.to_ascii_lowercase().as_str() {
        "eip3009" | "erc3009" => Some(Method::Eip3009),
        "eip2612" | "erc2612" => Some(Method::Eip2612),
        _ => None,
    }
}

/// Where a server's endpoint leads, if that is the origin that was asked. Texts
/// that only look like paths (`//evil`, `\\evil`, `https:evil`) lead elsewhere.
fn same_origin(asked: &Url, text: &str) -> Option<Url> {
    if text.len() > MAX_TEXT_BYTES {
        return None;
    }
    let mut url = asked.join(text).ok()?;
    let plain = url.username().is_empty() && url.password().is_none();
    url.set_fragment(None);
    (plain && url.origin() == asked.origin()).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_of_another_origin_is_none() {
        let asked: Url = "https://shop.test/goods".parse().unwrap();
        for evil in [
            "https://evil.test/token",
            "//evil.test/token",
            "\\\\evil.test/token",
            "/\\evil.test/token",
            "https:evil.test",
            "http://shop.test/token",
            "https://shop.test:8443/token",
            "https://shop.test@evil.test/token",
            "https://me:secret@shop.test/token",
            "javascript:alert(1)",
            "file:///etc/passwd",
        ] {
            let led = same_origin(&asked, evil);
            let harmless = led
                .as_ref()
                .is_none_or(|url| url.as_str().starts_with("https://shop.test/"));
            assert!(harmless, "{evil} leads to {led:?}");
        }
        for (text, url) in [
            ("/token", "https://shop.test/token"),
            ("token?x=1", "https://shop.test/token?x=1"),
            ("https://shop.test/a", "https://shop.test/a"),
            ("@evil.test", "https://shop.test/@evil.test"),
        ] {
            assert_eq!(same_origin(&asked, text).unwrap().as_str(), url);
        }
        assert!(same_origin(&asked, "https://me:secret@shop.test/token").is_none());
        assert!(same_origin(&asked, "//evil.test/token").is_none());
    }
}
