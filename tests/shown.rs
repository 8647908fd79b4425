//! The table of ways in the README names a test in each of its cells: each of them
//! is there.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.join("../..").canonicalize().unwrap()
}

/// All text of files with an ending below a folder.
fn texts(folder: &Path, ending: &str, into: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !["target", "node_modules"].contains(&name.as_str()) {
            texts(&path, ending, into);
        } else if name.ends_with(ending) {
            into.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// The names in backticks of the table's cells, after way and side.
fn named() -> Vec<String> {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let table = readme.split("looked for by tests/shown.rs").nth(1).unwrap();
    let rows = table.lines().skip_while(|line| !line.starts_with('|'));
    let rows = rows.take_while(|line| line.starts_with('|')).skip(2);
    let cells = rows.flat_map(|row| row.split('|').skip(3));
    let names = cells.filter_map(|cell| cell.trim().strip_prefix('`')?.strip_suffix('`'));
    names.map(str::to_owned).collect()
}

#[test]
fn each_way_in_the_readme_names_tests_that_are_there() {
    let (mut rust, mut cases) = (String::new(), String::new());
    for folder in ["crates", "tests"] {
        texts(&root().join(folder), ".rs", &mut rust);
    }
    texts(&root().join("interop/cases"), ".mjs", &mut cases);
    let is_there = |name: &str| {
        if name.contains('-') {
            // Some cases are made for other people's facilitator and for ours.
            let bare = name.strip_prefix("facilitator-").unwrap_or(name);
            let quoted = |name: &str| cases.contains(&format!("\"{name}\""));
            return quoted(name) || quoted(bare);
        }
        rust.contains(&format!("fn {name}("))
    };
    let names = named();
    assert!(names.len() > 30, "the table was not read: {names:?}");
    let missing: Vec<_> = names.iter().filter(|name| !is_there(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The pages that people and programs read.
fn pages() -> Vec<PathBuf> {
    let folders = ["", "docs", "interop", "bench", "examples"];
    let files = folders.iter().flat_map(|folder| {
        let entries = std::fs::read_dir(root().join(folder)).unwrap();
        entries.map(|entry| entry.unwrap().path())
    });
    let is_page = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "md");
    files.filter(is_page).collect()
}

/// Where the links of a page lead, as files; what is on the web is not looked at.
fn links(page: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(page).unwrap();
    let targets = text.split("](").skip(1);
    let targets = targets.filter_map(|rest| rest.split(')').next());
    let ours = targets.filter(|target| !target.contains("://") && !target.starts_with('#'));
    let folder = page.parent().unwrap();
    let file = |target: &str| folder.join(target.split('#').next().unwrap());
    ours.map(file).collect()
}

#[test]
fn every_link_leads_to_a_file_and_every_page_is_listed_for_programs() {
    let listed: Vec<PathBuf> = links(&root().join("llms.txt"));
    let listed: Vec<PathBuf> = listed.iter().map(|l| l.canonicalize().unwrap()).collect();
    for page in pages() {
        for link in links(&page) {
            assert!(link.exists(), "{}: {}", page.display(), link.display());
        }
        let page = page.canonicalize().unwrap();
        assert!(listed.contains(&page), "llms.txt lacks {}", page.display());
    }
}
