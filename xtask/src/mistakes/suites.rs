//! Running the suites that must notice a mistake.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tollway_sweep::plan::Chance;
use tollway_sweep::{Death, Plan, Scene, Setup, Tools, play};

use super::table::Mistake;
use super::table::Suite::{Sweep, Tests};
use crate::build;

/// How long one suite may run; a hang counts as noticed.
const PATIENCE: Duration = Duration::from_secs(300);
/// Rounds of the sweep that a mistake may survive.
const ROUNDS: u64 = 12;

/// A test program.
pub struct Program {
    package: String,
    executable: PathBuf,
    folder: PathBuf,
}

/// Builds the test programs of all suites once.
pub async fn programs(chosen: &[&Mistake]) -> Result<Vec<Program>, String> {
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
pub async fn control(chosen: &[&Mistake], programs: &[Program]) -> Vec<String> {
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
pub async fn caught(
    mistake: &Mistake,
    programs: &[Program],
    tools: Option<&Tools>,
) -> Result<Option<String>, String> {
    for suite in mistake.caught_by {
        let by = match suite {
            Tests(package, filter) => {
                let failed = failing(programs, package, filter, Some(mistake.name)).await;
                failed.into_iter().next()
            }
            Sweep(place) => {
                let tools = tools.ok_or("there is no server to kill")?;
                swept(mistake.name, *place, tools).await?
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_tests_are_read_from_what_a_test_program_says() {
        let said = "test one ... ok\ntest a::two ... FAILED\n\nfailures:\n    a::two\n";
        assert_eq!(named("p", said), ["p: a::two"]);
        assert_eq!(named("p", "boom"), ["p: ends without a word"]);
    }
}
