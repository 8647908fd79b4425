//! Another branch of the chain wins.

use std::time::Duration;

use tollway_devnet::Devnet;

/// A chain that does not grow by itself is not waited for any longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until so many blocks lie on each other from this one on, and drops
/// them; false if it came to nothing.
pub(crate) async fn replace(chain: &Devnet, from: u64, depth: u64, keep: bool) -> bool {
    let grown = async {
        while chain.block_number() + 1 < from + depth {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, grown).await.is_err() {
        return false;
    }
    let dropped = (chain.block_number() + 1).saturating_sub(from);
    chain.reorg(dropped, keep).is_ok()
}
