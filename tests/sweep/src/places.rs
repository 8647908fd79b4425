//! Every place where the binary can be made to die, read from the sources: a
//! new one is swept without anybody thinking of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::Failure;

/// Sources of what settles and serves. The payer's places are its own stories'.
const ROOMS: [&str; 3] = [
    "crates/ledger/src",
    "crates/facilitator/src",
    "crates/gate/src",
];
/// Files that are no part of a server.
const NOT_SERVED: [&str; 3] = ["tests.rs", "spends.rs", "spend_steps.rs"];
/// How names of places begin.
const FAMILIES: [&str; 3] = ["saga::", "ledger::", "grant::"];

/// Reads all names from the workspace at `root`, sorted.
///
/// # Errors
/// If the sources cannot be read, or hold no place.
pub fn all(root: &Path) -> Result<Vec<String>, Failure> {
    let mut found = BTreeSet::new();
    for room in ROOMS {
        walk(&root.join(room), &mut found)?;
    }
    match found.is_empty() {
        true => Err("no place to crash at was found in the sources".into()),
        false => Ok(found.into_iter().collect()),
    }
}

fn walk(folder: &Path, found: &mut BTreeSet<String>) -> Result<(), Failure> {
    let failed = |e: std::io::Error| format!("{}: {e}", folder.display());
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() && name != "tests" {
            walk(&path, found)?;
        } else if name.ends_with(".rs") && !NOT_SERVED.contains(&name.as_str()) {
            let text = fs::read_to_string(&path).map_err(failed)?;
            collect(&text, found);
        }
    }
    Ok(())
}

/// Names that are written out, and those that the macros of the rooms make.
fn collect(text: &str, found: &mut BTreeSet<String>) {
    for literal in literals(text) {
        let is_place = FAMILIES.iter().any(|family| literal.starts_with(family))
            && literal
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_:".contains(c))
            && literal.split("::").count() >= 3 - usize::from(literal.starts_with("ledger::"))
            && !literal.ends_with("::");
        if is_place {
            found.insert(literal.to_owned());
        }
    }
    for (opening, family) in [("step_name!(", "saga"), ("durably!(", "grant")] {
        for rest in text.split(opening).skip(1) {
            if let Some(step) = first_literal(rest) {
                both(family, step, found);
            }
        }
    }
    let table = text
        .split("\nwrites! {")
        .nth(1)
        .and_then(|rest| rest.split('}').next());
    for step in table.into_iter().flat_map(literals) {
        both("saga", step, found);
    }
}

fn both(family: &str, step: &str, found: &mut BTreeSet<String>) {
    for side in ["before_write", "after_write"] {
        found.insert(format!("{family}::{step}::{side}"));
    }
}

/// The text literal that a macro's arguments begin with.
fn first_literal(text: &str) -> Option<&str> {
    let text = text.trim_start().strip_prefix('"')?;
    text.split('"').next()
}

fn literals(text: &str) -> impl Iterator<Item = &str> {
    let code = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| line.split('"').skip(1).step_by(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_place_is_found() {
        let text = r#"
            crash::point("saga::submitted::before_send");
            // crash::point("saga::only::said");
            fail_point!("ledger::commit::before", |_| Err(fatal("a {}")));
            let kept = durably!(
                "remembered",
                gate.write());
            self.write(step_name!("accept"), move |step| {});
            concat!("saga::", $state, "::before_write");
writes! {
    SETTLED = "settled",
}
"#;
        let mut found = BTreeSet::new();
        collect(text, &mut found);
        let found: Vec<_> = found.iter().map(String::as_str).collect();
        assert_eq!(
            found,
            [
                "grant::remembered::after_write",
                "grant::remembered::before_write",
                "ledger::commit::before",
                "saga::accept::after_write",
                "saga::accept::before_write",
                "saga::settled::after_write",
                "saga::settled::before_write",
                "saga::submitted::before_send",
            ]
        );
    }

    #[test]
    fn the_sources_have_places_around_every_durable_step() {
        let all = all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).unwrap();
        for known in [
            "ledger::commit::before",
            "ledger::commit::after",
            "saga::accepted::before_write",
            "saga::submitted::after_write",
            "saga::submitted::before_send",
            "saga::submitted::after_send",
            "saga::store_raw::after_write",
            "grant::claimed::after_write",
        ] {
            assert!(all.contains(&known.to_owned()), "{known} of {all:?}");
        }
    }
}
