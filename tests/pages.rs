//! Each page for a task does what it says: its commands are run, in their order.

use crate::harness::program::Finished;
use crate::harness::walk::{commands, page, walk};

async fn walked(name: &str, instead: &[(&str, &str)]) -> Finished {
    walk(&page(name), instead).await.exits(0)
}

#[track_caller]
fn said(done: &Finished, words: &[&str]) {
    let all = format!("{}\n{}", done.stdout, done.stderr);
    for word in words {
        assert!(all.contains(word), "{word}:\n{all}");
    }
}

#[tokio::test]
async fn the_page_about_selling_does_what_it_says() {
    let done = walked("docs/selling.md", &[]).await;
    said(&done, &["All green", "sunny", "paid 0.01 USDC"]);
}

#[tokio::test]
async fn the_page_about_agents_does_what_it_says() {
    let done = walked("docs/agents.md", &[]).await;
    said(
        &done,
        &[
            "would pay 0.01 USDC",
            "paid 0.01 USDC",
            "budget_exceeded",
            "refused: exit 4",
        ],
    );
    assert_eq!(
        done.stderr.matches("paid 0.01 USDC on").count(),
        4,
        "{}",
        done.stderr
    );
}

#[tokio::test]
async fn the_page_about_facilitators_does_what_it_says() {
    let done = walked("docs/facilitating.md", &[]).await;
    said(
        &done,
        &[
            "\"kinds\"",
            "paid 0.01 USDC",
            "settled",
            "[[facilitator.callers]]",
        ],
    );
}

#[tokio::test]
async fn the_page_about_recovery_does_what_it_says() {
    let done = walked("docs/recovering.md", &[]).await;
    said(
        &done,
        &["paid 0.01 USDC", "killed", "2 transfers found exactly"],
    );
    assert_eq!(
        done.stdout.matches("sunny").count(),
        4,
        "{}\n{}",
        done.stdout,
        done.stderr
    );
}

#[tokio::test]
async fn the_page_about_scaling_does_what_it_says() {
    let server = tollway_test_postgres::Postgres::start();
    let url = format!("'{}'", server.database().await);
    let done = walked(
        "docs/scaling.md",
        &[("postgres://tollway@db.example/tollway", &url)],
    )
    .await;
    said(&done, &["paid 0.01 USDC", "sunny"]);
    assert_eq!(
        done.stderr.matches("paid 0.01 USDC on").count(),
        4,
        "{}",
        done.stderr
    );
}

#[tokio::test]
async fn the_page_about_extending_does_what_it_says() {
    let done = walked("docs/extending.md", &[]).await;
    said(&done, &["0.02 EURX", "sunny"]);
}

/// The ten lines with which somebody begins: what the README says of selling and buying is
/// what the pages that are run say.
#[test]
fn the_readme_begins_as_the_pages_that_are_run() {
    let readme = page("README.md");
    let selling = commands(&page("docs/selling.md")).join("\n");
    for word in [
        "tollway init",
        "tollway check --config tollway.toml",
        "tollway gate --config tollway.toml",
    ] {
        assert!(readme.contains(word) && selling.contains(word), "{word}");
    }
    let agents = commands(&page("docs/agents.md")).join("\n");
    for word in [
        "tollway budget set --agent researcher",
        "--agent researcher",
        "--dry-run",
    ] {
        assert!(readme.contains(word) && agents.contains(word), "{word}");
    }
}
