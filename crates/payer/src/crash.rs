//! Places where a test can end the process, as a power failure would.

/// With feature `failpoints`, the action `return` at this name aborts the
/// process; every other action does what the `fail` crate says. Without the
/// feature this is nothing.
pub(crate) fn point(name: &str) {
    let _ = name;
    fail::fail_point!(name, |_| std::process::abort());
}
