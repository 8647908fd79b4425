//! Places where a test can end the process, as a power failure would.

/// With feature `failpoints`, the action `return` at this name aborts the
/// process; every other action does what the `fail` crate says. Without the
/// feature this is nothing.
pub(super) fn point(name: &str) {
    let _ = name;
    fail::fail_point!(name, |_| std::process::abort());
}

/// The places around one durable write.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Write {
    pub(super) before: &'static str,
    pub(super) after: &'static str,
}

macro_rules! writes {
    ($($name:ident = $state:literal,)*) => {
        $(pub(super) const $name: Write = Write {
            before: concat!("saga::", $state, "::before_write"),
            after: concat!("saga::", $state, "::after_write"),
        };)*
    };
}

writes! {
    ACCEPTED = "accepted",
    ALLOCATED = "allocated",
    SUBMITTED = "submitted",
    REOPENED = "reopened",
    CLOSED = "closed",
    SETTLED = "settled",
    REFUSED = "refused",
    EXPIRED = "expired",
    HANDED_OUT = "handed_out",
    TAKEN_BACK = "taken_back",
    FINAL = "final",
    GIVEN_UP = "given_up",
}
