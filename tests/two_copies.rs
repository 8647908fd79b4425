//! Two of a kind: one works, or both work together, and never against each other.

use std::sync::Arc;

use tollway_core::Amount;
use tollway_evm::{EvmSigner, EvmWallet};
use tollway_ledger::{Limit, LimitScope, SqliteLedger};
use tollway_payer::{PayRequest, Payer};

use crate::harness::Program;
use crate::harness::town::{BUYER, NETWORK, PRICE, Town};
use crate::harness::upstream::GOODS;

#[tokio::test]
async fn a_second_server_on_one_ledger_says_so_and_ends() {
    let town = Town::new().await;
    let (facilitator_process, facilitator) = town.facilitator().await;
    let (gate_process, _) = town.trusting_gate(&facilitator, &[]).await;
    let mut remote = town.gate_args(&facilitator, &town.rpc());
    crate::harness::town::set(&mut remote, "--network", NETWORK);
    for args in [
        town.facilitator_args(&town.rpc()),
        remote,
        town.gate_args("local", &town.rpc()),
    ] {
        let done = town.run(&args).await.exits(1);
        assert!(done.stderr.contains("[ledger_in_use]"), "{}", done.stderr);
        assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
        assert_eq!(done.stdout, "");
    }
    facilitator_process.crash().await;
    gate_process.crash().await;
    let (_facilitator, _) = town.facilitator().await;
    let (_gate, _) = town.gate(&[]).await;
}

#[tokio::test]
async fn two_payers_of_different_things_share_a_ledger() {
    let town = Town::new().await;
    let (_gate, gate) = town.gate(&[]).await;
    let buys =
        |n: usize| Program::spawn(town.command(&town.pay_args(&format!("{gate}/paid/{n}"), &[])));
    let running: Vec<Program> = (0..4).map(buys).collect();
    for program in running {
        assert_eq!(program.end().await.exits(0).stdout, GOODS);
    }
    assert_eq!(town.transfers().len(), 4);
    assert_eq!(town.spends().await.len(), 4);
}

#[tokio::test]
async fn two_payers_of_the_same_thing_never_pay_for_less_than_they_get() {
    let town = Town::new().await;
    let (_gate, gate) = town.gate(&[]).await;
    let args = town.pay_args(&format!("{gate}/paid/weather"), &[]);
    let running: Vec<Program> = (0..3)
        .map(|_| Program::spawn(town.command(&args)))
        .collect();
    let mut delivered = 0;
    for program in running {
        let done = program.end().await;
        match done.code {
            Some(0) => delivered += 1,
            Some(1 | 4 | 6) => assert!(done.stderr.lines().last().is_some(), "{done:?}"),
            _ => panic!("{done:?}"),
        }
    }
    assert!(delivered >= 1);
    let paid = town.transfers().len();
    assert!((1..=3).contains(&paid), "{paid} transfers");
    assert_eq!(
        town.spends().await.len(),
        paid,
        "every transfer is a recorded purchase"
    );
}

/// A payer with a budget of three purchases, over its own handle of the ledger.
async fn payer(town: &Town, agent: &str) -> Payer {
    let ledger = SqliteLedger::open(&town.ledger("payer.db")).await.unwrap();
    let signer = EvmSigner::from_bytes(&BUYER.key.0).unwrap();
    let budget = Limit {
        scope: LimitScope::Account,
        window: None,
        max: Amount::from_atomic(u128::from(3 * PRICE)),
    };
    Payer::builder()
        .wallet(Arc::new(EvmWallet::new(signer)))
        .spends(Arc::new(ledger))
        .limits(vec![budget])
        .agent(agent)
        .build()
        .unwrap()
}

#[tokio::test]
async fn two_payers_on_one_budget_never_spend_more_than_it() {
    let town = Town::new().await;
    let (_gate, gate) = town.gate(&[]).await;
    let mut buying = Vec::new();
    for agent in ["one", "two"] {
        let payer = payer(&town, agent).await;
        for n in 0..8 {
            let (payer, url) = (payer.clone(), format!("{gate}/paid/{agent}{n}"));
            buying.push(tokio::spawn(async move {
                payer
                    .fetch(PayRequest::get(url.parse().unwrap()))
                    .await
                    .map(|paid| paid.payment)
            }));
        }
    }
    let mut bought = 0;
    for purchase in buying {
        match purchase.await.unwrap() {
            Ok(payment) => {
                assert!(payment.unwrap().is_settled());
                bought += 1;
            }
            Err(error) => assert_eq!(error.code(), "budget_exceeded", "{error}"),
        }
    }
    assert_eq!(bought, 3, "all of the budget, and no more");
    assert_eq!(town.earned(), 3 * PRICE);
}
