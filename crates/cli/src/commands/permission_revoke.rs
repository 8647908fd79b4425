//! `tollway permission revoke`: nothing here spends it any more, and then nobody.

use alloy_primitives::hex;
use serde_json::{Value, json};
use tollway_core::{Wallet, WalletError, codes};
use tollway_evm::EvmWallet;
use tollway_evm::delegation::{Delegation, encode_context};

use super::permission::{owner, permissions, wallet_failed};
use super::permission_page;
use crate::cli::PermissionRevokeArgs;
use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::permissions::Permission;
use crate::{keys, wiring};

/// The tombstone comes first: whatever fails after it, nothing here spends the
/// permission any more.
pub async fn revoke(
    args: PermissionRevokeArgs,
    environment: &Environment,
) -> Result<Exit, Failure> {
    let store = permissions(environment)?;
    store.bury(&args.name)?;
    eprintln!(
        "{} is revoked here: nothing of ours spends it any more.",
        args.name
    );
    let by_key = args.key_file.is_some() || args.wallet.is_some();
    if !args.in_wallet && (args.network.is_none() || !by_key) {
        eprintln!(
            "On chain it still holds, for whoever has the session's key; revoke it in the wallet that granted it (--in-wallet), or here with --network NETWORK=RPC_URL and the payer's --key-file or --wallet."
        );
        return Ok(Exit::Done);
    }
    let passphrase = keys::passphrase(args.passphrase_file.as_deref(), environment, false)?;
    let permission = store.read(&args.name, &passphrase)?;
    match args.in_wallet {
        true => ask_wallet(&permission, args.wait).await?,
        false => take_back(&permission, &args, environment, &passphrase).await?,
    }
    Ok(Exit::Done)
}

/// By the payer's key, on chain.
async fn take_back(
    permission: &Permission,
    args: &PermissionRevokeArgs,
    environment: &Environment,
    passphrase: &str,
) -> Result<(), Failure> {
    let owner = owner(
        args.key_file.as_deref(),
        args.wallet.as_deref(),
        environment,
        passphrase,
    )?;
    let settings = wiring::networks(args.network.as_slice(), environment)?;
    let setting = settings
        .iter()
        .find(|one| one.network == permission.network);
    let setting = setting.ok_or_else(|| {
        Failure::usage(format!(
            "The permission is on {}; name a node of that network.",
            permission.network
        ))
    })?;
    let node = wiring::node(setting, args.allow_http)?;
    let wallet = EvmWallet::new(owner).with_node(permission.network.clone(), node);
    let root = root_of(permission)?;
    let (network, manager) = (&permission.network, permission.manager);
    let raw = match args.all {
        true => wallet.disable_all(network, manager, root.delegator).await,
        false => wallet.disable(network, manager, root).await,
    };
    let raw = raw.map_err(|error| wallet_failed(&error))?;
    let sent = wallet.broadcast(network, &raw).await;
    sent.map_err(|error| wallet_failed(&WalletError::Chain(error)))?;
    println!("{}", raw.hash);
    eprintln!("It is revoked on chain too.");
    Ok(())
}

fn root_of(permission: &Permission) -> Result<&Delegation, Failure> {
    permission.chain.last().ok_or_else(|| {
        Failure::usage("The permission holds no delegation; revoke it in the wallet.")
    })
}

/// By the wallet that granted it (ERC-7715), on a page of this machine.
async fn ask_wallet(permission: &Permission, wait: u64) -> Result<(), Failure> {
    let root = root_of(permission)?;
    let context = hex::encode_prefixed(encode_context(&permission.chain));
    let asked = json!({"kind": "revoke", "params": {"permissionContext": context}});
    let shown = json!([
        ["Revoke", "the permission of this session account"],
        ["Session account", permission.account.to_string()],
        ["Of", root.delegator.to_string()],
        ["Network", permission.network.to_string()],
    ]);
    let said = permission_page::ask(shown, asked, wait).await?;
    let text = |key: &str| {
        let error = said.get("error").and_then(|error| error.get(key));
        error.and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let code = match text("code").as_str() {
        "" if said.get("revoked").is_some() => {
            eprintln!("The wallet says that it is revoked.");
            return Ok(());
        }
        "denied" => codes::PERMISSION_DENIED,
        "unsupported" => codes::PERMISSION_UNSUPPORTED,
        _ => codes::PERMISSION_ANSWER,
    };
    Err(Failure::coded(
        Exit::Failed,
        code,
        format!(
            "The wallet did not revoke it ({}); revoke it there by hand, or here with the payer's key.",
            crate::story::printable(&text("message"))
        ),
    ))
}
