//! Where a server of a test listens that will come back where it was.

use std::process;
use std::sync::atomic::{AtomicU8, Ordering};

/// An address, of which the system chooses the port, on a loopback address of its
/// caller's own. Connections go out from `127.0.0.1`, on ports that a server there
/// may need again after its death; from here nobody takes a freed port.
#[must_use]
pub fn own_place() -> String {
    static NEXT: AtomicU8 = AtomicU8::new(0);
    if !cfg!(target_os = "linux") {
        return "127.0.0.1:0".to_owned();
    }
    let [_, _, high, low] = process::id().to_be_bytes();
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("127.{}.{low}.{}:0", 64 | high & 63, 1 + n % 254)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};

    use super::*;

    /// With every other port taken by those who call it.
    #[test]
    fn nobody_who_goes_out_takes_the_port_of_who_comes_back() {
        let first = TcpListener::bind(own_place()).unwrap();
        let place = first.local_addr().unwrap();
        let calls = TcpStream::connect(place).unwrap();
        let from: SocketAddr = calls.local_addr().unwrap();
        assert!(place.ip().is_loopback());
        if cfg!(target_os = "linux") {
            assert_ne!(from.ip(), place.ip());
            assert_eq!(from.ip(), "127.0.0.1".parse::<IpAddr>().unwrap());
            assert_ne!(own_place(), own_place());
        }
    }
}
