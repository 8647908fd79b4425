//! The servers under test, each a process of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command as AsyncCommand};

use crate::payments;

/// How a server is started.
pub struct Spec {
    /// Its name in the table.
    pub name: &'static str,
    /// Whether it is a facilitator, rather than a seller.
    pub settles: bool,
    program: PathBuf,
    arguments: fn(&str, &Path) -> Vec<String>,
}

/// Our gate, which sells passes and settles by itself, before a server that
/// answers every request.
pub fn pass_gate(root: &Path) -> Spec {
    Spec {
        name: "tollway",
        settles: false,
        program: root.join("target/release/tollway"),
        arguments: tollway_pass_gate,
    }
}

/// The same, which also sells single requests, by header and by transaction proof.
pub fn shop_gate(root: &Path) -> Spec {
    Spec {
        arguments: tollway_shop,
        ..pass_gate(root)
    }
}

/// Our facilitator with every way to pay, for the shop.
pub fn every_way(root: &Path) -> Spec {
    Spec {
        name: "tollway",
        settles: true,
        program: root.join("target/release/tollway"),
        arguments: tollway_every_way,
    }
}

/// The same, whose settling account calls as itself: permissions then share transactions.
pub fn self_calls(root: &Path) -> Spec {
    Spec {
        arguments: tollway_self_calls,
        ..every_way(root)
    }
}

impl Spec {
    /// All that were built.
    pub fn all(root: &Path) -> Vec<Self> {
        let tollway = root.join("target/release/tollway");
        let peers = root.join("bench/peers/target/release");
        let specs = vec![
            Self {
                name: "tollway",
                settles: true,
                program: tollway.clone(),
                arguments: tollway_facilitator,
            },
            Self {
                name: "x402-rs",
                settles: true,
                program: peers.join("x402_rs_facilitator"),
                arguments: plain,
            },
            Self {
                name: "r402",
                settles: true,
                program: peers.join("r402_facilitator"),
                arguments: plain,
            },
            Self {
                name: "official TypeScript",
                settles: true,
                program: "node".into(),
                arguments: typescript_facilitator,
            },
            Self {
                name: "tollway",
                settles: false,
                program: tollway,
                arguments: tollway_gate,
            },
            Self {
                name: "x402-rs",
                settles: false,
                program: peers.join("x402_axum_server"),
                arguments: plain,
            },
            Self {
                name: "official TypeScript",
                settles: false,
                program: "node".into(),
                arguments: typescript_seller,
            },
        ];
        let node = root.join("interop/node_modules/@x402/express").exists();
        specs
            .into_iter()
            .filter(|spec| node || spec.program != Path::new("node"))
            .collect()
    }
}

fn plain(url: &str, _: &Path) -> Vec<String> {
    vec!["127.0.0.1:0".into(), url.into(), payments::settling_key()]
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn key_file(scratch: &Path) -> String {
    use std::os::unix::fs::PermissionsExt;
    let path = scratch.join("signer.key");
    std::fs::write(&path, payments::settling_key()).expect("key file");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("mode");
    path.display().to_string()
}

fn tollway_facilitator(url: &str, scratch: &Path) -> Vec<String> {
    words(&format!(
        "facilitator --listen 127.0.0.1:0 --network eip155:84532={url} --signer-key-file {} --ledger sqlite:{}/ledger.db",
        key_file(scratch),
        scratch.display()
    ))
}

fn tollway_every_way(url: &str, scratch: &Path) -> Vec<String> {
    let mut arguments = tollway_facilitator(url, scratch);
    arguments.extend(["--open-upto".into(), "--settler-for".into()]);
    arguments.push(payments::shop().to_string());
    arguments
}

fn tollway_self_calls(url: &str, scratch: &Path) -> Vec<String> {
    let mut arguments = tollway_every_way(url, scratch);
    arguments.push("--self-calls".into());
    arguments
}

fn tollway_gate(url: &str, scratch: &Path) -> Vec<String> {
    let mut arguments = words(&format!(
        "gate --listen 127.0.0.1:0 --upstream http://127.0.0.1:9 --pay-to 0x70997970C51812dc3A010C7d01b50e0d17dc79C8 \
         --network eip155:84532 --facilitator {url} --ledger sqlite:{}/ledger.db --route",
        scratch.display()
    ));
    arguments.push("GET /paid/*=$0.01".into());
    arguments
}

/// `url`: the node's and, after a blank, that of the server behind.
fn tollway_pass_gate(url: &str, scratch: &Path) -> Vec<String> {
    let (node, upstream) = url.split_once(' ').expect("two URLs");
    let folder = scratch.display();
    let mut arguments = words(&format!(
        "gate --listen 127.0.0.1:0 --upstream {upstream} --pay-to {} --network eip155:84532={node} \
         --facilitator local --signer-key-file {} --ledger sqlite:{folder}/ledger.db \
         --token-key-file {folder}/token.keys --exposure 1000000 --exposure-per-payer 1000000 --route",
        payments::shop(),
        key_file(scratch),
    ));
    arguments.push("GET /paid/*=$0.01; pass=1h".into());
    arguments
}

/// The same, with a route for one request by header and one by transaction proof.
fn tollway_shop(url: &str, scratch: &Path) -> Vec<String> {
    let mut arguments = tollway_pass_gate(url, scratch);
    let keys = scratch.join("proof.keys").display().to_string();
    arguments.extend(["--proof-key-file".into(), keys]);
    for route in ["GET /once/*=$0.01", "GET /shown/*=$0.01; methods=txid"] {
        arguments.extend(["--route".into(), route.into()]);
    }
    arguments
}

fn typescript_facilitator(_: &str, _: &Path) -> Vec<String> {
    typescript("facilitator.mjs")
}

fn typescript_seller(_: &str, _: &Path) -> Vec<String> {
    typescript("express-v2.mjs")
}

fn typescript(script: &str) -> Vec<String> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../interop/servers");
    vec![root.join(script).display().to_string()]
}

/// What the interop servers read from their environment.
fn interop_options(url: &str) -> String {
    serde_json::json!({
        "rpcUrl": url, "facilitator": url, "chainId": 84532, "network": "eip155:84532", "secret": "sunny",
        "key": payments::settling_key(), "payTo": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8", "price": "$0.01",
    })
    .to_string()
}

/// Builds ours and the peers, in release.
pub fn build(root: &Path) {
    for (what, directory) in [
        ("tollway", root.to_path_buf()),
        ("the peers", root.join("bench/peers")),
    ] {
        eprintln!("building {what} …");
        let mut cargo = Command::new("cargo");
        cargo
            .args(["build", "--release", "--locked"])
            .current_dir(directory)
            .stdout(Stdio::null());
        if what == "tollway" {
            cargo.args(["-p", "tollway"]);
        }
        assert!(
            cargo.status().expect("cargo").success(),
            "{what} does not build"
        );
    }
}

/// A folder for this run, on the disk that the builds are on: a memory file
/// system would make every ledger look fast.
pub fn scratch(name: &str) -> PathBuf {
    let path = kept(&format!("run-{}", std::process::id())).join(name);
    std::fs::create_dir_all(&path).expect("scratch folder");
    path
}

/// A folder that outlives the run.
pub fn kept(name: &str) -> PathBuf {
    let target = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target");
    let path = target.join("bench").join(name);
    std::fs::create_dir_all(&path).expect("folder");
    path
}

/// Removes what this run left.
pub fn clean() {
    let _ = std::fs::remove_dir_all(kept(&format!("run-{}", std::process::id())));
}

/// A running server.
pub struct Server {
    /// Where it listens.
    pub url: String,
    /// From spawning to the line that says it is ready.
    pub ready_after: Duration,
    child: Child,
}

impl Server {
    /// Starts one against a node (a facilitator) or a facilitator (a seller),
    /// with a folder of its own.
    pub async fn start(spec: &Spec, url: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self::start_in(spec, url, &scratch(&format!("server-{count}"))).await
    }

    /// Starts one whose ledger is in this folder.
    pub async fn start_in(spec: &Spec, url: &str, folder: &Path) -> Self {
        let start = Instant::now();
        let mut child = AsyncCommand::new(&spec.program)
            .args((spec.arguments)(url, folder))
            .env("INTEROP", interop_options(url))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|e| panic!("{} does not start: {e}", spec.name));
        let stdout = child.stdout.take().expect("stdout");
        let mut lines = BufReader::new(stdout).lines();
        let url = loop {
            let line = lines
                .next_line()
                .await
                .expect("output")
                .unwrap_or_else(|| panic!("{} ended", spec.name));
            if let Some(url) = url_in(&line) {
                break url;
            }
        };
        let ready_after = start.elapsed();
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self {
            url,
            ready_after,
            child,
        }
    }

    /// CPU time so far, user and system.
    pub fn cpu(&self) -> Duration {
        // Fields 14 and 15 of proc(5) stat, in ticks of 10 ms, after the name in brackets.
        let stat = self.read("stat");
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let ticks: u64 = [11, 12]
            .iter()
            .filter_map(|at| fields.get(*at)?.parse::<u64>().ok())
            .sum();
        Duration::from_millis(ticks * 10)
    }

    /// Resident memory, bytes.
    pub fn memory(&self) -> u64 {
        let status = self.read("status");
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap_or_default();
        line.split_whitespace()
            .nth(1)
            .and_then(|kib| kib.parse::<u64>().ok())
            .unwrap_or(0)
            * 1024
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("pid")
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.pid())).expect("proc")
    }

    /// Ends it at once.
    pub async fn stop(mut self) {
        let _ = self.child.kill().await;
    }

    /// Asks it to end, and waits until it has.
    pub async fn end(mut self) {
        let pid = self.pid().to_string();
        let asked = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(asked.expect("kill").success(), "no process {pid}");
        self.child.wait().await.expect("end");
    }
}

/// The URL that a ready line says.
fn url_in(line: &str) -> Option<String> {
    let rest = &line[line.find("http://")?..];
    let end = rest.find(|c: char| c.is_whitespace() || c == '"');
    let url = &rest[..end.unwrap_or(rest.len())];
    Some(url.trim_end_matches('/').to_owned())
}
