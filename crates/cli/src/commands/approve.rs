//! `tollway wallet approve`: let Permit2 move a token, once, by a transaction of
//! the account's own. That is what a payment by Permit2 or up to a maximum needs
//! before it can settle (`permit2_allowance_required`).

use tollway_core::assets::{AssetTable, Method};
use tollway_core::money::Price;
use tollway_core::wire::PaymentRequirements;
use tollway_core::{Amount, Network, Terms, Wallet as _};
use tollway_evm::{EvmSigner, EvmWallet};

use crate::assets;
use crate::cli::ApproveArgs;
use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::keys::{self, Keystore};
use crate::wiring;

/// Sends it, waits until it is in a block, and prints its hash.
pub async fn run(args: ApproveArgs, environment: &Environment) -> Result<Exit, Failure> {
    let networks = wiring::networks(std::slice::from_ref(&args.network), environment)?;
    let [setting] = networks.as_slice() else {
        return Err(Failure::usage(
            "--network is missing; write --network base=RPC_URL.",
        ));
    };
    let signer = signer(&args, environment)?;
    let table = assets::table(&[], environment)?;
    let (terms, amount) = allowance(&args, &setting.network, &signer, &table)?;
    let node = wiring::node(setting, args.allow_http)?;
    let wallet = EvmWallet::new(signer).with_assets(table);
    let wallet = wallet
        .with_node(setting.network.clone(), node)
        .with_contracts(setting.network.clone(), setting.contracts);
    let raw = wallet
        .approval_of(&terms, amount)
        .await
        .map_err(|e| not_sent(&e))?;
    eprintln!(
        "Permit2 ({}) may move {} of {} on {}; sending {} …",
        setting.contracts.permit2,
        amount.map_or_else(|| "any amount".to_owned(), |_| args.amount.clone()),
        terms.asset,
        setting.network,
        raw.hash
    );
    wallet
        .broadcast(&setting.network, &raw)
        .await
        .map_err(|e| not_sent(&e))?;
    println!("{}", raw.hash);
    Ok(Exit::Done)
}

fn signer(args: &ApproveArgs, environment: &Environment) -> Result<EvmSigner, Failure> {
    if let Some(file) = &args.key_file {
        return keys::signer_from_file(file);
    }
    let name = args
        .name
        .as_deref()
        .ok_or_else(|| Failure::usage("Name a wallet, or a file with --key-file."))?;
    Keystore::unlocked(name, args.passphrase_file.as_deref(), environment)
}

/// What of what may be moved: the token as terms name it, and how much of it.
fn allowance(
    args: &ApproveArgs,
    network: &Network,
    signer: &EvmSigner,
    table: &AssetTable,
) -> Result<(Terms, Option<Amount>), Failure> {
    let text = format!("{} {}", args.amount, args.asset);
    let price: Price = text
        .parse()
        .map_err(|e| Failure::usage(format!("--amount: {e}.")))?;
    let priced = price
        .resolve(network, table)
        .map_err(|e| Failure::usage(format!("--asset: {e}.")))?;
    let wire = PaymentRequirements {
        scheme: "exact".to_owned(),
        network: network.to_string(),
        amount: priced.amount.to_string(),
        asset: priced.spelling,
        // Nobody is paid.
        pay_to: signer.address().to_string(),
        max_timeout_seconds: 60,
        extra: Some(priced.extra),
    };
    let terms = Terms::check(wire.with_method(Method::Permit2));
    let terms = terms.map_err(|e| Failure::usage(e.message().to_owned()))?;
    Ok((terms, (!args.unlimited).then_some(priced.amount)))
}

fn not_sent(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(format!(
        "{error} Nothing is known to be approved; look at the account and try again."
    ))
}
