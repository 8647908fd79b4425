//! Signatures in DER, and as EVM networks want them.

use alloy_primitives::{Address, B256};
use secp256k1::ecdsa::Signature;
use tollway_evm::recover;

/// `r ‖ s ‖ v` with low `s`, and the `v` (27 or 28) that recovers to the account; none
/// where neither does.
pub fn recoverable(der: &[u8], digest: B256, account: Address) -> Option<[u8; 65]> {
    let mut signature = Signature::from_der(der).ok()?;
    signature.normalize_s();
    let mut bytes = [0; 65];
    bytes[..64].copy_from_slice(&signature.serialize_compact());
    [27, 28].into_iter().find_map(|v| {
        bytes[64] = v;
        (recover(digest, &bytes) == Some(account)).then_some(bytes)
    })
}
