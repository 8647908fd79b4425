//! The table of mistakes and of what noticed them, `docs/mistakes.md`.

use std::collections::BTreeMap;

use super::table::MISTAKES;

const HEAD: &str = "\
# Seeded mistakes

Bugs that are made on purpose, one at a time, and what notices each first: a test, by its package and name, or a promise
that the checker finds broken after the server was killed. `cargo xtask mistakes --write docs/mistakes.md` makes them all
and writes this table; a build without feature `seeded-mistakes` holds none of them.

| mistake | what goes wrong | noticed by |
|---|---|---|
";

/// The whole page. What was not tried now stays as it was written before.
pub fn page(before: &str, found: &BTreeMap<&str, String>) -> String {
    let old = noticed(before);
    let mut text = HEAD.to_owned();
    for mistake in MISTAKES {
        let by = found.get(mistake.name).or_else(|| old.get(mistake.name));
        let by = by.map_or("nothing", String::as_str);
        text.push_str(&format!(
            "| `{}` | {} | {by} |\n",
            mistake.name, mistake.what
        ));
    }
    text
}

/// The rows of a page: who noticed which.
fn noticed(page: &str) -> BTreeMap<&str, String> {
    let rows = page.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.strip_suffix(" |")?.split(" | ");
        let name = cells.next()?.strip_suffix('`')?;
        Some((name, cells.nth(1)?.to_owned()))
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build;

    #[test]
    fn every_mistake_is_on_the_page_with_what_noticed_it() {
        let page = std::fs::read_to_string(build::root().join("docs/mistakes.md")).unwrap();
        let noticed = noticed(&page);
        for mistake in MISTAKES {
            let by = noticed.get(mistake.name).map(String::as_str);
            assert!(by.is_some_and(|by| by != "nothing"), "{}", mistake.name);
        }
        assert_eq!(super::page(&page, &BTreeMap::new()), page);
    }

    #[test]
    fn what_is_tried_now_replaces_its_row_and_no_other() {
        let first = page("", &BTreeMap::from([("no_fsync", "a".to_owned())]));
        let second = page(&first, &BTreeMap::from([("two_grants", "b".to_owned())]));
        let rows = noticed(&second);
        assert_eq!(rows["no_fsync"], "a");
        assert_eq!(rows["two_grants"], "b");
        assert_eq!(rows["nonce_gap"], "nothing");
    }
}
