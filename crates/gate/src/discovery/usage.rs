//! How a route is used: what it takes, and what it gives.

use serde_json::{Map, Value, json};
use tollway_core::wire::Object;

use super::place::Place;
use crate::route::Pattern;

/// Most bytes of what a route says of its use: it stands in every 402 header.
const MAX_USAGE_BYTES: usize = 3_000;

/// How a route is used, for programs that look for services: examples and JSON
/// Schemas of what it takes and what it gives. With it the route declares the
/// extension `bazaar`, and facilitators list it.
///
/// ```
/// use serde_json::json;
/// use tollway_gate::Usage;
///
/// let usage = Usage::new()
///     .input(json!({"city": "Berlin"}))
///     .input_schema(json!({"properties": {"city": {"type": "string"}}, "required": ["city"]}))
///     .output(json!({"celsius": 21}));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    pub(super) input: Option<Value>,
    pub(super) input_schema: Option<Value>,
    pub(super) output: Option<Value>,
    pub(super) output_schema: Option<Value>,
}

/// Why a usage cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// Input and schemas are objects.
    #[error("an input and a schema are objects; write them as tables")]
    NoObject,
    /// Longer than 3000 bytes.
    #[error("what is said of its use takes more than 3000 bytes; shorten examples and schemas")]
    TooLong,
    /// A reference to somewhere else.
    #[error("a schema refers to another document; write it out, or refer within it (#/…)")]
    Reference,
}

impl Usage {
    /// Nothing but the method.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An example of the query parameters, or of the JSON body where the route's
    /// verb is POST, PUT or PATCH: an object.
    #[must_use]
    pub fn input(mut self, example: Value) -> Self {
        self.input = Some(example);
        self
    }

    /// JSON Schema of the input.
    #[must_use]
    pub fn input_schema(mut self, schema: Value) -> Self {
        self.input_schema = Some(schema);
        self
    }

    /// An example of the answer.
    #[must_use]
    pub fn output(mut self, example: Value) -> Self {
        self.output = Some(example);
        self
    }

    /// JSON Schema of the answer.
    #[must_use]
    pub fn output_schema(mut self, schema: Value) -> Self {
        self.output_schema = Some(schema);
        self
    }

    pub(crate) fn check(&self) -> Result<(), UsageError> {
        let schemas = [&self.input_schema, &self.output_schema];
        let mut objects = schemas.into_iter().chain([&self.input]).flatten();
        if !objects.all(Value::is_object) {
            return Err(UsageError::NoObject);
        }
        let all = schemas.into_iter().chain([&self.input, &self.output]);
        let length: usize = all.flatten().map(|value| value.to_string().len()).sum();
        if length > MAX_USAGE_BYTES {
            return Err(UsageError::TooLong);
        }
        match schemas.into_iter().flatten().any(leads_away) {
            true => Err(UsageError::Reference),
            false => Ok(()),
        }
    }

    /// The extension `bazaar` of a route, as the server SDKs declare it.
    pub(crate) fn declared(&self, pattern: &Pattern) -> Value {
        let verb = pattern.verb().unwrap_or("GET");
        let place = Place::of(pattern);
        let has_body = takes_body(verb);
        let taken = if has_body { "body" } else { "queryParams" };
        let mut input: Object = Map::new();
        input.insert("type".to_owned(), "http".into());
        input.insert("method".to_owned(), verb.into());
        let mut properties = json!({
            "type": { "type": "string", "const": "http" },
            "method": { "type": "string", "enum": [verb] },
        });
        let mut required = vec!["type", "method"];
        if has_body {
            input.insert("bodyType".to_owned(), "json".into());
            properties["bodyType"] = json!({ "type": "string", "enum": ["json"] });
            required.extend(["bodyType", "body"]);
        }
        if has_body || self.input.is_some() || self.input_schema.is_some() {
            let example = self.input.clone().unwrap_or_else(|| json!({}));
            input.insert(taken.to_owned(), example);
            properties[taken] = typed(self.input_schema.as_ref());
        }
        let mut info = json!({ "input": input });
        let mut described = json!({ "input": {
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        }});
        if let Some(example) = &self.output {
            info["output"] = json!({ "type": "json", "example": example });
            let schema = self.output_schema.clone().unwrap_or_else(|| json!({}));
            described["output"] = json!({
                "type": "object",
                "properties": { "type": { "type": "string" }, "example": schema },
                "required": ["type"],
            });
        }
        let mut extension = json!({
            "info": info,
            "schema": {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "type": "object",
                "properties": described,
                "required": ["input"],
            },
        });
        if !place.is_fixed() {
            extension["routeTemplate"] = place.with_colons().into();
        }
        extension
    }
}

/// Whether requests of a verb carry their input in a body.
pub(super) fn takes_body(verb: &str) -> bool {
    ["POST", "PUT", "PATCH"].contains(&verb)
}

/// A schema of an object, that says so.
pub(super) fn typed(schema: Option<&Value>) -> Value {
    let mut object = schema.cloned().unwrap_or_else(|| json!({}));
    if let Value::Object(object) = &mut object
        && !object.contains_key("type")
    {
        object.insert("type".to_owned(), "object".into());
    }
    object
}

/// Whether a schema refers to another document.
fn leads_away(schema: &Value) -> bool {
    match schema {
        Value::Object(object) => object.iter().any(|(key, value)| {
            let is_away = |text: &str| !text.starts_with('#');
            let refers = ["$ref", "$dynamicRef"].contains(&key.as_str());
            (refers && value.as_str().is_none_or(is_away)) || leads_away(value)
        }),
        Value::Array(items) => items.iter().any(leads_away),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_use_is_short_and_leads_nowhere_else() {
        let good = Usage::new()
            .input(json!({"city": "Berlin"}))
            .input_schema(json!({"properties": {"a": {"$ref": "#/$defs/a"}}}))
            .output(json!([1, 2]));
        assert_eq!(good.check(), Ok(()));
        let away = json!({"properties": {"a": [{"$ref": "https://evil.example/x"}]}});
        let refused = |usage: Usage| usage.check().unwrap_err();
        assert_eq!(
            refused(Usage::new().input_schema(away)),
            UsageError::Reference
        );
        assert_eq!(
            refused(Usage::new().input(json!("x"))),
            UsageError::NoObject
        );
        assert_eq!(
            refused(Usage::new().output_schema(json!(1))),
            UsageError::NoObject
        );
        let long = json!("x".repeat(MAX_USAGE_BYTES));
        assert_eq!(refused(Usage::new().output(long)), UsageError::TooLong);
    }

    #[test]
    fn a_route_declares_its_use_in_the_shape_of_the_sdks() {
        let usage = Usage::new()
            .input(json!({"city": "Berlin"}))
            .output(json!({"celsius": 21}));
        let got = usage.declared(&"GET /weather/:day".parse().unwrap());
        assert_eq!(got["info"]["input"]["queryParams"]["city"], "Berlin");
        assert_eq!(got["info"]["output"]["type"], "json");
        assert_eq!(got["routeTemplate"], "/weather/:day");
        let posted = usage.declared(&"POST /weather".parse().unwrap());
        assert_eq!(posted["info"]["input"]["bodyType"], "json");
        assert_eq!(posted["info"]["input"]["body"]["city"], "Berlin");
        assert!(posted.get("routeTemplate").is_none());
    }
}
