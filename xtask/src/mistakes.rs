//! `cargo xtask mistakes`: every deliberate bug, and the test that catches it.
//!
//! The tests are built once with feature `seeded-mistakes`; then each mistake
//! is switched on by `TOLLWAY_MISTAKE` and the suites that must notice it run,
//! up to the first that fails. Without a mistake the same suites pass: that is
//! checked first.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::Command;
use tollway_sweep::plan::Chance;
use tollway_sweep::{Death, Plan, Scene, Setup, Tools, play};

use crate::build;

/// How long one suite may run; a hang counts as noticed.
const PATIENCE: Duration = Duration::from_secs(300);
/// Rounds of the sweep that a mistake may survive.
const ROUNDS: u64 = 12;

/// How the mistakes are tried.
#[derive(clap::Args)]
pub struct Arguments {
    /// Only mistakes whose name holds this.
    #[arg(long)]
    only: Option<String>,
    /// Writes the table to this file too.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

/// What must notice a mistake.
#[derive(Clone, Copy, Debug)]
enum Suite {
    /// A package's tests whose names hold a text.
    Tests(&'static str, &'static str),
    /// Rounds of the crash sweep that die at this place, or by chance.
    Sweep(Option<&'static str>),
}

use Suite::{Sweep, Tests};

const LEDGER: Suite = Tests("tollway-ledger", "");
const ENGINE: Suite = Tests("tollway-facilitator", "");
const EVM: Suite = Tests("tollway-evm", "");
const GATE: Suite = Tests("tollway-gate", "");
const PAYER: Suite = Tests("tollway-payer", "");
const STORIES: Suite = Tests("tollway", "front_runner");
const POWER: Suite = Tests("tollway-test-faultvfs", "");

/// A deliberate bug.
struct Mistake {
    name: &'static str,
    what: &'static str,
    caught_by: &'static [Suite],
}

macro_rules! mistakes {
    ($($name:literal, $what:literal, [$($suite:expr),*];)*) => {
        const MISTAKES: &[Mistake] = &[$(Mistake { name: $name, what: $what, caught_by: &[$($suite),*] }),*];
    };
}

mistakes! {
    "no_fsync", "commits are not synced to disk", [POWER];
    "answer_before_commit", "a write is answered before it is durable", [LEDGER, Sweep(Some("ledger::commit::before"))];
    "dedupe_by_bytes", "payments are told apart by their bytes", [LEDGER, ENGINE];
    "two_grants", "a claim looks first and then takes", [LEDGER, GATE];
    "budget_check_then_act", "a budget counts what was paid, not what is reserved", [LEDGER, PAYER];
    "success_twice", "success is handed out to everybody who asks", [LEDGER, ENGINE];
    "stale_epoch_accepted", "a replica that lost its lease may still sign", [LEDGER];
    "nonce_gap", "a nonce is left out now and then", [LEDGER, ENGINE, Sweep(None)];
    "hash_not_stored", "the hash of a replacement is not kept", [LEDGER, ENGINE];
    "story_not_chained", "an event does not hold the hash of the one before", [LEDGER, Sweep(None)];
    "new_signature_on_retry", "a repeated call signs anew", [LEDGER, PAYER];
    "send_before_store", "a transaction leaves before it is durable", [ENGINE, Sweep(Some("saga::submitted::before_write"))];
    "second_nonce_while_first_can_land", "a stuck payment is signed under another nonce", [ENGINE];
    "refused_on_timeout", "a send without an answer counts as failed", [ENGINE];
    "success_on_send", "a transaction that was sent counts as settled", [ENGINE];
    "paid_by_stranger_denied", "a payment that somebody else submitted is refused", [ENGINE, STORIES];
    "expired_by_own_clock", "a payment expires by our clock alone", [ENGINE];
    "pending_without_hash", "pending does not name the transaction", [ENGINE, Sweep(None)];
    "reorg_ignored", "replaced blocks are not noticed", [ENGINE];
    "verify_commits", "a verification takes the payment", [ENGINE];
    "recovery_forgets_signed", "what was signed before a crash is not taken up again", [ENGINE, Sweep(Some("saga::submitted::after_write"))];
    "status_ignored", "a reverted transaction counts", [EVM];
    "logs_ignored", "a receipt counts whatever moved", [EVM];
    "finality_ignored", "the first block is deep enough", [EVM];
    "underpay_passes", "less than the price passes", [EVM];
    "window_ignored", "an authorization's times are not looked at", [EVM];
    "fee_not_raised", "a replacement offers what was offered before", [EVM];
    "nonce_too_low_is_failure", "a used nonce counts as a failed payment", [EVM, ENGINE];
    "domain_from_server", "the server says which token is signed for", [EVM, PAYER];
    "release_before_settle", "the answer leaves before the money moved", [GATE];
    "any_status_trusted", "a facilitator's 200 counts as paid", [GATE];
    "get_only", "only GET costs anything", [GATE];
    "raw_path_gate", "a path is matched as it is spelled", [GATE];
    "public_cache", "paid answers may be kept by shared caches", [GATE];
    "repeat_gets_goods", "a payment shown again buys again", [GATE];
    "budget_freed_when_unclear", "money is given back when nobody knows", [PAYER];
}

/// A test program.
struct Program {
    package: String,
    executable: PathBuf,
    folder: PathBuf,
}

/// Tries them; whether all were caught.
pub async fn run(arguments: &Arguments) -> Result<bool, String> {
    let wanted = |mistake: &&Mistake| {
        let only = arguments.only.as_deref();
        only.is_none_or(|only| mistake.name.contains(only))
    };
    let chosen: Vec<&Mistake> = MISTAKES.iter().filter(wanted).collect();
    let programs = programs(&chosen).await?;
    let folder = build::root().join("target/xtask");
    std::fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
    let tools = build::mistaken_tools(&folder).await?;
    let control = control(&chosen, &programs).await;
    if !control.is_empty() {
        return Err(format!(
            "these fail without any mistake: {}",
            control.join(", ")
        ));
    }
    let mut rows = Vec::new();
    for mistake in chosen {
        let began = Instant::now();
        let caught = caught(mistake, &programs, &tools).await?;
        let by = caught.clone().unwrap_or_else(|| "NOTHING".to_owned());
        println!("{:<36} {by} ({:?})", mistake.name, began.elapsed());
        rows.push((mistake, caught));
    }
    if let Some(path) = &arguments.write {
        std::fs::write(path, document(&rows)).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    let missed = rows.iter().filter(|(_, caught)| caught.is_none()).count();
    println!("{} mistakes, {missed} not caught", rows.len());
    Ok(missed == 0)
}

/// Builds the test programs of all suites once.
async fn programs(chosen: &[&Mistake]) -> Result<Vec<Program>, String> {
    let suites = chosen.iter().flat_map(|mistake| mistake.caught_by);
    let mut packages: Vec<&str> = suites
        .filter_map(|suite| match suite {
            Tests(package, _) => Some(*package),
            Sweep(_) => None,
        })
        .collect();
    packages.push("tollway-core");
    packages.sort_unstable();
    packages.dedup();
    let mut words = vec![
        "test",
        "--no-run",
        "--features",
        "tollway-core/seeded-mistakes",
    ];
    for package in packages {
        words.extend(["--package", package]);
    }
    let mut found = Vec::new();
    for message in build::messages(&words).await? {
        let is_test = message["profile"]["test"] == true;
        let Some(executable) = message["executable"].as_str().filter(|_| is_test) else {
            continue;
        };
        let manifest = PathBuf::from(message["manifest_path"].as_str().unwrap_or_default());
        let folder = manifest.parent().unwrap_or(Path::new(".")).to_owned();
        let manifest = std::fs::read_to_string(&manifest).map_err(|e| e.to_string())?;
        found.push(Program {
            package: package_name(&manifest),
            executable: executable.into(),
            folder,
        });
    }
    Ok(found)
}

fn package_name(manifest: &str) -> String {
    let line = manifest.lines().find(|line| line.starts_with("name = "));
    let name = line.and_then(|line| line.split('"').nth(1));
    name.unwrap_or_default().to_owned()
}

/// Tests that fail although no mistake is made.
async fn control(chosen: &[&Mistake], programs: &[Program]) -> Vec<String> {
    let mut suites: BTreeMap<(&str, &str), ()> = BTreeMap::new();
    for suite in chosen.iter().flat_map(|mistake| mistake.caught_by) {
        if let Tests(package, filter) = suite {
            suites.insert((package, filter), ());
        }
    }
    let mut failed = Vec::new();
    for (package, filter) in suites.into_keys() {
        failed.extend(failing(programs, package, filter, None).await);
    }
    failed
}

/// What noticed a mistake first.
async fn caught(
    mistake: &Mistake,
    programs: &[Program],
    tools: &Tools,
) -> Result<Option<String>, String> {
    for suite in mistake.caught_by {
        let by = match suite {
            Tests(package, filter) => {
                let failed = failing(programs, package, filter, Some(mistake.name)).await;
                failed.into_iter().next()
            }
            Sweep(place) => swept(mistake.name, *place, tools).await?,
        };
        if by.is_some() {
            return Ok(by);
        }
    }
    Ok(None)
}

/// The tests of a package that fail; one program after the other, up to the
/// first with a failure.
async fn failing(
    programs: &[Program],
    package: &str,
    filter: &str,
    mistake: Option<&str>,
) -> Vec<String> {
    for program in programs.iter().filter(|program| program.package == package) {
        let mut command = Command::new(&program.executable);
        command
            .current_dir(&program.folder)
            .env("CARGO_MANIFEST_DIR", &program.folder)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        if !filter.is_empty() {
            command.arg(filter);
        }
        match mistake {
            Some(mistake) => command.env("TOLLWAY_MISTAKE", mistake),
            None => command.env_remove("TOLLWAY_MISTAKE"),
        };
        let ran = tokio::time::timeout(PATIENCE, command.output()).await;
        let failed = match ran {
            Err(_) => vec![format!("{package}: hangs")],
            Ok(Err(error)) => vec![format!("{package}: {error}")],
            Ok(Ok(output)) if output.status.success() => Vec::new(),
            Ok(Ok(output)) => named(package, &String::from_utf8_lossy(&output.stdout)),
        };
        if !failed.is_empty() {
            return failed;
        }
    }
    Vec::new()
}

/// The failed tests' names, as the test program lists them.
fn named(package: &str, said: &str) -> Vec<String> {
    let failed = said.lines().filter_map(|line| {
        let name = line.strip_prefix("test ")?.strip_suffix("FAILED")?;
        let name = name.trim_end().trim_end_matches("...").trim_end();
        Some(format!("{package}: {name}"))
    });
    let failed: Vec<String> = failed.collect();
    match failed.is_empty() {
        true => vec![format!("{package}: ends without a word")],
        false => failed,
    }
}

/// The first promise that the checker finds broken.
async fn swept(
    mistake: &str,
    place: Option<&str>,
    tools: &Tools,
) -> Result<Option<String>, String> {
    let tools = Tools {
        mistake: Some(mistake.to_owned()),
        ..tools.clone()
    };
    let mut chance = Chance::new(1);
    for n in 0..ROUNDS {
        let death = match place {
            Some(place) => Death::At {
                place: place.to_owned(),
                hit: u32::try_from(n + 1).unwrap_or(1),
            },
            None => Death::After(chance.millis(50, 1_500)),
        };
        let plan = Plan {
            seed: chance.any(),
            setup: Setup::Facilitator,
            scene: Scene::Busy,
            death,
            deaths: 1,
        };
        let found = play(&tools, &plan).await?.violations;
        if let Some(first) = found.first() {
            let promise = first.split(':').next().unwrap_or_default();
            return Ok(Some(format!("the crash sweep: {promise}")));
        }
    }
    Ok(None)
}

fn document(rows: &[(&Mistake, Option<String>)]) -> String {
    let mut text = String::from(
        "# Seeded mistakes\n\nBugs that are made on purpose, one at a time, and the test that notices each first.\n`cargo xtask mistakes` makes them all; a build without feature `seeded-mistakes` holds none.\n\n| mistake | what goes wrong | noticed by |\n|---|---|---|\n",
    );
    for (mistake, caught) in rows {
        let by = caught.as_deref().unwrap_or("nothing");
        text.push_str(&format!(
            "| `{}` | {} | {by} |\n",
            mistake.name, mistake.what
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_has_a_name_of_its_own_and_somebody_to_catch_it() {
        let mut names: Vec<_> = MISTAKES.iter().map(|mistake| mistake.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), MISTAKES.len());
        assert!(names.len() >= 20);
        assert!(MISTAKES.iter().all(|mistake| !mistake.caught_by.is_empty()));
    }

    #[test]
    fn failed_tests_are_read_from_what_a_test_program_says() {
        let said = "test one ... ok\ntest a::two ... FAILED\n\nfailures:\n    a::two\n";
        assert_eq!(named("p", said), ["p: a::two"]);
        assert_eq!(named("p", "boom"), ["p: ends without a word"]);
    }
}
