//! The whole way from a challenge to the data, with a permission: a person's key
//! lets a fresh session key spend a little, and only the session key pays.
//!
//! ```console
//! $ cargo run -p tollway-examples --bin spend_permission -- URL NODE_URL KEY_FILE
//! ```
//!
//! `URL` is a resource that is sold by `erc7710`, the node one of its network, and
//! the key that of an account which is a delegator already (`tollway permission
//! grant --upgrade` makes it one).

use std::sync::Arc;
use std::time::Duration;

use tollway_core::{Clock, Network, SystemClock};
use tollway_evm::delegation::{Allowance, DELEGATION_MANAGER};
use tollway_evm::{Bestowal, EvmSigner, EvmWallet, PermissionWallet};
use tollway_examples::Error;
use tollway_ledger::{Limit, LimitScope, Store};
use tollway_payer::{PayMethod, PayRequest, Payer, Policy};
use tollway_rpc::{RpcClient, RpcConfig};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, node, key_file] = arguments.as_slice() else {
        return Err("call it with URL NODE_URL KEY_FILE".into());
    };
    let request =
        || -> Result<PayRequest, Error> { Ok(PayRequest::new(http::Method::GET, url.parse()?)) };

    // What is asked for, and who may redeem it: all offers are looked at.
    let seen = Payer::builder().build()?.inspect(request()?).await?;
    let by_permission =
        |offer: &&tollway_payer::OfferView| offer.method == Some(PayMethod::Erc7710);
    let offer = seen.offers.iter().find(by_permission);
    let offer = offer.ok_or("nothing there is paid by a permission")?;
    println!("asked: {}", offer.words);

    // The person's key signs once: twice the price, to this payee, for ten minutes.
    let network: Network = offer.network.parse()?;
    let rpc = RpcClient::new(RpcConfig::new(vec![node.parse()?]))?;
    let owner = EvmSigner::from_hex(&std::fs::read_to_string(key_file)?)?;
    let session = EvmSigner::random()?;
    let amount: alloy_primitives::U256 = offer.amount.parse()?;
    let bestowal = Bestowal {
        payer: owner.address(),
        session: session.address(),
        asset: offer.asset.parse()?,
        allowance: Allowance::Total(amount.saturating_add(amount)),
        redeemers: offer
            .redeemers
            .iter()
            .map(|one| one.parse())
            .collect::<Result<_, _>>()?,
        payee: Some(offer.pay_to.parse()?),
        expires: SystemClock.now().plus(Duration::from_secs(600)).secs(),
    };
    let person = EvmWallet::new(owner).with_node(network.clone(), rpc.clone());
    let root = person
        .bestow(&network, DELEGATION_MANAGER, &bestowal)
        .await?;

    // From here on only the session's key signs, within what was granted.
    let wallet = PermissionWallet::new(session, network.clone(), DELEGATION_MANAGER, vec![root])?;
    let folder = tempfile::tempdir()?;
    let store = Store::open(&format!(
        "sqlite:{}",
        folder.path().join("payer.db").display()
    ))
    .await?;
    let payer = Payer::builder()
        .wallet(Arc::new(wallet.with_node(rpc)))
        .spends(Arc::new(store))
        .policy(Policy {
            max_per_call: "0.02".parse()?,
            networks: vec![network],
            methods: vec![PayMethod::Erc7710],
            ..Policy::default()
        })
        .limits(vec![Limit {
            scope: LimitScope::Account,
            window: None,
            max: bestowal.allowance.most().into(),
        }])
        .build()?;
    let paid = payer.fetch(request()?).await?;
    if let Some(payment) = &paid.payment {
        println!("paid: {} in {:?}", payment.words, payment.transaction);
    }
    let (_, body) = paid.response.into_parts();
    println!("{}", String::from_utf8_lossy(&body.bytes(1 << 20).await?));
    Ok(())
}
