//! Which trace a request goes on with: what the process says of the current span is
//! written into the headers of what the gate asks elsewhere.

use std::sync::OnceLock;

use http::HeaderMap;

static WRITE: OnceLock<fn(&mut HeaderMap)> = OnceLock::new();

/// From now on requests to the service behind and to a remote facilitator carry what
/// this writes of the span that they are made in. Like the subscriber of spans it is
/// the process's: the first one counts. Without one, what a client sent of its own
/// trace goes to the service behind as it is.
pub fn propagate_with(write: fn(&mut HeaderMap)) {
    let _ = WRITE.set(write);
}

/// Writes it.
pub(crate) fn write(headers: &mut HeaderMap) {
    if let Some(write) = WRITE.get() {
        write(headers);
    }
}
