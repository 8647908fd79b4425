//! Names of keys, as they stand in URLs.

use std::fmt;

use crate::exit::Failure;

/// What stands before each part.
const PARTS: [&str; 5] = [
    "projects",
    "locations",
    "keyRings",
    "cryptoKeys",
    "cryptoKeyVersions",
];
/// Letters of one part; the service allows 63.
const MAX_PART: usize = 128;

/// The full name of one version of a key, with nothing in it that means more in a URL.
pub struct KeyName(String);

impl KeyName {
    /// Reads `projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/V`.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let segments: Vec<&str> = text.split('/').collect();
        let fits = segments.len() == 2 * PARTS.len()
            && segments
                .chunks(2)
                .zip(PARTS)
                .all(|(pair, part)| pair[0] == part && is_part(pair[1]));
        match fits {
            true => Ok(Self(text.to_owned())),
            false => Err(Failure::usage(
                "gcp-kms: is not followed by the full name of a key's version; write gcp-kms:projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/1 (`gcloud kms keys versions list` prints it).",
            )),
        }
    }

    /// Whether this is it.
    pub fn is(&self, name: &str) -> bool {
        self.0 == name
    }
}

/// A project's name may have a domain: `example.com:project`.
fn is_part(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    (1..=MAX_PART).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && text.chars().all(allowed)
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_full_name_of_a_version_is_asked_for() {
        let good = "projects/example.com:p/locations/europe-west3/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1";
        assert!(KeyName::parse(good).is_ok());
        let longer = "k".repeat(MAX_PART + 1);
        for bad in [
            String::new(),
            good.replace("/cryptoKeyVersions/1", ""),
            good.replace("keyRings", "keyrings"),
            good.replace("/r/", "/../"),
            good.replace("/r/", "//"),
            good.replace("/r/", "/r%2f/"),
            good.replace("/r/", "/r?x/"),
            good.replace("/k/", &format!("/{longer}/")),
            format!("{good}/x"),
            format!("/{good}"),
        ] {
            let refused = KeyName::parse(&bad).err();
            let said = refused.map(|failure| failure.message).unwrap_or_default();
            assert!(said.contains("cryptoKeyVersions/1"), "{bad}: {said}");
        }
    }
}
