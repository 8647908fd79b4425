//! `cargo xtask mistakes`: every deliberate bug, and the test that catches it.
//!
//! The tests are built once with feature `seeded-mistakes`; then each mistake
//! is switched on by `TOLLWAY_MISTAKE` and the suites that must notice it run,
//! up to the first that fails. Without a mistake the same suites pass: that is
//! checked first.

mod document;
mod suites;
mod table;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use self::suites::{caught, control, programs};
use self::table::{MISTAKES, Mistake};
use crate::build;

/// How the mistakes are tried.
#[derive(clap::Args)]
pub struct Arguments {
    /// Only mistakes whose name holds one of these.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Writes the table to this file too; what was not tried stays as it is there.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

/// Tries them; whether all were caught.
pub async fn run(arguments: &Arguments) -> Result<bool, String> {
    let wanted = |mistake: &&Mistake| {
        let only = &arguments.only;
        only.is_empty() || only.iter().any(|only| mistake.name.contains(only.as_str()))
    };
    let chosen: Vec<&Mistake> = MISTAKES.iter().filter(wanted).collect();
    let programs = programs(&chosen).await?;
    let folder = build::root().join("target/xtask");
    std::fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
    let tools = match chosen.iter().any(|mistake| mistake.needs_a_server()) {
        true => Some(build::mistaken_tools(&folder).await?),
        false => None,
    };
    let control = control(&chosen, &programs).await;
    if !control.is_empty() {
        return Err(format!(
            "these fail without any mistake: {}",
            control.join(", ")
        ));
    }
    let mut found = BTreeMap::new();
    let mut missed = 0;
    for mistake in &chosen {
        let began = Instant::now();
        let caught = caught(mistake, &programs, tools.as_ref()).await?;
        missed += usize::from(caught.is_none());
        let by = caught.unwrap_or_else(|| "nothing".to_owned());
        println!("{:<36} {by} ({:?})", mistake.name, began.elapsed());
        found.insert(mistake.name, by);
        if let Some(path) = &arguments.write {
            let before = std::fs::read_to_string(path).unwrap_or_default();
            std::fs::write(path, document::page(&before, &found))
                .map_err(|e| format!("{}: {e}", path.display()))?;
        }
    }
    println!("{} mistakes, {missed} not caught", chosen.len());
    Ok(missed == 0)
}
