//! One of every step, in order: what the crash stories interrupt.

use serde_json::json;
use tollway_core::Proof;
use tollway_ledger::{
    Acceptance, Claim, Conclusion, Cost, Ending, Evidence, GrantStore, LedgerError, NewGrant,
    PaymentRecord, Reservation, SettlementStore, SpendStore, Store,
};

use tollway_test_records::{
    LONG, address, answer, at, atomic, grant, hash, limit, network, payment, raw, settled, signed,
    spend,
};

/// Runs the script; `after` hears of each step when it is durable.
pub async fn run(ledger: &Store, mut after: impl AsyncFnMut()) -> Result<(), LedgerError> {
    settlements(ledger, &mut after).await?;
    grants(ledger, &mut after).await?;
    spends(ledger, &mut after).await
}

async fn accepted(ledger: &impl SettlementStore, n: u64) -> Result<PaymentRecord, LedgerError> {
    match ledger.accept(payment(n), at(1)).await? {
        Acceptance::New(record) | Acceptance::Existing(record) => Ok(record),
    }
}

async fn settlements(
    ledger: &impl SettlementStore,
    after: &mut impl AsyncFnMut(),
) -> Result<(), LedgerError> {
    let signer = address(9);
    let slot = |nonce| (network(), signer.clone(), nonce);
    let me = ledger.join("engine", LONG).await?.id;
    after().await;
    ledger.beat(&me, LONG).await?;
    after().await;
    let lease = ledger.lease_signer(&me, &network(), &signer).await?;
    let lease = lease.expect("nobody else has it");
    after().await;
    let one = accepted(ledger, 1).await?.id;
    after().await;
    ledger.adopt(&me, &network(), 10).await?;
    after().await;
    ledger.give_up(&one).await?;
    after().await;
    ledger.adopt(&me, &network(), 10).await?;
    after().await;
    ledger.allocate_slot(&lease, 0, at(2)).await?;
    after().await;
    let ids = [one.clone()];
    ledger
        .store_raw(&slot(0), &raw(1), &ids, &lease, at(3))
        .await?;
    after().await;
    ledger
        .store_raw(&slot(0), &raw(2), &ids, &lease, at(5))
        .await?;
    after().await;
    ledger
        .conclude(&one, Conclusion::Settled(settled(2)), at(6))
        .await?;
    after().await;
    let costs = [Cost {
        payer: address(1),
        fee: atomic(5),
        lost: false,
    }];
    ledger.close_slot(&slot(0), &costs, at(7)).await?;
    after().await;
    ledger.reopen_slot(&slot(0), &lease, at(7)).await?;
    after().await;
    ledger.close_slot(&slot(0), &[], at(7)).await?;
    after().await;
    ledger.hand_out(&one, Some("key"), at(8)).await?;
    after().await;
    ledger.take_back(&one, "reorganised", at(9)).await?;
    after().await;
    let proof = Proof::SlotTaken { confirmed_nonce: 1 };
    ledger.reopen(&one, &proof, at(10)).await?;
    after().await;
    ledger.conclude(&one, Conclusion::Expired, at(11)).await?;
    after().await;
    let two = accepted(ledger, 2).await?.id;
    after().await;
    let ending = Ending {
        id: two.clone(),
        conclusion: Conclusion::Settled(settled(3)),
        hand_out: Some(None),
    };
    ledger.conclude_all(vec![ending], at(12)).await?;
    after().await;
    ledger.mark_final(&[two], at(13)).await?;
    after().await;
    ledger.leave(&me).await?;
    after().await;
    Ok(())
}

async fn grants(
    ledger: &impl GrantStore,
    after: &mut impl AsyncFnMut(),
) -> Result<(), LedgerError> {
    for n in 1..3 {
        let (Claim::New(record) | Claim::Existing(record) | Claim::IdentifierTaken(record)) =
            ledger.claim(grant(n), at(20)).await?;
        after().await;
        ledger
            .served(&record.id, Some(answer()), None, at(21))
            .await?;
        after().await;
        if n == 2 {
            ledger
                .refuse(&record.id, "code", "Sentence.", true, at(22))
                .await?;
            after().await;
            continue;
        }
        ledger.settling(&record.id, at(22)).await?;
        after().await;
        ledger
            .remember_receipt(&record.id, &json!({}), at(23))
            .await?;
        after().await;
        let evidence = Evidence::Receipt {
            transaction: hash(1),
            log_index: None,
        };
        let _released = ledger
            .release(&record.id, &evidence, &json!({}), at(24))
            .await?;
        after().await;
    }
    upfront(ledger, after).await
}

async fn upfront(
    ledger: &impl GrantStore,
    after: &mut impl AsyncFnMut(),
) -> Result<(), LedgerError> {
    let new = NewGrant {
        flow: "upfront".to_owned(),
        ..grant(3)
    };
    let (Claim::New(record) | Claim::Existing(record) | Claim::IdentifierTaken(record)) =
        ledger.claim(new, at(25)).await?;
    after().await;
    ledger.settling(&record.id, at(26)).await?;
    after().await;
    let evidence = Evidence::Receipt {
        transaction: hash(9),
        log_index: Some(1),
    };
    ledger
        .settled_first(&record.id, &evidence, &json!({}), at(27))
        .await?;
    after().await;
    Ok(())
}

async fn spends(
    ledger: &impl SpendStore,
    after: &mut impl AsyncFnMut(),
) -> Result<(), LedgerError> {
    for n in 1..3 {
        let reserved = ledger.reserve(spend(n), &[limit(100)], at(30)).await?;
        let Reservation::Reserved(id) = reserved else {
            continue;
        };
        after().await;
        ledger.signed(&id, signed(n), at(31)).await?;
        after().await;
        if n == 2 {
            ledger.release(&id, "expired unused", at(32)).await?;
            after().await;
            continue;
        }
        ledger.presented(&id, at(32)).await?;
        after().await;
        ledger.unclear(&id, "the connection broke", at(33)).await?;
        after().await;
        ledger.paid(&id, atomic(7), None, at(34)).await?;
        after().await;
    }
    Ok(())
}
