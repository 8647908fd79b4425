//! Where a route is, in the spellings of others.

use crate::route::Pattern;

/// A route's path, with its parameters by name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    segments: Vec<Segment>,
}

#[derive(Debug, PartialEq, Eq)]
enum Segment {
    Text(String),
    /// Of this name.
    Parameter(String),
}

impl Place {
    pub(super) fn of(pattern: &Pattern) -> Self {
        let path = match pattern.as_str().split_once(' ') {
            Some((_, path)) => path.trim(),
            None => pattern.as_str(),
        };
        let mut wild = 0;
        let segments = path.split('/').skip_while(|s| s.is_empty());
        let segments = segments.map(|segment| read(segment, &mut wild)).collect();
        Self { segments }
    }

    /// Whether one URL says it all.
    pub(super) fn is_fixed(&self) -> bool {
        self.parameters().next().is_none()
    }

    /// The names of its parameters.
    pub(super) fn parameters(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Parameter(name) => Some(name.as_str()),
            Segment::Text(_) => None,
        })
    }

    /// `/reports/{id}`, as OpenAPI writes it.
    pub(super) fn braced(&self) -> String {
        self.written(|name| format!("{{{name}}}"))
    }

    /// `/reports/:id`, as the extension `bazaar` writes it.
    pub(super) fn with_colons(&self) -> String {
        self.written(|name| format!(":{name}"))
    }

    fn written(&self, parameter: impl Fn(&str) -> String) -> String {
        let segments = self.segments.iter().map(|segment| match segment {
            Segment::Text(text) => text.clone(),
            Segment::Parameter(name) => parameter(name),
        });
        let path: Vec<String> = segments.collect();
        format!("/{}", path.join("/"))
    }
}

/// A segment that holds a parameter or a star is a parameter as a whole.
fn read(segment: &str, wild: &mut u32) -> Segment {
    let named = segment.find(':').map(|at| &segment[at + 1..]);
    let named = named.or_else(|| segment.find('[').map(|at| &segment[at + 1..]));
    let plain = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    match named.map(|name| name.chars().take_while(plain).collect::<String>()) {
        Some(name) if !name.is_empty() => Segment::Parameter(name),
        _ if segment.contains('*') => {
            *wild += 1;
            Segment::Parameter(format!("var{wild}"))
        }
        _ => Segment::Text(segment.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_spelled_as_others_spell_it() {
        for (pattern, braced, colons, fixed) in [
            ("GET /paid", "/paid", "/paid", true),
            ("/paid/*", "/paid/{var1}", "/paid/:var1", false),
            ("POST /a/:id/[b]", "/a/{id}/{b}", "/a/:id/:b", false),
            ("*", "/{var1}", "/:var1", false),
            ("/a/*/b/*", "/a/{var1}/b/{var2}", "/a/:var1/b/:var2", false),
            ("/file-:name.json", "/{name}", "/:name", false),
        ] {
            let place = Place::of(&pattern.parse().unwrap());
            assert_eq!(place.braced(), braced);
            assert_eq!(place.with_colons(), colons);
            assert_eq!(place.is_fixed(), fixed);
        }
    }
}
