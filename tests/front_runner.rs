//! A stranger sees every authorization on its way to the node and submits it
//! first. Who paid is served all the same, and pays once.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tollway_devnet::{DEV_ACCOUNTS, Devnet, Mining};
use tollway_sweep::Stranger;

use crate::harness::chaos::{Act, Chaos};
use crate::harness::town::{PRICE, SIGNER, Town, TownOptions, set};
use crate::harness::upstream::GOODS;
use crate::harness::{Buyer, Program};

/// Purchases at once: enough that some share a transaction.
const PURCHASES: usize = 24;
/// `transferWithAuthorization` with the signature in three parts, and in one.
const CALLS: [&str; 2] = ["e3ee160e", "cf092995"];
/// Hex digits of a call's arguments, as far as the parts go.
const ARGUMENTS: usize = 9 * 64;

/// Every call that settles an authorization within a signed transaction, alone
/// or in a batch.
fn calls(transaction: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in transaction.match_indices(CALLS[0]) {
        let end = at + CALLS[0].len() + ARGUMENTS;
        if let Some(call) = transaction.get(at..end) {
            found.push(call.to_owned());
        }
    }
    found
}

/// What of a call tells authorizations apart: its nonce.
fn nonce(call: &str) -> String {
    call[CALLS[0].len() + 5 * 64..][..64].to_owned()
}

/// A node's door at which a stranger listens. Returns the nonces that it was
/// first with.
async fn listened_to(town: &Town) -> (Chaos, Arc<Mutex<BTreeSet<String>>>) {
    let door = Chaos::before(&town.rpc()).await;
    let first = Arc::new(Mutex::new(BTreeSet::new()));
    let (chain, taken): (Devnet, _) = (town.chain.clone(), Arc::clone(&first));
    let stranger = Stranger::new(&DEV_ACCOUNTS[5]).unwrap();
    door.obey(move |seen| {
        if seen.body.contains("eth_sendRawTransaction") {
            for call in calls(&seen.body) {
                let is_new = taken.lock().unwrap().insert(nonce(&call));
                if is_new {
                    let data = tollway_sweep::from_hex(&call).unwrap();
                    assert!(stranger.submit(&chain, data), "the stranger's is taken");
                }
            }
        }
        Act::Pass
    });
    (door, first)
}

async fn town() -> Town {
    Town::with(TownOptions {
        mining: Mining::Interval(Duration::from_millis(300)),
        ..TownOptions::default()
    })
    .await
}

/// Buys so often at once; how many got the goods.
async fn buy(url: &str) -> usize {
    let mut buying = tokio::task::JoinSet::new();
    for n in 0..PURCHASES {
        let buyer = Buyer::new(&DEV_ACCOUNTS[2 + n % 3]);
        let goods = format!("{url}/paid/{n}");
        buying.spawn(async move {
            let payment = buyer.pays(&goods, true).await;
            buyer.get(&goods, &[payment]).await
        });
    }
    let replies = buying.join_all().await;
    for reply in &replies {
        assert_eq!((reply.status, reply.body.as_str()), (200, GOODS));
    }
    replies.len()
}

fn judge(town: &Town, first: &Mutex<BTreeSet<String>>) {
    assert_eq!(town.transfers().len(), PURCHASES, "each moved once");
    assert_eq!(town.earned(), PURCHASES as u64 * PRICE);
    assert_eq!(first.lock().unwrap().len(), PURCHASES, "always second");
    let own = town.chain.nonce(SIGNER.address);
    let strangers = town.chain.nonce(DEV_ACCOUNTS[5].address);
    assert_eq!(strangers, PURCHASES as u64, "the stranger moved it all");
    assert!(own < PURCHASES as u64, "some of {own} were shared");
}

#[tokio::test]
async fn nobody_who_paid_is_denied_though_a_stranger_is_always_first() {
    let town = town().await;
    let (door, first) = listened_to(&town).await;
    let args = town.gate_args("local", &door.url());
    let (_gate, url) = Program::serve(town.command(&args)).await;
    assert_eq!(buy(&url).await, PURCHASES);
    judge(&town, &first);
    for payment in town.payments("gate.db").await {
        assert_eq!(payment["state"], "settled", "{payment}");
    }
}

#[tokio::test]
async fn a_facilitator_whose_sends_are_watched_settles_every_payment_once() {
    let town = town().await;
    let (door, first) = listened_to(&town).await;
    let mut args = town.facilitator_args(&town.rpc());
    set(
        &mut args,
        "--network",
        &format!("{}={}", crate::harness::town::NETWORK, door.url()),
    );
    let (_facilitator, facilitator) = Program::serve(town.command(&args)).await;
    let (_gate, url) = town.trusting_gate(&facilitator, &[]).await;
    assert_eq!(buy(&url).await, PURCHASES);
    judge(&town, &first);
}
