//! Any calls with a session.

use tollway_core::{Network, TxHash, WalletError};
use tollway_starknet::session::SessionWallet;
use tollway_starknet::{Call, Felt, OwnerSender, SignedExecution, felt};

use super::create::entrypoint;
use super::flags::ExecuteArgs;
use super::recorded::{LIFETIME, Recorded};
use super::sender::{Sender, failed, included, not_starknet};
use super::{node, refused, sessions, unlock};
use crate::chains;
use crate::environment::Environment;
use crate::exit::Failure;
use crate::wiring;

/// Signs calls with a session and has them sent.
pub async fn execute(args: &ExecuteArgs, environment: &Environment) -> Result<(), Failure> {
    let calls = args
        .calls
        .iter()
        .map(|text| call(text))
        .collect::<Result<Vec<_>, _>>()?;
    let kept = sessions(environment)?.read(&args.name)?;
    let rpc = node(&kept, environment)?;
    let key = unlock(&kept, args.passphrase_file.as_deref(), environment)?;
    let network = kept.network.clone();
    let wallet = SessionWallet::new(&kept.account()?, network.clone(), key, rpc.clone());
    let wallet = wallet.ok_or_else(|| not_starknet(&network))?.with_budget(
        kept.max_calls,
        kept.token()?,
        kept.max_per_call,
    );
    let (sender, caller) = sender(args, &network, &rpc).await?;
    let ledger = wiring::ledger(args.ledger.as_deref(), "payer.db", environment).await?;
    let recorded = Recorded::reserve(&ledger, &args.name, &kept, &wallet, &calls).await?;
    let signed = match wallet.execute(calls, caller, LIFETIME).await {
        Ok(signed) => signed,
        Err(error) => {
            recorded.give_back().await;
            return Err(match error {
                WalletError::Refused(refusal) => refused(&refusal),
                WalletError::Chain(error) => failed(error),
            });
        }
    };
    recorded.signed(&signed).await?;
    let hash = match send(&sender, &signed).await {
        Ok(hash) => hash,
        Err(failure) => {
            if sender.never_sent(&failure) {
                recorded.give_back().await;
            }
            return Err(failure);
        }
    };
    included(&rpc, &hash).await?;
    recorded.done(&hash).await?;
    println!("{hash}");
    Ok(())
}

async fn send(sender: &Sender, signed: &SignedExecution) -> Result<TxHash, Failure> {
    match sender {
        Sender::Own(sender) => sender.send(&[signed.call()]).await.map_err(failed),
        Sender::Sponsor(sponsor) => sponsor.execute(signed).await,
    }
}

/// Who sends, and as which caller.
async fn sender(
    args: &ExecuteArgs,
    network: &Network,
    rpc: &tollway_rpc::RpcClient,
) -> Result<(Sender, Felt), Failure> {
    let missing =
        || Failure::usage("Nobody sends it; add --sponsor URL or --sender ADDRESS=KEY_FILE.");
    if let Some(text) = &args.sender {
        let account = chains::starknet_account(text, "--sender")?;
        let caller = account.number();
        let max_fee = chains::strk(args.fees.max_fee.as_deref(), "--max-fee")?;
        let sender = OwnerSender::new(network, rpc.clone(), account, max_fee);
        return Ok((Sender::Own(sender.ok_or_else(missing)?), caller));
    }
    let sponsor = Sender::sponsor(&args.fees, network)
        .await?
        .ok_or_else(missing)?;
    let caller = sponsor.caller;
    Ok((Sender::Sponsor(sponsor), caller))
}

/// Reads `CONTRACT:ENTRYPOINT[:N,N…]`.
fn call(text: &str) -> Result<Call, Failure> {
    let bad = |why: String| {
        Failure::usage(format!(
            "--call {text}: {why}; write for example 0x04718…:approve:0x1234,1000,0."
        ))
    };
    let mut parts = text.splitn(3, ':');
    let (Some(to), Some(name)) = (parts.next(), parts.next()) else {
        return Err(bad("it names no entry point".to_owned()));
    };
    let number = |text: &str| felt::parse(text.trim()).map_err(|e| bad(e.to_string()));
    let calldata = parts.next().filter(|text| !text.is_empty());
    let calldata = calldata.into_iter().flat_map(|text| text.split(','));
    Ok(Call {
        to: number(to)?,
        selector: entrypoint(name, "--call")?,
        calldata: calldata.map(number).collect::<Result<_, _>>()?,
    })
}
