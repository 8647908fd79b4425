//! What somebody looks for.

use serde::Deserialize;

use super::Entry;

/// Most words of a search that count.
const MAX_WORDS: usize = 8;
/// Most bytes of a search that count.
const MAX_QUERY_BYTES: usize = 200;

/// What is looked for; nothing is everything.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Wanted {
    /// `http` or `mcp`.
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) pay_to: Option<String>,
    pub(super) scheme: Option<String>,
    pub(super) network: Option<String>,
    /// Keys of extensions, parted by commas.
    pub(super) extensions: Option<String>,
    /// All of them are in it.
    #[serde(skip)]
    pub(super) words: Vec<String>,
}

/// Which part of what was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    pub(crate) offset: usize,
    pub(crate) limit: usize,
}

impl Wanted {
    /// What holds all these words, in any case.
    pub(crate) fn words(mut self, text: &str) -> Self {
        let text = &text[..text.floor_char_boundary(MAX_QUERY_BYTES)];
        let words = text.split_whitespace().take(MAX_WORDS);
        self.words = words.map(str::to_lowercase).collect();
        self
    }

    pub(super) fn fits(&self, (resource, entry): (&str, &Entry)) -> bool {
        let is = |wanted: &Option<String>, what: &str| {
            wanted
                .as_deref()
                .is_none_or(|w| w.eq_ignore_ascii_case(what))
        };
        let extensions = self.extensions.as_deref().unwrap_or_default();
        let mut extensions = extensions.split(',').map(str::trim);
        let taken = entry.accepts.iter().any(|accepts| {
            is(&self.scheme, &accepts.scheme)
                && is(&self.network, &accepts.network)
                && is(&self.pay_to, &accepts.pay_to)
        });
        taken
            && is(&self.kind, entry.kind)
            && extensions.all(|key| key.is_empty() || key == super::BAZAAR)
            && self.has_words(resource, entry)
    }

    fn has_words(&self, resource: &str, entry: &Entry) -> bool {
        if self.words.is_empty() {
            return true;
        }
        let info = &entry.info;
        let texts = [&info.description, &info.service_name]
            .into_iter()
            .flatten();
        let tags = info.tags.iter().flatten();
        let mut all = resource.to_lowercase();
        for text in texts.chain(tags) {
            all.push('\n');
            all.push_str(&text.to_lowercase());
        }
        self.words.iter().all(|word| all.contains(word))
    }
}
