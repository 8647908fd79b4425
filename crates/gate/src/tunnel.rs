//! Bytes both ways after a protocol switch, as long as any flow.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::Instant;

/// Carries bytes between two ends until one of them ends, or until neither
/// sent anything for this long.
pub(crate) async fn carry<A, B>(one: A, other: B, idle: Duration)
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let (from_one, to_one) = tokio::io::split(one);
    let (from_other, to_other) = tokio::io::split(other);
    let latest = Mutex::new(Instant::now());
    let both = async {
        tokio::join!(
            pump(from_one, to_other, &latest),
            pump(from_other, to_one, &latest)
        )
    };
    tokio::select! {
        _ = both => {}
        () = until_idle(&latest, idle) => {}
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    latest: &Mutex<Instant>,
) -> std::io::Result<()> {
    let mut bytes = vec![0; 8 * 1024];
    loop {
        let count = from.read(&mut bytes).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&bytes[..count]).await?;
        *latest.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

async fn until_idle(latest: &Mutex<Instant>, idle: Duration) {
    loop {
        let end = *latest.lock().unwrap_or_else(PoisonError::into_inner) + idle;
        if end <= Instant::now() {
            return;
        }
        tokio::time::sleep_until(end).await;
    }
}
