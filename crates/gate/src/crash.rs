//! Places where a test can end the process, as a power failure would.

/// With feature `failpoints`, the action `return` at this name aborts the
/// process; every other action does what the `fail` crate says. Without the
/// feature this is nothing.
pub(crate) fn point(name: &str) {
    let _ = name;
    fail::fail_point!(name, |_| std::process::abort());
}

/// Takes a durable step between the places `grant::…::before_write` and
/// `grant::…::after_write`.
macro_rules! durably {
    ($step:literal, $write:expr) => {{
        $crate::crash::point(concat!("grant::", $step, "::before_write"));
        let written = $write.await;
        $crate::crash::point(concat!("grant::", $step, "::after_write"));
        written
    }};
}

pub(crate) use durably;
