//! `tollway permission request`: a page on this machine where a browser wallet is
//! asked, and what it answered compared with what was asked.

use alloy_primitives::Address;
use serde_json::{Value, json};

use super::permission::{Wish, keep, permissions, session};
use super::permission_answer::{Answer, read};
use super::permission_page;
use crate::assets;
use crate::cli::PermissionRequestArgs;
use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::keys;

/// Runs it.
pub async fn request(
    args: PermissionRequestArgs,
    environment: &Environment,
) -> Result<Exit, Failure> {
    let store = permissions(environment)?;
    store.require_free(&args.name)?;
    let wish = Wish::read(&args.wish, environment).await?;
    let passphrase = keys::passphrase(args.passphrase_file.as_deref(), environment, true)?;
    let (session, account) = session(&args.wish)?;
    let asked = json!({"kind": "grant", "params": asked(&wish, account, &args)?});
    let said = permission_page::ask(wish.lines(), asked, args.wait).await?;
    let mut permission = read(Answer {
        said: &said,
        wish: &wish,
        session,
        account,
        accept: args.accept_changes,
        factories: &args.factories,
    })?;
    permission.deploy(&wish, &args).await?;
    keep(
        &store,
        &args.name,
        &permission.permission,
        &passphrase,
        &assets::table(&[], environment)?,
        args.json,
    )
}

/// What the wallet is asked: amounts in hex, times as numbers, rules on the wire.
fn asked(wish: &Wish, session: Address, args: &PermissionRequestArgs) -> Result<Value, Failure> {
    let chain_id = wish.setting.network.chain_id().unwrap_or_default();
    let amount = format!("{:#x}", wish.amount.as_u256());
    let words = args.justification.clone().unwrap_or_else(|| {
        format!(
            "Pay {} for {}, until the permission ends.",
            wish.words(),
            args.wish
                .resource
                .as_deref()
                .unwrap_or("what a program buys")
        )
    });
    let token = wish.asset.spelling.as_ref();
    let (kind, mut data) = match (wish.per_second, wish.period) {
        (Some(rate), _) => (
            "erc20-token-stream",
            json!({"initialAmount": "0x0", "maxAmount": amount, "amountPerSecond": format!("{:#x}", rate.as_u256())}),
        ),
        (None, Some(period)) => (
            "erc20-token-periodic",
            json!({"periodAmount": amount, "periodDuration": period}),
        ),
        (None, None) => ("erc20-token-allowance", json!({"allowanceAmount": amount})),
    };
    data["tokenAddress"] = token.into();
    data["startTime"] = wish.starts.into();
    data["justification"] = words.into();
    let mut rules = vec![
        json!({"type": "expiry", "data": {"timestamp": wish.expires}}),
        json!({"type": "redeemer", "data": {"addresses": wish.redeemers}}),
    ];
    if let Some(payee) = wish.payee {
        rules.push(json!({"type": "payee", "data": {"addresses": [payee]}}));
    }
    Ok(json!({
        "chainId": format!("{chain_id:#x}"),
        "to": session,
        "permission": {"type": kind, "isAdjustmentAllowed": args.adjustable, "data": data},
        "rules": rules,
    }))
}
