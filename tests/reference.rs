//! What the program says of itself is whole, and the page of codes is what it says.

use std::collections::BTreeSet;
use std::path::Path;

use tempfile::TempDir;

use crate::harness::program::{Finished, run, tollway};

async fn says(home: &TempDir, args: &[&str]) -> Finished {
    run(tollway(home.path(), args)).await
}

/// The commands that `--help` lists.
async fn commands(home: &TempDir) -> Vec<String> {
    let help = says(home, &["--help"]).await.exits(0).stdout;
    let (_, rest) = help.split_once("Commands:").unwrap();
    let rows = rest.lines().skip(1).take_while(|row| !row.is_empty());
    // What a row goes on with is farther to the right.
    let names = rows.filter_map(|row| row.strip_prefix("  ")?.split(' ').next());
    let names = names.filter(|name| !name.is_empty() && *name != "help");
    names.map(str::to_owned).collect()
}

#[tokio::test]
async fn the_page_of_error_codes_is_the_table_of_the_program() {
    let home = TempDir::new().unwrap();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors.md");
    let kept = std::fs::read_to_string(page).unwrap();
    let told = says(&home, &["codes"]).await.exits(0).stdout;
    let how = "write it anew: cargo run -p tollway -- codes > docs/errors.md";
    assert!(kept == told, "{how}");
    assert!(told.contains("| `budget_exceeded` |"));
}

#[tokio::test]
async fn a_code_is_explained_and_one_that_is_not_ours_is_said_to_be_so() {
    let home = TempDir::new().unwrap();
    let one = says(&home, &["codes", "budget_exceeded"]).await.exits(0);
    assert_eq!(one.stdout, "A limit on spending would be passed.\n");
    let all = says(&home, &["codes", "--json"]).await.exits(0).stdout;
    let codes = all.lines().map(|row| {
        let row: serde_json::Value = serde_json::from_str(row).unwrap();
        row["code"].as_str().unwrap().to_owned()
    });
    assert!(codes.collect::<BTreeSet<_>>().len() > 200);
    let none = says(&home, &["codes", "no_such_code"]).await.exits(2);
    assert!(none.stderr.contains("`tollway codes` lists them"));
}

#[tokio::test]
async fn every_command_has_a_manual_page_and_is_completed() {
    let home = TempDir::new().unwrap();
    let commands = commands(&home).await;
    assert!(commands.contains(&"facilitator".to_owned()), "{commands:?}");
    says(&home, &["man", "--output", "man"]).await.exits(0);
    for command in &commands {
        let page = home.path().join(format!("man/tollway-{command}.1"));
        let page = std::fs::read_to_string(page).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{command}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = says(&home, &["completions", shell]).await.exits(0).stdout;
        for command in &commands {
            assert!(script.contains(command.as_str()), "{shell}: {command}");
        }
    }
    let whole = says(&home, &["man"]).await.exits(0).stdout;
    assert!(whole.contains(".TH tollway 1"), "{whole}");
    says(&home, &["man", "--output", "/dev/null/man"])
        .await
        .exits(1);
    says(&home, &["completions", "csh"]).await.exits(2);
}
