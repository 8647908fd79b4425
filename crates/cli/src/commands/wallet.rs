//! `tollway wallet`: encrypted keys by name.

use super::approve;
use crate::cli::WalletCommand;
use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::keys::{self, Keystore};

/// Runs it.
pub async fn run(command: WalletCommand, environment: &Environment) -> Result<Exit, Failure> {
    let keystore = || Keystore::open(&environment.home()?);
    match command {
        WalletCommand::New {
            name,
            passphrase_file,
        } => {
            let passphrase = keys::passphrase(passphrase_file.as_deref(), environment, true)?;
            let signer = keystore()?.create(&name, &passphrase)?;
            println!("{}", signer.address());
            eprintln!(
                "Wallet {name} is ready. Back up its file: without it and the passphrase its money is lost."
            );
        }
        WalletCommand::Import {
            name,
            key_file,
            passphrase_file,
        } => {
            let passphrase = keys::passphrase(passphrase_file.as_deref(), environment, true)?;
            let signer =
                keystore()?.store(&name, keys::signer_from_file(&key_file)?, &passphrase)?;
            println!("{}", signer.address());
            eprintln!(
                "Wallet {name} is ready. Delete {} when you have checked it.",
                key_file.display()
            );
        }
        WalletCommand::Approve(args) => return approve::run(args, environment).await,
        WalletCommand::List { json } => list(&keystore()?, json)?,
        WalletCommand::Address { name, key_file } => {
            let address = match (name, key_file) {
                (_, Some(path)) => keys::signer_from_file(&path)?.address().to_string(),
                (Some(name), None) => keystore()?.address(&name)?,
                (None, None) => {
                    return Err(Failure::usage("Name a wallet, or a file with --key-file."));
                }
            };
            println!("{address}");
        }
    }
    Ok(Exit::Done)
}

fn list(keystore: &Keystore, json: bool) -> Result<(), Failure> {
    let wallets = keystore.list()?;
    if json {
        let rows: Vec<_> = wallets
            .iter()
            .map(|wallet| serde_json::json!({ "name": wallet.name, "address": wallet.address }))
            .collect();
        println!("{}", serde_json::Value::from(rows));
    } else if wallets.is_empty() {
        eprintln!("There is no wallet yet; make one with `tollway wallet new NAME`.");
    } else {
        for wallet in wallets {
            println!("{}  {}", wallet.address, wallet.name);
        }
    }
    Ok(())
}
