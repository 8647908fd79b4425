//! The one node that a facilitator has fails or lies for a while. Whatever it
//! does, a payment is settled once or refused for good, nobody is told a success
//! that is none, and soon after the node is well again nothing is open.

use std::time::Duration;

use tollway_test_chaos::{Fault, Rule, When};

use crate::harness::seconds;
use crate::rpc_faults_case::{Case, each, side_by_side};

/// How long a fault lasts.
const LASTING: Duration = Duration::from_millis(2500);

fn all(faults: &[Fault]) {
    each(faults, async |seed, fault| {
        let case = Case::new(seed).await;
        match fault {
            // Who shows no money is believed: there is nobody else to ask.
            Fault::LyingLogValue | Fault::LyingLogAddress | Fault::FailedReceipt => {
                case.misled().usual(fault, LASTING).await;
            }
            // It is noticed at the next probe.
            Fault::WrongChainId => case.usual(fault, 3 * LASTING).await,
            _ => case.usual(fault, LASTING).await,
        }
    });
}

#[test]
fn answers_that_are_lost_late_or_unreadable_delay_payments_and_double_none() {
    all(&[
        Fault::TimeoutBeforeAccept,
        Fault::TimeoutAfterAccept,
        Fault::Unreachable,
        Fault::AcceptedThenDropped,
        Fault::Status(429),
        Fault::Status(500),
        Fault::Status(503),
        Fault::Html,
        Fault::TruncatedJson,
        Fault::WrongId,
        Fault::SlowTrickle { pause_ms: 20 },
        Fault::OutOfOrderBatch,
        Fault::MissingAnswer,
        Fault::Overloaded,
    ]);
}

#[test]
fn what_a_node_says_to_a_transaction_is_no_proof_of_anything() {
    all(&[
        Fault::SendLost,
        Fault::NeverMined,
        Fault::DuplicateDelivery,
        Fault::AlreadyKnown,
        Fault::NonceTooLow,
        Fault::NonceTooHigh,
        Fault::Underpriced,
    ]);
}

#[test]
fn what_a_node_reads_wrongly_is_neither_a_success_nor_a_refusal() {
    all(&[
        Fault::StaleHead { blocks: 6 },
        Fault::LateReceipt { looks: 3 },
        Fault::MissingReceipts,
        Fault::FailedReceipt,
        Fault::WrongChainId,
        Fault::LyingLogValue,
        Fault::LyingLogAddress,
    ]);
}

#[test]
fn blocks_that_become_expensive_delay_payments_and_lose_none() {
    all(&[Fault::FeeSpike, Fault::BaseFeeAboveCap]);
}

#[test]
fn who_pays_is_told_so_though_somebody_else_was_first() {
    all(&[Fault::ThirdPartyFirst]);
}

/// Several things go wrong now and then, the same with the same seed.
async fn storm(seed: u64) {
    let mut case = Case::new(seed).await;
    case.pays().await;
    let heard = case.all_succeed(case.bound, "in peace").await;
    for (fault, percent) in [
        (Fault::Unreachable, 5),
        (Fault::AcceptedThenDropped, 20),
        (Fault::Status(503), 5),
        (Fault::Html, 3),
        (Fault::TruncatedJson, 5),
        (Fault::WrongId, 3),
        (Fault::MissingAnswer, 5),
        (Fault::SendLost, 15),
        (Fault::AlreadyKnown, 10),
        (Fault::NonceTooHigh, 10),
        (Fault::DuplicateDelivery, 10),
        (Fault::StaleHead { blocks: 2 }, 20),
        (Fault::LateReceipt { looks: 1 }, 50),
    ] {
        case.node
            .obey(Rule::of(fault).when(When::Chance { percent }));
    }
    case.several_pay(4).await;
    tokio::time::sleep(seconds(4)).await;
    case.node.calm();
    case.judge(heard).await;
}

#[test]
fn a_node_that_fails_now_and_then_in_every_way_loses_and_doubles_nothing() {
    let case = |seed: u64| (format!("seed {seed}"), async move || storm(seed).await);
    side_by_side((1..=6).map(case).collect());
}
