//! Deliberate bugs, to prove that the tests catch them.
//!
//! A build without the feature `seeded-mistakes` makes none: [`is`] is `false`
//! there and the compiler drops what hangs on it. With the feature a process
//! makes the one mistake that `TOLLWAY_MISTAKE` names; this is the only place
//! outside the binary that reads the environment, and only in such a build.

/// Whether this process was told to make a mistake.
#[cfg(not(feature = "seeded-mistakes"))]
#[inline]
#[must_use]
pub const fn is(_name: &str) -> bool {
    false
}

/// Whether this process was told to make a mistake.
#[cfg(feature = "seeded-mistakes")]
#[must_use]
pub fn is(name: &str) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let chosen = CHOSEN.get_or_init(|| std::env::var("TOLLWAY_MISTAKE").ok());
    chosen.as_deref() == Some(name)
}
