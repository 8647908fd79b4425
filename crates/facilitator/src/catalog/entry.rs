//! One resource, as its seller describes it.

use serde::Serialize;
use serde_json::{Value, json};
use tollway_core::Timestamp;
use tollway_core::wire::{PaymentPayload, PaymentRequirements, ResourceInfo};
use url::Url;

/// The extension's key.
pub(crate) const BAZAAR: &str = "bazaar";

/// Most ways to pay that are kept of one resource.
const MAX_ACCEPTS: usize = 8;
/// Most bytes of a resource's address.
const MAX_RESOURCE_BYTES: usize = 2048;
/// Most bytes of what is said of its use.
const MAX_SAID_BYTES: usize = 16 * 1024;
/// Most bytes of one way to pay.
const MAX_ACCEPTED_BYTES: usize = 4 * 1024;
/// Most characters of a description.
const MAX_DESCRIPTION: usize = 500;
/// Most characters of a media type, and of the name of a tool.
const MAX_NAME: usize = 128;
/// Most characters of a service's name, and of a tag (x402 v2 §ResourceInfo).
const MAX_WORD: usize = 32;
const MAX_TAGS: usize = 5;
/// Methods of HTTP that a resource may be asked with.
const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

/// A resource.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// When it was last paid for.
    pub(super) updated: Timestamp,
    /// `http` or `mcp`.
    pub(super) kind: &'static str,
    pub(super) accepts: Vec<PaymentRequirements>,
    pub(super) info: ResourceInfo,
    /// What was paid for it last.
    pub(super) paid: Paid,
    /// What stands under `bazaar`, as text: parsed it may take many times its bytes.
    said: String,
}

/// One payment, as nobody can tell it twice: what moved, and whose it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Paid {
    /// The transaction.
    pub(crate) transaction: String,
    /// The payer.
    pub(crate) payer: String,
}

impl Entry {
    /// What a payment says of its resource, and the address under which it is listed;
    /// or why it cannot be.
    pub(super) fn read(
        payload: &PaymentPayload,
        paid: Paid,
        now: Timestamp,
    ) -> Result<(String, Self), &'static str> {
        let said = payload.extensions.as_ref().and_then(|all| all.get(BAZAAR));
        let said = said.ok_or("invalid_info")?;
        let text = said.to_string();
        if text.len() > MAX_SAID_BYTES || length(&payload.accepted) > MAX_ACCEPTED_BYTES {
            return Err("too_long");
        }
        let kind = kind(said).ok_or("invalid_info")?;
        if said.get("schema").is_some_and(leads_away) {
            return Err("external_reference");
        }
        let told = payload.resource.as_ref().ok_or("invalid_resource")?;
        let resource = address(told, said.get("routeTemplate"), kind)?;
        let entry = Self {
            updated: now,
            kind,
            accepts: vec![payload.accepted.clone()],
            info: described(told),
            paid,
            said: text,
        };
        Ok((resource, entry))
    }

    /// What its payee says of it now. Ways to pay that were taken before stay.
    pub(super) fn renewed(&self, newer: Self) -> Self {
        let same = |a: &PaymentRequirements, b: &PaymentRequirements| {
            let method =
                |r: &PaymentRequirements| r.extra_str("assetTransferMethod").map(str::to_owned);
            (&a.scheme, &a.network, &a.asset) == (&b.scheme, &b.network, &b.asset)
                && method(a) == method(b)
        };
        let mut accepts = newer.accepts;
        let is_new = |old: &&PaymentRequirements| !accepts.iter().any(|new| same(new, old));
        let older: Vec<_> = self.accepts.iter().filter(is_new).cloned().collect();
        accepts.extend(older);
        accepts.truncate(MAX_ACCEPTS);
        Self { accepts, ..newer }
    }

    /// About so many bytes are kept.
    pub(super) fn bytes(&self) -> usize {
        let accepts: usize = self.accepts.iter().map(length).sum();
        self.said.len() + accepts + length(&self.info)
    }

    pub(super) fn to_json(&self, resource: &str) -> Value {
        let mut item = json!({
            "resource": resource,
            "type": self.kind,
            "x402Version": 2,
            "accepts": self.accepts,
            "lastUpdated": self.updated.to_rfc3339(),
            "extensions": { BAZAAR: serde_json::from_str::<Value>(&self.said).unwrap_or_default() },
        });
        if let (Value::Object(item), Ok(Value::Object(info))) =
            (&mut item, serde_json::to_value(&self.info))
        {
            item.extend(info.into_iter().filter(|(key, _)| key != "url"));
        }
        item
    }
}

/// Bytes of something as JSON.
fn length(what: &impl Serialize) -> usize {
    serde_json::to_string(what).map_or(usize::MAX, |text| text.len())
}

/// What the input is, where it has the shape of its kind.
fn kind(said: &Value) -> Option<&'static str> {
    let input = said.get("info")?.get("input")?;
    let text = |key: &str| input.get(key).and_then(Value::as_str);
    match text("type")? {
        "http" => METHODS.contains(&text("method")?).then_some("http"),
        "mcp" => {
            let name = text("toolName")?;
            (1..=MAX_NAME)
                .contains(&name.chars().count())
                .then_some("mcp")
        }
        _ => None,
    }
}

/// The address under which a resource is listed: without query and fragment, and
/// with the route's template for its path.
fn address(
    told: &ResourceInfo,
    template: Option<&Value>,
    kind: &str,
) -> Result<String, &'static str> {
    const WRONG: &str = "invalid_resource";
    if told.url.len() > MAX_RESOURCE_BYTES {
        return Err(WRONG);
    }
    let mut url = Url::parse(&told.url).map_err(|_| WRONG)?;
    let fits = match kind {
        "mcp" => ["http", "https", "mcp"].contains(&url.scheme()),
        _ => ["http", "https"].contains(&url.scheme()),
    };
    if !fits || !url.has_host() || !url.username().is_empty() || url.password().is_some() {
        return Err(WRONG);
    }
    url.set_query(None);
    url.set_fragment(None);
    let Some(template) = template else {
        return Ok(url.into());
    };
    let template = template.as_str().filter(|text| is_template(text));
    let template = template.ok_or("invalid_route_template")?;
    let origin = url.origin().ascii_serialization();
    Ok(format!("{origin}{template}"))
}

/// `^/[a-zA-Z0-9_/:.\-~%]+$`, and once decoded neither `..` nor `://` nor another
/// host.
fn is_template(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_/:.-~%".contains(&b);
    let decoded = percent_encoding::percent_decode_str(text).decode_utf8_lossy();
    (2..=MAX_RESOURCE_BYTES).contains(&text.len())
        && text.starts_with('/')
        && text.bytes().all(plain)
        && !decoded.starts_with("//")
        && !["..", "://", "\\"].iter().any(|bad| decoded.contains(bad))
}

/// Whether a schema refers to another document.
fn leads_away(schema: &Value) -> bool {
    match schema {
        Value::Object(object) => object.iter().any(|(key, value)| {
            let refers = ["$ref", "$dynamicRef"].contains(&key.as_str());
            let is_within = value.as_str().is_some_and(|text| text.starts_with('#'));
            (refers && !is_within) || leads_away(value)
        }),
        Value::Array(items) => items.iter().any(leads_away),
        _ => false,
    }
}

/// What is said of it in words, cut to what x402 allows. What does not fit is left
/// out, and the rest stays.
fn described(told: &ResourceInfo) -> ResourceInfo {
    let cut = |text: &Option<String>, most: usize| {
        let plain = text.as_deref()?.chars().filter(|c| !c.is_control());
        let text: String = plain.take(most).collect();
        (!text.is_empty()).then_some(text)
    };
    let word = |text: &&String| {
        (1..=MAX_WORD).contains(&text.len()) && text.bytes().all(|b| (b' '..=b'~').contains(&b))
    };
    let tags = told.tags.as_deref().unwrap_or_default();
    let tags: Vec<String> = tags.iter().filter(word).take(MAX_TAGS).cloned().collect();
    let icon = |text: &&String| text.len() <= MAX_RESOURCE_BYTES && text.starts_with("https://");
    ResourceInfo {
        url: String::new(),
        description: cut(&told.description, MAX_DESCRIPTION),
        mime_type: cut(&told.mime_type, MAX_NAME),
        service_name: told.service_name.as_ref().filter(word).cloned(),
        tags: (!tags.is_empty()).then_some(tags),
        icon_url: told.icon_url.as_ref().filter(icon).cloned(),
    }
}
