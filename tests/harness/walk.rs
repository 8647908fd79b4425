//! Runs what a page of the documentation says, as somebody who types it would: in one
//! shell, in an empty folder, from the first command to the last.

use std::path::Path;

use super::program::{Finished, dressed, run};

/// The blocks that follow it are run.
const MARK: &str = "<!-- run by a test -->";

/// The ports that pages name; each stands for a free one.
const PORTS: [u16; 6] = [3000, 4020, 4021, 4022, 4031, 8545];

/// Who serves at which port, unless its command says another.
const SERVERS: [(&str, u16); 5] = [
    ("http.server", 3000),
    ("tollway devnet", 8545),
    ("tollway gate", 4021),
    ("tollway facilitator", 4020),
    ("tollway mcp-gate", 4031),
];

/// What the commands stand in: ports are free ones, and whoever serves in the background is
/// waited for.
const STAGE: &str = r#"set -euo pipefail
trap 'kill $(jobs -p) 2>/dev/null' EXIT
tollway() {
  if [ "$1" = devnet ]; then shift; set -- devnet --listen "127.0.0.1:$P8545" "$@"; fi
  if [ "$BASHPID" != "$$" ]; then exec "$BINARY" "$@"; fi
  "$BINARY" "$@" || return $?
  if [ "$1" = init ]; then sed -i "$PORTS" tollway.toml; fi
}
open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
wait_for() { for _ in $(seq 200); do open "$1" && return; sleep 0.1; done; echo "nobody at $1"; exit 1; }
"#;

/// The commands of a page that are run, with their continued lines.
pub fn commands(page: &str) -> Vec<String> {
    let blocks = page.split(MARK).skip(1);
    let blocks = blocks.filter_map(|rest| rest.split_once("```console\n")?.1.split_once("```"));
    let mut all: Vec<String> = Vec::new();
    for line in blocks.flat_map(|(block, _)| block.lines()) {
        match (line.strip_prefix("$ "), all.last_mut()) {
            (Some(command), _) => all.push(command.to_owned()),
            (None, Some(last)) if last.ends_with('\\') => {
                last.pop();
                last.push_str(line.trim());
            }
            _ => {}
        }
    }
    all
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Reads a page below `docs/`.
pub fn page(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::read_to_string(root.join(name)).unwrap()
}

/// Runs the commands of a page; other texts take the place of what it names.
pub async fn walk(page: &str, instead: &[(&str, &str)]) -> Finished {
    let commands = commands(page);
    assert!(commands.len() >= 4, "{commands:?}");
    let ports: Vec<(u16, u16)> = PORTS.iter().map(|port| (*port, free_port())).collect();
    let mut script = STAGE.to_owned();
    for command in &commands {
        let server = SERVERS.iter().find(|(what, _)| command.contains(what));
        let own = PORTS
            .iter()
            .find(|port| command.contains(&format!("--listen 127.0.0.1:{port}")));
        let mut text = command.clone();
        for (port, free) in &ports {
            text = text.replace(&format!(":{port}"), &format!(":{free}"));
            let serve = format!("http.server {port}");
            text = text.replace(&serve, &format!("http.server {free}"));
        }
        for (named, stands) in instead {
            text = text.replace(named, stands);
        }
        script.push_str(&format!("echo '$ {}'\n{text}\n", text.replace('\'', "")));
        if let (Some((_, usual)), true) = (server, text.trim_end().ends_with('&')) {
            let port = own.unwrap_or(usual);
            let free = ports.iter().find(|(named, _)| named == port).unwrap().1;
            script.push_str(&format!("wait_for {free}\n"));
        }
    }
    let home = tempfile::TempDir::with_prefix("tollway-story-").unwrap();
    let mut bash = tokio::process::Command::new("bash");
    dressed(&mut bash, home.path());
    bash.arg("-c").arg(script);
    bash.env("BINARY", env!("CARGO_BIN_EXE_tollway"));
    for (port, free) in &ports {
        bash.env(format!("P{port}"), free.to_string());
    }
    let changed = ports
        .iter()
        .map(|(port, free)| format!("s/:{port}/:{free}/;"));
    bash.env("PORTS", changed.collect::<String>());
    run(bash).await
}
