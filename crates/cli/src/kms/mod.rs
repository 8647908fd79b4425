//! Keys in a key service, wherever a key file is named: `aws-kms:KEY_ID`.

#[cfg(feature = "aws-kms")]
mod aws;

use std::path::Path;

use tollway_evm::SigningKey;

use crate::exit::Failure;
use crate::keys;

const AWS: &str = "aws-kms:";

/// The key in a private file, or in a service.
pub async fn signing_key(place: &Path) -> Result<SigningKey, Failure> {
    match place.to_str().and_then(|text| text.strip_prefix(AWS)) {
        Some("") => Err(Failure::usage(
            "aws-kms: names no key; write the key's id, ARN or alias behind it, such as aws-kms:alias/tollway.",
        )),
        Some(id) => of_aws(id).await,
        None => keys::signer_from_file(place).map(SigningKey::from),
    }
}

#[cfg(feature = "aws-kms")]
async fn of_aws(id: &str) -> Result<SigningKey, Failure> {
    // Its type is deeper than the compiler looks into ours.
    let opening: futures_util::future::BoxFuture<'_, _> = Box::pin(aws::open(id));
    opening.await
}

#[cfg(not(feature = "aws-kms"))]
async fn of_aws(_: &str) -> Result<SigningKey, Failure> {
    Err(Failure::usage(
        "This program was built without AWS KMS; build it with `cargo build --release --features aws-kms`, or name a key file.",
    ))
}
