//! What a seller says of itself and its routes: tables of the configuration file
//! that no flag has.

use serde::Deserialize;
use serde_json::Value;
use tollway_gate::{Access, Discovery, Page, Route, Usage};

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

/// `[gate.access]`: who may pay, and how often.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessSettings {
    /// Only these accounts, where there are any.
    allow: Vec<String>,
    /// Never these.
    block: Vec<String>,
    /// Payments of one payer in a minute.
    per_payer: Option<u32>,
    /// Paying requests from one address in a minute.
    per_address: Option<u32>,
}

impl AccessSettings {
    /// The rules, where there are any.
    pub fn access(&self) -> Result<Option<Access>, Failure> {
        let wrong = |e| Failure::usage(format!("[gate.access]: {e}."));
        let mut access = Access::new();
        for account in &self.allow {
            access = access.allow(account).map_err(wrong)?;
        }
        for account in &self.block {
            access = access.block(account).map_err(wrong)?;
        }
        if [self.per_payer, self.per_address].contains(&Some(0)) {
            return Err(Failure::usage(
                "[gate.access]: a rate of 0 lets nobody in; write at least 1, or leave it out.",
            ));
        }
        if let Some(rate) = self.per_payer {
            access = access.per_payer(rate);
        }
        if let Some(rate) = self.per_address {
            access = access.per_address(rate);
        }
        Ok((access != Access::new()).then_some(access))
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

/// Tells one thing of a use.
type Tell = fn(Usage, Value) -> Usage;

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
        let parts: [(&Option<Value>, Tell); 4] = [
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, toml::de::Error> {
        toml::from_str(text)
    }

    #[test]
    fn a_page_that_cannot_be_says_what_to_correct() {
        let page = |text: &str| read::<PageSettings>(text).unwrap().page(false);
        assert_eq!(page("").ok(), Some(Some(Page::new())));
        assert_eq!(page("enabled = false").ok(), Some(None));
        for text in [
            "name = ''",
            "logo = 'https://evil.example/x.png'",
            "text = \"a\\nb\"",
        ] {
            let failure = page(text).err().unwrap().to_string();
            assert!(failure.contains("[gate.page]"), "{failure}");
        }
        assert!(read::<PageSettings>("colour = 'red'").is_err());
        let settings = read::<PageSettings>("name = 'Weather'").unwrap();
        assert_eq!(settings.page(true).ok(), Some(None));
    }

    #[test]
    fn what_is_said_of_a_route_that_is_not_there_is_refused() {
        let about = |route: &str| About {
            route: route.to_owned(),
            description: String::new(),
            mime_type: String::new(),
            input: None,
            input_schema: None,
            output: None,
            output_schema: None,
        };
        let routes = ["GET /paid/*", "/other"];
        let check = |all: &[About]| About::check(all, routes.into_iter());
        assert!(check(&[about("GET /paid/*"), about("/other")]).is_ok());
        assert!(check(&[about("/paid/*")]).is_err());
        assert!(check(&[about("/other"), about("/other")]).is_err());
    }

    #[test]
    fn rules_of_access_are_none_unless_something_is_said() {
        let access = |text: &str| read::<AccessSettings>(text).unwrap().access();
        assert_eq!(access("").ok(), Some(None));
        assert!(access("per_payer = 60").is_ok_and(|rules| rules.is_some()));
        for text in ["per_payer = 0", "per_address = 0", "block = ['nobody']"] {
            let failure = access(text).err().unwrap().to_string();
            assert!(failure.contains("[gate.access]"), "{failure}");
        }
    }
}
