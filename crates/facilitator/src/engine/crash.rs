//! Places where a test can end the process, as a power failure would.

/// With feature `failpoints`, the action `return` at this name aborts the
/// process; every other action does what the `fail` crate says. Without the
/// feature this is nothing.
pub(super) fn point(name: &str) {
    let _ = name;
    fail::fail_point!(name, |_| std::process::abort());
}

/// Before or after a durable write of a state: `saga::<state>::<when>_write`.
pub(super) fn write(state: &str, when: &str) {
    if cfg!(feature = "failpoints") {
        point(&format!("saga::{state}::{when}_write"));
    }
}
