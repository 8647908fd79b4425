//! The promises of the store traits, as stories over any store, run on SQLite.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod make;
mod settlements;

use tollway_ledger::SqliteLedger;

/// Each story on a ledger in a file and on one in memory.
macro_rules! stories {
    ($($room:ident: $($story:ident),+ $(,)?;)+) => {
        $(mod $room {
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
                    let ledger = tollway_ledger::SqliteLedger::open("sqlite::memory:").await.unwrap();
                    crate::$room::$story(ledger.clone()).await;
                    crate::assert_sound(&ledger).await;
                }
            })+
        })+
    };
}

async fn in_file(folder: &tempfile::TempDir) -> SqliteLedger {
    let path = folder.path().join("ledger.db");
    SqliteLedger::open(&format!("sqlite:{}", path.display()))
        .await
        .unwrap()
}

/// Whatever was tried, the ledger is writable and its chain whole.
async fn assert_sound(ledger: &SqliteLedger) {
    use tollway_ledger::StoryStore as _;
    assert!(ledger.is_writable());
    assert_eq!(ledger.verify_chain().await.unwrap(), None);
}

mod told {
    stories! {
        settlements:
            a_payment_comes_back_as_it_was_accepted,
            a_payment_has_one_open_attempt,
            a_cancellation_leaves_the_slots_payments,
            nonces_are_given_out_without_gaps,
            a_payment_ends_once,
            success_is_handed_out_once,
            a_reorganisation_brings_the_attempt_back,
            listings_are_newest_first_and_bounded;
    }
}
