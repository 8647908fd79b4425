//! Blocks with payments in them are replaced by others. What was told too early
//! is made true again with the same authorization, and what must lie deep enough
//! is told only when it does.

use tollway_test_chaos::Fault;

use crate::harness::until;
use crate::rpc_faults_case::{Beside, Case, side_by_side};

/// Success is told at once, and then the block goes.
async fn undone(depth: u64, keep: bool) {
    let mut case = Case::new(depth).await.undoing();
    case.node.begin(Fault::Reorg { depth, keep });
    case.several_pay(3).await;
    let heard = case
        .all_succeed(case.bound, "before or after the block goes")
        .await;
    until(case.bound, "the block goes", async || {
        case.node.replaced() > 0
    })
    .await;
    case.judge(heard).await;
}

#[test]
fn payments_whose_block_is_replaced_are_settled_again_however_deep_it_lay() {
    let case = |depth: u64| {
        let run = async move || {
            undone(depth, false).await;
        };
        (format!("{depth} blocks, transactions lost"), run)
    };
    side_by_side((1..=12).map(case).collect());
}

#[test]
fn payments_that_come_back_by_themselves_are_not_made_twice() {
    let case = |depth: u64| {
        let run = async move || {
            undone(depth, true).await;
        };
        (format!("{depth} blocks, transactions wait again"), run)
    };
    side_by_side([1, 2, 5, 12].map(case).into());
}

#[test]
fn what_must_lie_deep_is_not_told_before_it_does() {
    let case = |(depth, keep): (u64, bool)| {
        let run = async move || {
            // The caller checks each success on the chain, and the judge that it stayed.
            let mut case = Case::with(depth, Beside::Nobody, &["--finality", "6"]).await;
            case.node.begin(Fault::Reorg { depth, keep });
            case.several_pay(3).await;
            until(case.bound, "the block goes", async || {
                case.node.replaced() > 0
            })
            .await;
            case.judge(Default::default()).await;
        };
        (format!("{depth} blocks, kept: {keep}"), run)
    };
    side_by_side(
        [(1, true), (3, false), (5, true), (5, false)]
            .map(case)
            .into(),
    );
}
