//! A buyer that the tests kill: `payer_worker LEDGER URL NAME POLICY` fetches the
//! URL again and again, prints a line for each payment, and stops at the budget.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../tests/stories/wallet.rs"]
mod wallet;

use std::sync::Arc;

use tollway_core::assets::AssetTable;
use tollway_ledger::SqliteLedger;
use tollway_payer::{PayRequest, Payer, PolicyFile};
use wallet::FakeWallet;

/// Calls at a time.
const HANDS: usize = 4;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let [ledger, url, name, policy] = &std::env::args().skip(1).collect::<Vec<_>>()[..] else {
        panic!("payer_worker LEDGER URL NAME POLICY");
    };
    let policy = PolicyFile::parse(policy).unwrap();
    let wallet = Arc::new(FakeWallet {
        prefix: format!("{name}-"),
        ..FakeWallet::default()
    });
    let payer = Payer::builder()
        .wallet(wallet.clone())
        .spends(Arc::new(SqliteLedger::open(ledger).await.unwrap()))
        .policy(policy.policy(&AssetTable::builtin()).unwrap())
        .agent("crowd")
        .build()
        .unwrap();
    let mut hands = tokio::task::JoinSet::new();
    for hand in 0..HANDS {
        let (payer, url) = (payer.clone(), format!("{url}?by={name}&hand={hand}"));
        hands.spawn(async move {
            for n in 0.. {
                let url = format!("{url}&n={n}").parse().unwrap();
                match payer.fetch(PayRequest::get(url)).await {
                    Ok(answer) => println!("paid {}", answer.payment.unwrap().spend),
                    Err(error) => return error.code().to_owned(),
                }
            }
            unreachable!()
        });
    }
    let codes = hands.join_all().await;
    eprintln!("{name} signed {} payments", wallet.signed());
    println!("stopped: {}", codes[0]);
}
