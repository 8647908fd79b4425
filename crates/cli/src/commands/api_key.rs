//! `tollway api-key`: a key with which a seller may call a facilitator.

use rand::RngCore;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::cli::ApiKeyArgs;
use crate::exit::{Exit, Failure};
use crate::keys;

/// Writes the key for the caller, and prints what the facilitator is told.
pub fn run(args: &ApiKeyArgs) -> Result<Exit, Failure> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if !(1..=64).contains(&args.name.len()) || !args.name.bytes().all(fits) {
        return Err(Failure::usage(
            "The name must be 1 to 64 letters, digits, `-`, `_` or `.`; choose another.",
        ));
    }
    let key = new_key();
    keys::write_private(&args.output, &format!("{}\n", *key))?;
    println!("[[facilitator.callers]]");
    println!("name = \"{}\"", args.name);
    println!("key_sha256 = \"{}\"", digest(&key));
    eprintln!(
        "The key is in {}; give that file to the caller and to nobody else.",
        args.output.display()
    );
    Ok(Exit::Done)
}

/// 256 random bits, named for what they are so that scanners of leaks know them.
fn new_key() -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    rand::rngs::OsRng.fill_bytes(&mut *bytes);
    Zeroizing::new(format!("tollway_{}", hex(&*bytes)))
}

fn digest(key: &str) -> String {
    hex(&Sha256::digest(key.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    alloy_primitives::hex::encode(bytes)
}
