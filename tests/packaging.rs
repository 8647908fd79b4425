//! What is shipped to run the servers with is sound: unit files by systemd's own
//! word, the Dockerfile by its syntax. No container engine runs here, so no image is built.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(top().join(path)).unwrap()
}

/// `KEY=VALUE` lines of a unit file.
fn settings(unit: &str) -> Vec<(String, String)> {
    let lines = unit.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with(['#', '[']));
    let parted = lines.map(|line| line.split_once('=').unwrap_or_else(|| panic!("{line}")));
    parted
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn units_run_without_rights_and_reload_by_signal() {
    let here = TempDir::new().unwrap();
    for name in ["gate", "facilitator"] {
        let file = format!("tollway-{name}.service");
        let unit = read(&format!("packaging/{file}"));
        let settings = settings(&unit);
        let of = |key: &str| {
            let found = settings.iter().find(|(known, _)| known == key);
            found
                .unwrap_or_else(|| panic!("{file} has no {key}"))
                .1
                .clone()
        };
        assert_eq!(
            (of("DynamicUser"), of("NoNewPrivileges")),
            ("yes".into(), "yes".into())
        );
        assert_eq!(of("ExecReload"), "/bin/kill -HUP $MAINPID");
        assert!(of("ExecStart").contains(&format!("tollway {name} --config ")));
        assert!(of("LoadCredential").starts_with("signer.key:"));
        assert!(of("StateDirectory").starts_with("tollway"));
        // Where systemd is, it says whether it understands all of it.
        let program = env!("CARGO_BIN_EXE_tollway");
        let place = here.path().join(&file);
        std::fs::write(&place, unit.replace("/usr/local/bin/tollway", program)).unwrap();
        let asked = |args: &[&str]| {
            let ran = Command::new("systemd-analyze")
                .args(args)
                .arg(&place)
                .output();
            ran.ok().map(|done| {
                (
                    done.status.success(),
                    String::from_utf8_lossy(&done.stderr).into_owned(),
                )
            })
        };
        match asked(&["verify"]) {
            None => eprintln!("systemd-analyze is not here; {file} was read only"),
            Some((is_well, said)) => assert!(is_well && said.is_empty(), "{file}: {said}"),
        }
        if let Some((is_well, said)) = asked(&["security", "--offline=true", "--threshold=20"]) {
            assert!(is_well, "{file} is exposed more than 2.0: {said}");
        }
    }
}

/// A Dockerfile's instructions, continued lines joined.
fn instructions(text: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let mut line = String::new();
    for part in text.lines().map(str::trim).filter(|l| !l.starts_with('#')) {
        match part.strip_suffix('\\') {
            Some(begun) => line.push_str(begun),
            None if line.is_empty() && part.is_empty() => {}
            None => {
                line.push_str(part);
                let (word, rest) = line.split_once(' ').expect("an instruction and its words");
                all.push((word.to_owned(), rest.trim().to_owned()));
                line.clear();
            }
        }
    }
    assert!(line.is_empty(), "the last line goes on");
    all
}

#[test]
fn the_image_is_of_stages_and_runs_the_binary_as_nobody() {
    const KNOWN: [&str; 14] = [
        "FROM",
        "RUN",
        "CMD",
        "EXPOSE",
        "ENV",
        "COPY",
        "ENTRYPOINT",
        "VOLUME",
        "USER",
        "WORKDIR",
        "ARG",
        "STOPSIGNAL",
        "HEALTHCHECK",
        "LABEL",
    ];
    let all = instructions(&read("packaging/Dockerfile"));
    let mut stages = BTreeSet::new();
    for (word, rest) in &all {
        assert!(KNOWN.contains(&word.as_str()), "{word}");
        let words: Vec<&str> = rest.split_whitespace().collect();
        match word.as_str() {
            "FROM" => {
                assert!(
                    words[0].contains(':') && !words[0].ends_with(":latest"),
                    "{rest}"
                );
                if let [_, "AS", name] = words[..] {
                    stages.insert(name.to_owned());
                }
            }
            "COPY" => {
                let from = words.iter().find_map(|word| word.strip_prefix("--from="));
                assert!(from.is_none_or(|stage| stages.contains(stage)), "{rest}");
                assert!(words.len() >= 2, "{rest}");
            }
            "ENTRYPOINT" | "CMD" | "VOLUME" => {
                serde_json::from_str::<Vec<String>>(rest).unwrap_or_else(|e| panic!("{rest}: {e}"));
            }
            _ => {}
        }
    }
    let last = |wanted: &str| {
        all.iter()
            .rev()
            .find(|(word, _)| word == wanted)
            .unwrap()
            .1
            .clone()
    };
    let user: u32 = last("USER").split(':').next().unwrap().parse().unwrap();
    assert!(user > 0, "not root");
    let check = last("HEALTHCHECK");
    let (_, command) = check.split_once("CMD ").unwrap();
    let command: Vec<String> = serde_json::from_str(command).unwrap();
    assert_eq!(command, ["/usr/local/bin/tollway", "health"]);
    // What it calls is there.
    let help = Command::new(env!("CARGO_BIN_EXE_tollway"))
        .args(["health", "--help"])
        .output();
    assert!(help.unwrap().status.success());
    let version = read("Cargo.toml");
    let version = version
        .lines()
        .find_map(|l| l.strip_prefix("rust-version = \""))
        .unwrap();
    let base = &all.iter().find(|(word, _)| word == "FROM").unwrap().1;
    assert!(
        base.starts_with(&format!("rust:{}", version.trim_end_matches('"'))),
        "{base}"
    );
    // Nothing that must not be in an image is sent to whoever builds it.
    let ignored = read(".dockerignore");
    for needed in ["**/*.key", "**/*.db", "**/.env", "**/target"] {
        assert!(ignored.lines().any(|line| line == needed), "{needed}");
    }
}
