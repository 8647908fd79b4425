//! Where access tokens are kept until they expire.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::HeaderValue;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tollway_core::{SpendId, Timestamp};

/// Longest token, in bytes.
const MAX_TOKEN_BYTES: usize = 8192;
/// Longest file of a token, in bytes.
const MAX_FILE_BYTES: u64 = 32 * 1024;
/// Most tokens of one origin that are looked at.
const MAX_TOKENS: usize = 64;

/// A bearer token. It is a secret: its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AccessToken(String);

impl AccessToken {
    /// A text that can be shown as one: printable ASCII without blanks.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        let fits = (1..=MAX_TOKEN_BYTES).contains(&text.len());
        (fits && text.bytes().all(|b| b.is_ascii_graphic())).then_some(Self(text))
    }

    /// The value of the `Authorization` header.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.0)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken(…)")
    }
}

impl TryFrom<String> for AccessToken {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        Self::new(text).ok_or("no bearer token")
    }
}

impl From<AccessToken> for String {
    fn from(token: AccessToken) -> Self {
        token.0
    }
}

/// A token that was bought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptToken {
    /// What was paid for it.
    pub spend: SpendId,
    /// The agent that bought it.
    pub agent: String,
    /// Scheme, host and port that it is shown to, and nobody else.
    pub origin: String,
    /// The path that it was bought for.
    pub path: String,
    /// The secret.
    pub token: AccessToken,
    /// From then on another one is bought, shortly before it expires.
    pub renew_at: Timestamp,
    /// From then on it opens nothing.
    pub expires_at: Timestamp,
    /// Whether it has opened something.
    pub used: bool,
}

/// Keeps access tokens. Losing one costs another payment and no more, so a store
/// may forget; it must not show them to anybody else.
pub trait TokenStore: Send + Sync {
    /// The tokens of an origin that have not expired.
    ///
    /// # Errors
    /// If they cannot be read.
    fn tokens(&self, origin: &str, now: Timestamp) -> io::Result<Vec<KeptToken>>;

    /// Keeps a token, or what has become of it; one for each spend.
    ///
    /// # Errors
    /// If it cannot be written.
    fn keep(&self, token: &KeptToken) -> io::Result<()>;

    /// Forgets a token.
    ///
    /// # Errors
    /// If it cannot be removed.
    fn forget(&self, token: &KeptToken) -> io::Result<()>;
}

/// Keeps tokens as long as the program runs.
#[derive(Debug, Default)]
pub struct MemoryTokens(Mutex<HashMap<SpendId, KeptToken>>);

impl MemoryTokens {
    fn all(&self) -> MutexGuard<'_, HashMap<SpendId, KeptToken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TokenStore for MemoryTokens {
    fn tokens(&self, origin: &str, now: Timestamp) -> io::Result<Vec<KeptToken>> {
        let mut all = self.all();
        all.retain(|_, token| token.expires_at > now);
        let ours = all.values().filter(|token| token.origin == origin);
        Ok(ours.take(MAX_TOKENS).cloned().collect())
    }

    fn keep(&self, token: &KeptToken) -> io::Result<()> {
        self.all().insert(token.spend.clone(), token.clone());
        Ok(())
    }

    fn forget(&self, token: &KeptToken) -> io::Result<()> {
        self.all().remove(&token.spend);
        Ok(())
    }
}

/// Keeps each token in a file of its own that only its owner can read. Several
/// programs may share a directory.
#[derive(Debug)]
pub struct TokenDirectory(PathBuf);

impl TokenDirectory {
    /// Makes the directory if need be.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(path)?;
        Ok(Self(path.to_owned()))
    }

    /// `ORIGIN-EXPIRY-SPEND.json`: the origin as a digest, the expiry in seconds.
    fn path(&self, token: &KeptToken) -> PathBuf {
        let (origin, spend) = (digest(&token.origin), digest(token.spend.as_str()));
        let expiry = token.expires_at.secs();
        self.0.join(format!("{origin}-{expiry}-{spend}.json"))
    }
}

impl TokenStore for TokenDirectory {
    fn tokens(&self, origin: &str, now: Timestamp) -> io::Result<Vec<KeptToken>> {
        let ours = digest(origin);
        let mut tokens = Vec::new();
        for entry in std::fs::read_dir(&self.0)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some((whose, expiry)) = name.to_str().and_then(parts) else {
                continue;
            };
            if expiry <= now.secs() {
                // Somebody else may have removed it already.
                let _ = std::fs::remove_file(entry.path());
            } else if whose == ours && tokens.len() < MAX_TOKENS {
                let ours = read(&entry.path()).filter(|token| token.origin == origin);
                tokens.extend(ours);
            }
        }
        Ok(tokens)
    }

    fn keep(&self, token: &KeptToken) -> io::Result<()> {
        let path = self.path(token);
        let part = path.with_extension("part");
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&part)?;
        io::Write::write_all(&mut file, &serde_json::to_vec(token)?)?;
        file.sync_all()?;
        std::fs::rename(&part, &path)
    }

    fn forget(&self, token: &KeptToken) -> io::Result<()> {
        match std::fs::remove_file(self.path(token)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn digest(text: &str) -> String {
    hex::encode(&Sha256::digest(text)[..12])
}

/// Whose token a file holds, and when it expires.
fn parts(name: &str) -> Option<(&str, u64)> {
    let mut parts = name.strip_suffix(".json")?.split('-');
    let (origin, expiry) = (parts.next()?, parts.next()?.parse().ok()?);
    Some((origin, expiry))
}

/// A token from its file; one that others can read, that cannot be read or that is
/// none is passed over: it must not hide the others, which would be bought again.
fn read(path: &Path) -> Option<KeptToken> {
    let found = std::fs::symlink_metadata(path).and_then(|meta| {
        let is_one = meta.is_file() && meta.len() <= MAX_FILE_BYTES && is_private(&meta);
        is_one.then(|| std::fs::read(path)).transpose()
    });
    match found {
        Ok(Some(bytes)) => serde_json::from_slice(&bytes).ok(),
        // Somebody else has removed it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Ok(None) | Err(_) => {
            tracing::warn!(file = %path.display(), "a token file is not private, not readable or none, and is passed over");
            None
        }
    }
}

#[cfg(unix)]
fn is_private(meta: &std::fs::Metadata) -> bool {
    std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o077 == 0
}

#[cfg(not(unix))]
fn is_private(_: &std::fs::Metadata) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(spend: &str, origin: &str, expires: u64) -> KeptToken {
        KeptToken {
            spend: SpendId::from_text(spend),
            agent: "default".into(),
            origin: origin.into(),
            path: "/goods".into(),
            token: AccessToken::new("very.secret").unwrap(),
            renew_at: Timestamp::from_secs(expires),
            expires_at: Timestamp::from_secs(expires),
            used: false,
        }
    }

    fn stores(directory: &Path) -> Vec<Box<dyn TokenStore>> {
        vec![
            Box::new(MemoryTokens::default()),
            Box::new(TokenDirectory::open(&directory.join("tokens")).unwrap()),
        ]
    }

    #[test]
    fn tokens_are_found_by_origin_until_they_expire_or_are_forgotten() {
        let place = tempfile::tempdir().unwrap();
        for store in stores(place.path()) {
            let at = Timestamp::from_secs;
            let (one, other) = (
                token("spd_1", "https://a.test", 100),
                token("spd_2", "https://b.test", 100),
            );
            store.keep(&one).unwrap();
            store.keep(&other).unwrap();
            assert_eq!(
                store.tokens("https://a.test", at(99)).unwrap(),
                std::slice::from_ref(&one)
            );
            let used = KeptToken { used: true, ..one };
            store.keep(&used).unwrap();
            assert_eq!(
                store.tokens("https://a.test", at(99)).unwrap(),
                std::slice::from_ref(&used)
            );
            store.forget(&used).unwrap();
            store.forget(&used).unwrap();
            assert_eq!(store.tokens("https://a.test", at(99)).unwrap(), []);
            assert_eq!(store.tokens("https://b.test", at(100)).unwrap(), []);
            assert_eq!(
                store.tokens("https://b.test", at(1)).unwrap(),
                [],
                "expired ones are gone"
            );
        }
    }

    #[cfg(unix)]
    #[test]
    fn files_of_tokens_are_private_or_not_read() {
        use std::os::unix::fs::PermissionsExt;
        let place = tempfile::tempdir().unwrap();
        let store = TokenDirectory::open(&place.path().join("tokens")).unwrap();
        let kept = token("spd_1", "https://a.test", 100);
        store.keep(&kept).unwrap();
        let path = store.path(&kept);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(
            store
                .tokens("https://a.test", Timestamp::from_secs(1))
                .unwrap(),
            []
        );
    }

    #[test]
    fn a_token_shows_itself_to_nobody() {
        let shown = format!("{:?}", token("spd_1", "https://a.test", 100));
        assert!(!shown.contains("secret"), "{shown}");
        for bad in ["", "a b", "a\nb", "ü", &"x".repeat(8193)] {
            assert_eq!(AccessToken::new(bad), None);
        }
    }
}
