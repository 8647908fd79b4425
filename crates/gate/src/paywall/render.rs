//! The page as text.

use serde_json::{Value, json};
use tollway_core::assets::Method;
use tollway_core::networks::NetworkInfo;
use tollway_core::{Family, Scheme, extensions};

use super::{DOCUMENT, MAX_PAGE_BYTES, Page, SCRIPT, STYLE, qr};
use crate::Offer;
use crate::gate::{Inner, Sale};

/// The page for one request; none where it would be too long even without the
/// drawing.
pub(super) fn page(
    page: &Page,
    gate: &Inner,
    sale: &Sale,
    path: &str,
    query: Option<&str>,
) -> Option<String> {
    let url = match query {
        Some(query) => format!("{}{path}?{query}", gate.base_url),
        None => format!("{}{path}", gate.base_url),
    };
    let sold = Sold::of(gate, sale, path);
    let drawn = qr::svg(&url, "QR code of this page, to open it on a phone");
    let drawn = drawn.map(|svg| format!("<p class=\"quiet\">Open it on a phone:</p>{svg}"));
    [drawn.unwrap_or_default(), String::new()]
        .into_iter()
        .map(|qr| filled(page, sale, &sold, &url, &qr))
        .find(|html| html.len() <= MAX_PAGE_BYTES)
}

/// What the script needs to know, and the offers that it can pay.
struct Sold {
    payable: Vec<Payable>,
    json: String,
}

/// An offer that a browser's wallet can sign for.
struct Payable {
    /// Such as `0.01 USDC on Base Sepolia`.
    words: String,
    value: Value,
}

impl Sold {
    fn of(gate: &Inner, sale: &Sale, path: &str) -> Self {
        let mut resource = sale.resource.clone();
        resource.url = format!("{}{path}", gate.base_url);
        let payable = payable(&sale.offers);
        let offers: Vec<&Value> = payable.iter().map(|offer| &offer.value).collect();
        let identifier = gate
            .extensions
            .get_key_value(extensions::PAYMENT_IDENTIFIER)
            .map(|(key, value)| (key.clone(), value.clone()));
        let sold = json!({
            "now": gate.now().secs(),
            "resource": resource,
            "extensions": Value::Object(identifier.into_iter().collect()),
            "offers": offers,
        });
        Self {
            json: script_safe(&sold.to_string()),
            payable,
        }
    }
}

/// The offers that the page can pay: each price once, by the method that asks
/// least of its payer.
fn payable(offers: &[Offer]) -> Vec<Payable> {
    let mut taken: Vec<(&str, &str, &str)> = Vec::new();
    let mut payable = Vec::new();
    for wanted in [Method::Eip3009, Method::Permit2] {
        for offer in offers {
            let wire = &offer.terms().wire;
            let what = (&*wire.network, &*wire.asset, &*wire.amount);
            if method(offer) == Some(wanted) && !taken.contains(&what) {
                taken.push(what);
                payable.extend(described(offer, wanted));
            }
        }
    }
    payable
}

/// How the page would pay an offer, if it can.
fn method(offer: &Offer) -> Option<Method> {
    let terms = offer.terms();
    let is_evm = terms.network.family() == Family::Evm && terms.scheme == Scheme::Exact;
    let is_signed = terms.wire.proof_profile().is_none();
    let method = terms.transfer_method().unwrap_or(Method::Eip3009);
    let has_domain = ["name", "version"]
        .iter()
        .all(|key| terms.wire.extra_str(key).is_some());
    let can = match method {
        Method::Eip3009 => has_domain,
        Method::Permit2 => true,
        _ => false,
    };
    (is_evm && is_signed && can).then_some(method)
}

fn described(offer: &Offer, method: Method) -> Option<Payable> {
    let terms = offer.terms();
    let info = terms.network.info();
    let name = info.map_or(terms.network.as_str(), |info| info.display_name);
    let words = offer.in_words(name);
    let value = json!({
        "terms": &*terms.wire,
        "method": method.as_str(),
        "words": words,
        "symbol": offer.symbol().unwrap_or("units"),
        "decimals": offer.symbol().map_or(0, |_| offer.decimals()),
        "chain": {
            "id": terms.network.chain_id()?,
            "name": name,
            "explorer": info.and_then(|info| info.explorer_tx),
            "add": info.and_then(learned),
        },
    });
    Some(Payable { words, value })
}

/// What a wallet must be told of a network that it does not know (EIP-3085).
fn learned(info: &NetworkInfo) -> Option<Value> {
    let (coin, rpc) = (info.coin?, info.public_rpc?);
    let explorer = info.explorer_tx.and_then(|url| url.strip_suffix("/tx/"));
    Some(json!({
        "chainName": info.display_name,
        "nativeCurrency": { "name": coin, "symbol": coin, "decimals": 18 },
        "rpcUrls": [rpc],
        "blockExplorerUrls": explorer.map(|url| vec![url]),
    }))
}

fn filled(page: &Page, sale: &Sale, sold: &Sold, url: &str, qr: &str) -> String {
    let paragraph = |text: &str| format!("<p>{}</p>", escaped(text));
    let name = page.name.as_deref().unwrap_or("Payment required");
    let heading = sale.resource.description.as_deref();
    let logo = page.logo.as_deref();
    let first = match sold.payable.is_empty() {
        true => "A wallet in a browser cannot pay this; a program can, as told below.",
        false => "Looking for wallets in this browser …",
    };
    let value = |key: &str| match key {
        "title" => escaped(&format!("{name}: {}", prices(sale).join(", or "))),
        "style" => STYLE.to_owned(),
        "script" => SCRIPT.to_owned(),
        "logo" => logo.map_or_else(String::new, |logo| {
            format!("<img src=\"{}\" alt=\"\">", escaped(logo))
        }),
        "name" => paragraph(name),
        "heading" => escaped(heading.unwrap_or("This page costs money")),
        "text" => page.text.as_deref().map_or_else(String::new, paragraph),
        "offers" => offers(sale, &sold.payable),
        "first" => escaped(first),
        "qr" => qr.to_owned(),
        "command" => escaped(&command(sale, url)),
        "sold" => sold.json.clone(),
        _ => String::new(),
    };
    // Each part is put in once, so that no value is ever read as a template.
    let mut html = String::with_capacity(MAX_PAGE_BYTES);
    let mut rest = DOCUMENT;
    while let Some((before, after)) = rest.split_once("{{") {
        html.push_str(before);
        let Some((key, after)) = after.split_once("}}") else {
            break;
        };
        html.push_str(&value(key));
        rest = after;
    }
    html.push_str(rest);
    html
}

/// Each price once, in words.
fn prices(sale: &Sale) -> Vec<String> {
    let mut prices = Vec::new();
    for offer in &sale.offers {
        let network = &offer.terms().network;
        let name = network.info().map_or(network.as_str(), |i| i.display_name);
        let words = offer.in_words(name);
        if !prices.contains(&words) {
            prices.push(words);
        }
    }
    prices
}

/// One price as a line, several as a choice.
fn offers(sale: &Sale, payable: &[Payable]) -> String {
    let [first, _, ..] = payable else {
        let words = match payable {
            [only] => only.words.clone(),
            _ => prices(sale).join(", or "),
        };
        return format!("<p class=\"price\">{}</p>", escaped(&words));
    };
    let choice = |(n, offer): (usize, &Payable)| {
        let checked = if std::ptr::eq(offer, first) {
            " checked"
        } else {
            ""
        };
        format!(
            "<label><input type=\"radio\" name=\"offer\" value=\"{n}\"{checked}> {}</label>",
            escaped(&offer.words)
        )
    };
    let choices: String = payable.iter().enumerate().map(choice).collect();
    format!("<fieldset><legend>Pay one of</legend>{choices}</fieldset>")
}

/// What a program is told to do, for any shell: whoever made the link wrote its query.
fn command(sale: &Sale, url: &str) -> String {
    let most = sale.offers.first().map_or_else(String::new, |offer| {
        offer.terms().amount.to_decimal(offer.decimals())
    });
    format!("tollway pay \"{}\" --max {most}", quotable(url))
}

/// A URL as it may stand in double quotes, where POSIX shells, PowerShell and cmd.exe
/// each leave something of their own at work. What is encoded means the same.
fn quotable(url: &str) -> String {
    let mut quotable = String::with_capacity(url.len());
    let mut rest = url.chars();
    while let Some(c) = rest.next() {
        let after = rest.as_str().as_bytes();
        let is_encoded =
            matches!(after, [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit());
        match c {
            // A variable's name, between two of them.
            '%' if !is_encoded => quotable.push_str("%25"),
            '"' | '\'' | '$' | '`' | '\\' | '!' | '^' | '|' | '<' | '>' => {
                quotable.push_str(&format!("%{:02X}", u32::from(c)));
            }
            other => quotable.push(other),
        }
    }
    quotable
}

/// Text as it may stand in an element or in a quoted attribute.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// JSON as it may stand in a script element: nothing in it ends the element or
/// begins a comment.
fn script_safe(json: &str) -> String {
    json.replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}
