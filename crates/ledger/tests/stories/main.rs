//! The promises of the store traits, as stories over any store: a file, memory,
//! and a PostgreSQL database.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod crashes;
mod figures;
mod grants;
mod machines;
mod meters;
mod model;
mod outages;
mod passes;
mod processes;
mod races;
mod replicas;
mod script;
mod settlements;
mod spends;
mod storage;
mod tampering;

use tollway_ledger::Store;

/// Each story on a ledger in a file, on one in memory, and on one in a database
/// of its own, room by room.
macro_rules! stories {
    ($($room:ident: $($story:ident),+ $(,)?;)+) => {
        $(mod $room {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() {
                let server = tollway_test_postgres::Postgres::start();
                $({
                    println!("{}", stringify!($story));
                    let ledger = crate::in_a_database(&server).await;
                    crate::$room::$story(ledger.clone()).await;
                    crate::assert_sound(&ledger).await;
                    ledger.close().await;
                })+
            }

            $(mod $story {
                #[tokio::test]
                async fn in_a_file() {
                    let folder = tempfile::tempdir().unwrap();
                    let ledger = crate::in_file(&folder).await;
                    crate::$room::$story(ledger.clone()).await;
                    crate::assert_sound(&ledger).await;
                }

                #[tokio::test]
                async fn in_memory() {
                    let ledger = tollway_ledger::Store::open("sqlite::memory:").await.unwrap();
                    crate::$room::$story(ledger.clone()).await;
                    crate::assert_sound(&ledger).await;
                }
            })+
        })+
    };
}

async fn in_file(folder: &tempfile::TempDir) -> Store {
    let path = folder.path().join("ledger.db");
    Store::open(&format!("sqlite:{}", path.display()))
        .await
        .unwrap()
}

async fn in_a_database(server: &tollway_test_postgres::Postgres) -> Store {
    Store::open(&server.database().await).await.unwrap()
}

/// Whatever was tried, the ledger is writable, its chain whole, and its records
/// say what their events say.
async fn assert_sound(ledger: &Store) {
    assert!(ledger.is_writable());
    let chain = ledger.audit_chain(&[], &|_| {}).await.unwrap();
    assert_eq!(chain.faults, []);
    let rows = ledger.audit_rows(&|_| {}).await.unwrap();
    assert_eq!(rows.faults, []);
}

mod told {
    stories! {
        settlements:
            a_payment_comes_back_as_it_was_accepted,
            a_payment_has_one_open_attempt,
            a_cancellation_leaves_the_slots_payments,
            nonces_are_given_out_without_gaps,
            a_payment_ends_once,
            one_transfer_settles_one_payment,
            success_is_handed_out_once,
            success_is_for_the_key_that_opened_the_payment,
            a_reorganisation_brings_the_attempt_back,
            a_gap_is_filled_and_a_freed_nonce_opens_again,
            listings_are_newest_first_and_bounded,
            what_transactions_cost_is_counted_by_day_and_payer,
            many_end_in_one_step_each_for_itself,
            what_is_settled_is_watched_until_it_is_final,
            a_payer_cannot_promise_the_same_money_twice;
        replicas:
            who_leaves_leaves_all_to_the_next,
            a_lost_lease_stores_nothing,
            what_is_anothers_is_left_alone,
            what_is_given_up_goes_to_whoever_adopts,
            nobody_beats_for_somebody_unknown;
        grants:
            one_authorization_opens_one_grant,
            a_payment_identifier_belongs_to_one_payload,
            what_was_paid_for_can_be_fetched_again,
            upfront_settles_before_it_serves,
            one_transfer_is_evidence_for_one_grant,
            what_is_settled_first_rests_on_a_transfer_of_its_own,
            a_refused_grant_can_be_claimed_again_if_nothing_happened,
            only_the_dead_leave_orphans,
            who_takes_over_from_the_dead_is_the_owner,
            what_came_to_nothing_is_forgotten_without_a_trace,
            what_was_paid_or_served_has_its_whole_story,
            who_paid_for_a_resource_is_found_by_account_route_and_time,
            a_message_is_used_once;
        meters:
            what_is_handed_out_is_charged_and_never_more_than_was_permitted,
            what_began_to_leave_is_never_claimed_again,
            what_may_be_handed_out_unsettled_is_capped,
            who_lost_a_metered_grant_hands_out_nothing_more,
            only_a_claim_of_that_flow_is_metered,
            what_is_paid_for_others_is_bounded_by_the_day;
        passes:
            one_payment_opens_one_pass,
            no_more_is_promised_than_the_cap,
            what_was_promised_and_never_paid_counts_for_a_day,
            what_the_seller_takes_back_stays_taken_back,
            what_was_called_lost_and_is_found_counts_no_more,
            gates_that_do_not_know_each_others_keys_are_found,
            every_key_whose_tokens_are_out_is_asked_for,
            a_pass_dies_with_its_payment,
            what_the_engine_refuses_kills_its_pass_at_once,
            what_the_chain_takes_back_is_not_trusted_unread,
            a_pass_for_calls_opens_as_many,
            a_pass_comes_with_a_release_too,
            a_notice_is_due_again_until_it_was_told;
        figures:
            money_is_summed_by_price_and_never_across_assets,
            refusals_are_counted_by_reason,
            what_was_counted_adds_up_and_is_forgotten_in_time,
            pages_hold_each_record_once_the_latest_first;
        spends:
            a_spend_comes_back_as_it_was_signed,
            one_spend_is_found_among_many_by_what_it_is_known_by,
            states_follow_their_order,
            a_limit_is_never_passed,
            each_scope_counts_its_own,
            a_window_slides_and_never_back,
            what_is_held_counts_in_every_window,
            sums_of_the_largest_amounts_do_not_wrap,
            a_key_signs_no_more_payments_and_no_more_money_than_it_may,
            an_execution_counts_as_many_as_it_makes_calls,
            a_budget_spans_accounts_networks_and_assets,
            a_payee_is_pinned_where_it_was_paid_first,
            a_price_that_jumps_is_compared_with_the_last,
            another_signature_takes_the_firsts_place_under_one_authorization;
        races:
            a_thousand_accepts_make_one_payment,
            a_thousand_claims_open_one_grant,
            a_thousand_are_told_of_success_once,
            a_thousand_payments_by_one_transfer_settle_once,
            a_thousand_reservations_stay_within_the_budget,
            a_thousand_reservations_stay_within_a_keys_payments;
    }
}
