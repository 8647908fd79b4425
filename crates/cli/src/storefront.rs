//! What a seller says of itself and its routes: tables of the configuration file
//! that no flag has.

use serde::Deserialize;
use serde_json::Value;
use tollway_gate::{Discovery, Page, Route, Usage};

use crate::exit::Failure;

/// `[gate.page]`: the page on which people pay in a browser.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PageSettings {
    /// `false`: browsers get the terms as JSON, as programs do.
    enabled: Option<bool>,
    /// The seller's name.
    name: Option<String>,
    /// A path of the server, or a `data:` URI.
    logo: Option<String>,
    /// A few words.
    text: Option<String>,
}

impl PageSettings {
    /// The page, unless it is switched off here or by the flag.
    pub fn page(&self, is_off: bool) -> Result<Option<Page>, Failure> {
        let wrong = |e| Failure::usage(format!("[gate.page]: {e}."));
        let mut page = Page::new();
        if let Some(name) = &self.name {
            page = page.name(name).map_err(wrong)?;
        }
        if let Some(logo) = &self.logo {
            page = page.logo(logo).map_err(wrong)?;
        }
        if let Some(text) = &self.text {
            page = page.text(text).map_err(wrong)?;
        }
        Ok((!is_off && self.enabled != Some(false)).then_some(page))
    }
}

/// `[gate.discovery]`: what programs that look for services are told.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiscoverySettings {
    /// `false`: both paths belong to the upstream.
    enabled: Option<bool>,
    /// The service's name.
    title: Option<String>,
    /// Whether a file that the upstream has there wins.
    upstream_first: bool,
}

impl DiscoverySettings {
    /// What is told, unless it is switched off here or by the flag.
    pub fn discovery(&self, is_off: bool) -> Option<Discovery> {
        let mut discovery = Discovery::new();
        if let Some(title) = &self.title {
            discovery = discovery.title(title);
        }
        if self.upstream_first {
            discovery = discovery.upstream_first();
        }
        (!is_off && self.enabled != Some(false)).then_some(discovery)
    }
}

/// `[[gate.about]]`: what a route says of itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// The route's pattern, as `--route` has it.
    pub route: String,
    /// What is sold, in words.
    #[serde(default)]
    description: String,
    /// Media type of the answer.
    #[serde(default)]
    mime_type: String,
    /// Example of the query parameters, or of the body.
    input: Option<Value>,
    input_schema: Option<Value>,
    /// Example of the answer.
    output: Option<Value>,
    output_schema: Option<Value>,
}

impl About {
    /// Refuses what is said of routes that are not there, or twice.
    pub fn check<'a>(
        all: &[Self],
        patterns: impl Iterator<Item = &'a str> + Clone,
    ) -> Result<(), Failure> {
        for (n, about) in all.iter().enumerate() {
            let route = &about.route;
            if !patterns.clone().any(|pattern| pattern == route) {
                return Err(Failure::usage(format!(
                    "[[gate.about]]: there is no route `{route}`; write it as in --route."
                )));
            }
            if all[..n].iter().any(|other| other.route == *route) {
                return Err(Failure::usage(format!(
                    "[[gate.about]]: `{route}` is there twice; say it once."
                )));
            }
        }
        Ok(())
    }

    /// The route with what is said of it.
    pub fn told(&self, route: Route) -> Route {
        let mut usage = Usage::new();
        let parts: [(&Option<Value>, fn(Usage, Value) -> Usage); 4] = [
            (&self.input, Usage::input),
            (&self.input_schema, Usage::input_schema),
            (&self.output, Usage::output),
            (&self.output_schema, Usage::output_schema),
        ];
        let mut is_used = false;
        for (value, tell) in parts {
            if let Some(value) = value {
                usage = tell(usage, value.clone());
                is_used = true;
            }
        }
        let route = route.describe(&self.description, &self.mime_type);
        if is_used { route.usage(usage) } else { route }
    }
}
