//! Who may look: a token, and the sessions that it opens.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::RngCore as _;
use rand::rngs::OsRng;
use sha2::{Digest as _, Sha256};

use crate::exit::Failure;
use crate::keys;

/// How long a session lasts.
pub const LIFETIME: Duration = Duration::from_secs(12 * 3_600);
/// Sessions at once; the oldest ends where one more begins.
const MOST_SESSIONS: usize = 64;
/// A token is no word that somebody guesses.
const LEAST_TOKEN: usize = 16;
/// Most of one.
const MOST_TOKEN: usize = 512;
/// Wrong tokens within a minute, of all callers together.
const WRONG_A_MINUTE: u32 = 20;

type Digest = [u8; 32];

/// What must be shown before anything is seen.
pub struct Guard {
    token: Digest,
    sessions: Mutex<Vec<(Digest, Instant)>>,
    wrong: Mutex<(Instant, u32)>,
}

/// What became of a token.
#[derive(Debug, PartialEq, Eq)]
pub enum Entry {
    /// A session: the text of its cookie.
    Opened(String),
    /// It is another one.
    Wrong,
    /// Too many wrong ones came.
    TooMany,
}

impl Guard {
    /// With the token of a private file.
    pub fn read(file: &Path) -> Result<Self, Failure> {
        let text = keys::read_private(file)?;
        let token = text.trim();
        if !(LEAST_TOKEN..=MOST_TOKEN).contains(&token.len()) {
            return Err(Failure::usage(format!(
                "{}: a token has {LEAST_TOKEN} to {MOST_TOKEN} characters; make one with `openssl rand -hex 32`.",
                file.display()
            )));
        }
        Ok(Self::new(token))
    }

    fn new(token: &str) -> Self {
        Self {
            token: digest(token),
            sessions: Mutex::default(),
            wrong: Mutex::new((Instant::now(), 0)),
        }
    }

    /// Whether this is the token.
    pub fn is_token(&self, shown: &str) -> Entry {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if wrong.0.elapsed() > Duration::from_secs(60) {
            *wrong = (Instant::now(), 0);
        }
        if wrong.1 >= WRONG_A_MINUTE {
            return Entry::TooMany;
        }
        if is_same(&digest(shown), &self.token) {
            return Entry::Opened(String::new());
        }
        wrong.1 += 1;
        Entry::Wrong
    }

    /// Opens a session for whoever has the token.
    pub fn open(&self, shown: &str) -> Entry {
        match self.is_token(shown) {
            Entry::Opened(_) => {}
            other => return other,
        }
        let mut random = [0_u8; 32];
        OsRng.fill_bytes(&mut random);
        let name = alloy_primitives::hex::encode(random);
        let mut sessions = self.lock();
        if sessions.len() >= MOST_SESSIONS {
            sessions.remove(0);
        }
        sessions.push((digest(&name), Instant::now()));
        Entry::Opened(name)
    }

    /// Whether a cookie names a session that lasts.
    pub fn knows(&self, name: &str) -> bool {
        let shown = digest(name);
        let mut sessions = self.lock();
        sessions.retain(|(_, since)| since.elapsed() < LIFETIME);
        // Each is compared, so that time tells nothing of any.
        let known = sessions.iter().map(|(known, _)| is_same(known, &shown));
        known.fold(false, |any, same| any | same)
    }

    /// Ends a session.
    pub fn end(&self, name: &str) {
        let shown = digest(name);
        self.lock().retain(|(known, _)| !is_same(known, &shown));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Digest, Instant)>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of one length, whatever was shown.
fn digest(text: &str) -> Digest {
    Sha256::digest(text).into()
}

/// To the last byte, however early they differ; and of digests, which nobody
/// can approach byte by byte.
fn is_same(a: &Digest, b: &Digest) -> bool {
    let differing = a.iter().zip(b).fold(0_u8, |all, (a, b)| all | (a ^ b));
    std::hint::black_box(differing) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_opens_with_the_token_only_and_ends() {
        let guard = Guard::new("0123456789abcdef");
        assert_eq!(guard.open("0123456789abcdeg"), Entry::Wrong);
        let Entry::Opened(name) = guard.open("0123456789abcdef") else {
            panic!("it is the token");
        };
        assert!(guard.knows(&name) && !guard.knows("") && !guard.knows("0123456789abcdef"));
        guard.end(&name);
        assert!(!guard.knows(&name));
    }

    #[test]
    fn who_guesses_is_kept_waiting_whatever_comes_next() {
        let guard = Guard::new("0123456789abcdef");
        for _ in 0..WRONG_A_MINUTE {
            assert_eq!(guard.open("no"), Entry::Wrong);
        }
        assert_eq!(guard.open("0123456789abcdef"), Entry::TooMany);
    }

    #[test]
    fn sessions_are_bounded() {
        let guard = Guard::new("0123456789abcdef");
        let open = || match guard.open("0123456789abcdef") {
            Entry::Opened(name) => name,
            other => panic!("{other:?}"),
        };
        let first = open();
        for _ in 0..MOST_SESSIONS {
            open();
        }
        assert!(!guard.knows(&first));
        assert_eq!(guard.lock().len(), MOST_SESSIONS);
    }
}
