//! What the page about Starknet says is tested, is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const PAGE: &str = include_str!("../../../docs/starknet.md");
/// Where the tests are that the page names.
const PLACES: [&str; 5] = [
    "crates/starknet/src",
    "crates/starknet/tests",
    "crates/payer/tests",
    "tests/starknet/tests",
    "tests/sessions.rs",
];

fn sources(at: &Path, into: &mut Vec<PathBuf>) {
    if at.is_file() {
        into.push(at.to_path_buf());
        return;
    }
    for entry in std::fs::read_dir(at).unwrap() {
        sources(&entry.unwrap().path(), into);
    }
}

/// The names of all tests in the places: functions below a line `#[…test…]`.
fn tests() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = Vec::new();
    for place in PLACES {
        sources(&root.join(place), &mut files);
    }
    let mut names = BTreeSet::new();
    for file in files
        .iter()
        .filter(|f| f.extension().is_some_and(|e| e == "rs"))
    {
        let text = std::fs::read_to_string(file).unwrap();
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            let name = line.trim_start_matches("async ").strip_prefix("fn ");
            if let (true, Some(name)) = (is_test, name) {
                names.insert(name.split('(').next().unwrap().to_owned());
            }
            is_test = line.starts_with("#[test") || line.starts_with("#[tokio::test");
        }
    }
    names
}

/// The rows of the table below a heading, each as its cells.
fn rows(heading: &str) -> Vec<Vec<&'static str>> {
    let (_, rest) = PAGE.split_once(heading).expect("the page has the heading");
    let section = rest.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| "));
    let cells = |row: &'static str| row.trim_matches('|').split('|').map(str::trim).collect();
    rows.skip(1).map(cells).collect()
}

#[test]
fn every_feature_and_every_attack_of_the_page_names_a_test_that_exists() {
    let tests = tests();
    let features = rows("## Every feature of the published SDK");
    let attacks = rows("## Attacks, and the test");
    assert_eq!(features.len(), 28);
    assert!(attacks.len() >= 14, "{}", attacks.len());
    for row in features.iter().chain(&attacks) {
        let named = row.last().unwrap();
        let known = named.strip_prefix('`').and_then(|n| n.strip_suffix('`'));
        let is_there = known.is_some_and(|name| tests.contains(name));
        assert!(is_there || *named == "–", "{row:?}");
    }
    let untested = features.iter().filter(|row| *row.last().unwrap() == "–");
    assert_eq!(untested.count(), 1);
}
