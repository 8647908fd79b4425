//! A facilitator with two nodes, of which the first fails or lies: payments go
//! on, while the fault lasts.

use std::time::Duration;

use tollway_test_chaos::Fault;

use crate::harness::seconds;
use crate::rpc_faults_case::{Beside, Case, each};

/// While the first node does what it does three payments are made, and another
/// two; each wave has its time.
async fn goes_on(seed: u64, fault: Fault, first: Duration, then: Duration) {
    let mut case = Case::with(seed, Beside::Honest, &[]).await;
    case.pays().await;
    let mut heard = case.all_succeed(case.bound, "in peace").await;
    case.node.begin(fault);
    case.several_pay(2).await;
    heard.extend(case.all_succeed(first, "as the fault begins").await);
    case.struck(fault).await;
    case.several_pay(2).await;
    heard.extend(case.all_succeed(then, "while the fault lasts").await);
    case.node.calm();
    case.judge(heard).await;
}

fn all(faults: &[Fault], first: Duration, then: Duration) {
    each(faults, async move |seed, fault| {
        goes_on(seed, fault, first, then).await;
    });
}

#[test]
fn a_node_that_fails_is_passed_over_without_a_hiccup() {
    let faults = [
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
        Fault::MissingAnswer,
        Fault::Overloaded,
        Fault::DuplicateDelivery,
        Fault::AlreadyKnown,
        Fault::OutOfOrderBatch,
    ];
    // One call to a node that hangs takes ten seconds: nobody waits for one.
    all(&faults, seconds(9), seconds(9));
}

#[test]
fn a_node_that_loses_transactions_is_not_the_only_one_to_hear_of_them() {
    let faults = [
        Fault::SendLost,
        Fault::NeverMined,
        Fault::NonceTooLow,
        Fault::NonceTooHigh,
        Fault::Underpriced,
    ];
    all(&faults, seconds(40), seconds(40));
}

#[test]
fn a_node_that_lags_or_serves_another_chain_is_put_aside() {
    let faults = [Fault::StaleHead { blocks: 12 }, Fault::WrongChainId];
    // A probe has to come by.
    all(&faults, seconds(40), seconds(20));
}

#[test]
fn a_node_that_lies_about_receipts_refuses_nothing_and_delays_at_most() {
    let faults = [
        Fault::LateReceipt { looks: 3 },
        Fault::MissingReceipts,
        Fault::FailedReceipt,
        Fault::LyingLogValue,
        Fault::LyingLogAddress,
    ];
    each(&faults, async |seed, fault| {
        let case = Case::with(seed, Beside::Honest, &[]).await;
        case.all_succeed_in_the_end(fault).await;
    });
}
