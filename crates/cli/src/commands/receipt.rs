//! `tollway receipt`: what a receipt that a seller signed proves. Receipts are kept by
//! every program that pays, one file for each payment.

use std::path::{Path, PathBuf};

use serde_json::json;
use tollway_evm::EvmStatements;
use tollway_payer::{KeptReceipt, ReceiptWorth, SignedBy};

use crate::cli::ReceiptArgs;
use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::keys;
use crate::story::printable;

/// A kept receipt holds two statements of a few hundred bytes; a file that is larger is
/// none.
const MAX_BYTES: u64 = 256 * 1024;

/// Runs it.
pub fn run(args: &ReceiptArgs, environment: &Environment) -> Result<Exit, Failure> {
    let is_own = args.receipt.starts_with("spd_") && !args.receipt.contains('/');
    let path = match is_own {
        true => file(&directory(&environment.home()?), &args.receipt),
        false => PathBuf::from(&args.receipt),
    };
    let kept = read(&path)?;
    let worth = kept.worth(&EvmStatements);
    let proves = proves(&worth, is_own, args.signer.as_deref());
    if args.json {
        println!("{}", json!({ "receipt": worth, "kept": kept }));
    } else {
        println!("{}", printable(&sentence(&worth)));
        println!(
            "{} of {} paid {} for {}",
            kept.payer,
            kept.network,
            printable(&kept.accepted.amount),
            printable(&kept.resource)
        );
    }
    Ok(if proves { Exit::Done } else { Exit::Failed })
}

/// Whether it proves something to whoever asks. Who kept it knows who was paid and who
/// made the offer. To others a file's holder may have made up both, so they must know the
/// seller's key.
fn proves(worth: &ReceiptWorth, is_own: bool, known: Option<&str>) -> bool {
    let is_known = |signer: &str| known.is_some_and(|known| known.eq_ignore_ascii_case(signer));
    match worth {
        ReceiptWorth::Proved { signer, .. } => is_own || is_known(signer),
        ReceiptWorth::Unproved { signer } => is_known(signer),
        ReceiptWorth::False { .. } => false,
    }
}

fn read(path: &Path) -> Result<KeptReceipt, Failure> {
    let wrong = |why: &str| {
        Failure::usage(format!(
            "{} {why}; name a payment (spd_…) whose seller signed a receipt, or a kept file.",
            path.display()
        ))
    };
    let size = std::fs::metadata(path).map_err(|_| wrong("is not there"))?;
    if !size.is_file() || size.len() > MAX_BYTES {
        return Err(wrong("is no receipt"));
    }
    let text = std::fs::read(path).map_err(|_| wrong("cannot be read"))?;
    serde_json::from_slice(&text).map_err(|_| wrong("holds no receipt"))
}

/// Where receipts are kept.
pub fn directory(home: &Path) -> PathBuf {
    home.join("receipts")
}

fn file(directory: &Path, spend: &str) -> PathBuf {
    directory.join(format!("{spend}.json"))
}

/// Keeps a receipt; the latest of a payment. A payment is made whether or not that can
/// be done.
pub fn keep(directory: &Path, kept: &KeptReceipt) {
    let write = || -> Result<(), Failure> {
        keys::private_directory(directory)?;
        let path = file(directory, kept.spend.as_str());
        let text = serde_json::to_string_pretty(kept).map_err(Failure::new)?;
        let _ = std::fs::remove_file(&path);
        keys::write_private(&path, &text)
    };
    if let Err(failure) = write() {
        tracing::warn!(spend = %kept.spend, why = failure.message, "a signed receipt could not be kept");
    }
}

/// What a receipt is worth, in words.
pub fn sentence(worth: &ReceiptWorth) -> String {
    match worth {
        ReceiptWorth::Proved { signer, by } => {
            let who = match by {
                SignedBy::Payee => "the account that was paid",
                SignedBy::Offerer => {
                    "who signed the offer that was kept with it: as good as who kept both"
                }
            };
            format!("receipt signed by {signer}, {who}")
        }
        ReceiptWorth::Unproved { signer } => format!(
            "receipt signed by {signer}, whom nothing ties to the seller: it proves nothing by itself"
        ),
        ReceiptWorth::False { why } => format!("the seller's receipt proves nothing: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_proves_something_to_who_kept_it_or_knows_the_sellers_key() {
        let signer = || "0xAbCd".to_owned();
        let by = |by| ReceiptWorth::Proved {
            signer: signer(),
            by,
        };
        for proved in [by(SignedBy::Payee), by(SignedBy::Offerer)] {
            assert!(proves(&proved, true, None));
            assert!(!proves(&proved, false, None), "its holder's own");
            assert!(!proves(&proved, false, Some("0xabce")));
            assert!(proves(&proved, false, Some("0xabcd")));
        }
        let unproved = ReceiptWorth::Unproved { signer: signer() };
        assert!(!proves(&unproved, true, None));
        assert!(proves(&unproved, false, Some("0xabcd")));
        let why = String::new();
        assert!(!proves(&ReceiptWorth::False { why }, true, Some("0xabcd")));
    }
}
