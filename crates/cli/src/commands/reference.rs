//! What the program says of itself, for programs and for pages: error codes,
//! completions, manual pages.

use std::io::{self, Write};
use std::path::Path;

use clap::CommandFactory as _;
use serde_json::json;
use tollway_core::codes;

use crate::cli::{Cli, CodesArgs, CompletionsArgs, ManArgs};
use crate::exit::{Exit, Failure};

/// `tollway codes`
pub fn codes(args: &CodesArgs) -> Result<Exit, Failure> {
    let said = match &args.code {
        Some(code) => one(code, args.json)?,
        None if args.json => all_as_json(),
        None => all_as_markdown(),
    };
    write(|out| out.write_all(said.as_bytes()))
}

/// `tollway completions`
pub fn completions(args: &CompletionsArgs) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "tollway", &mut script);
    write(|out| out.write_all(&script))
}

/// `tollway man`
pub fn man(args: &ManArgs) -> Result<Exit, Failure> {
    let Some(folder) = &args.output else {
        return write(|out| clap_mangen::Man::new(Cli::command()).render(out));
    };
    let pages = std::fs::create_dir_all(folder).and_then(|()| pages(folder));
    pages.map_err(|error| {
        Failure::new(format!(
            "The pages cannot be written to {}: {error}; name a folder that can be written.",
            folder.display()
        ))
    })?;
    Ok(Exit::Done)
}

/// A page for the program and one for each of its commands, `tollway-gate.1` and so on.
fn pages(folder: &Path) -> io::Result<()> {
    clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), folder)
}

/// A reader that has seen enough is no error.
fn write(what: impl FnOnce(&mut io::StdoutLock<'_>) -> io::Result<()>) -> Result<Exit, Failure> {
    let mut out = io::stdout().lock();
    match what(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(format!(
            "It cannot be written: {error}; make room for it."
        ))),
        _ => Ok(Exit::Done),
    }
}

fn one(code: &str, is_json: bool) -> Result<String, Failure> {
    let sentence = codes::sentence(code).ok_or_else(|| {
        Failure::usage(format!(
            "`{code}` is no code of ours; `tollway codes` lists them, and a server may send its own."
        ))
    })?;
    Ok(match is_json {
        true => format!("{}\n", json!({"code": code, "sentence": sentence})),
        false => format!("{sentence}\n"),
    })
}

fn all_as_json() -> String {
    let rows = codes::groups().iter().flat_map(|(group, table)| {
        let row = move |(code, sentence): &(&str, &str)| {
            json!({"code": code, "sentence": sentence, "group": group})
        };
        table.iter().map(row)
    });
    rows.map(|row| format!("{row}\n")).collect()
}

fn all_as_markdown() -> String {
    let mut page = String::from(
        "# Error codes\n\nA code is for programs: it never changes and never carries text. The message that comes with it is \
         for people, and ends with what to do.\nServers and facilitators of others may send codes of their own.\n",
    );
    for (group, table) in codes::groups() {
        page.push_str(&format!("\n## {group}\n\n| code | meaning |\n|---|---|\n"));
        for (code, sentence) in *table {
            page.push_str(&format!(
                "| `{code}` | {} |\n",
                sentence.replace('|', "\\|")
            ));
        }
    }
    page
}
