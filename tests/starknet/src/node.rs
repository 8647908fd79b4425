//! A starknet-devnet of one's own, with accounts of our class.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tollway_rpc::{RpcClient, RpcConfig};

const ARTIFACT: &str = include_str!("../../../contracts/cairo/artifacts/Account.json");

/// The committed artifact of our account.
pub fn artifact() -> Value {
    serde_json::from_str(ARTIFACT).unwrap()
}

/// Most nodes that run at once on a machine, whoever started them: each takes a
/// quarter of a gigabyte.
const MOST: usize = 4;

pub struct Node {
    child: Child,
    _turn: File,
    pub url: String,
    pub rpc: RpcClient,
    _class: tempfile::NamedTempFile,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One of the accounts that the node begins with.
#[derive(Clone)]
pub struct Funded {
    pub address: String,
    pub key: String,
}

/// Where the build script puts the program, unless told otherwise.
fn place() -> PathBuf {
    let told = std::env::var_os("STARKNET_DEVNET").map(PathBuf::from);
    let built = || {
        let home = std::env::var_os("HOME").unwrap();
        PathBuf::from(home).join(".cache/tollway/starknet-devnet-0.10.1/bin/starknet-devnet")
    };
    told.unwrap_or_else(built)
}

/// Whether the program is there.
pub fn is_built() -> bool {
    place().exists()
}

fn program() -> PathBuf {
    let path = place();
    assert!(
        path.exists(),
        "{} is missing: run tests/starknet/build-node.sh",
        path.display()
    );
    path
}

/// Waits until one more may run. It is given back when the file is closed, also by
/// the end of the process.
async fn turn() -> File {
    let file = |n: usize| {
        let name = format!("tollway-starknet-node-{n}.lock");
        let path = std::env::temp_dir().join(name);
        let open = File::options().create(true).append(true).open(&path);
        open.unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    loop {
        if let Some(free) = (0..MOST).map(file).find(|file| file.try_lock().is_ok()) {
            return free;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

impl Node {
    /// A node whose accounts are of our class. A test has one at a time.
    pub async fn start() -> Self {
        let turn = turn().await;
        let mut class = artifact()["class"].take();
        // The node wants it as the compiler writes it.
        class["abi"] = serde_json::from_str(class["abi"].as_str().unwrap()).unwrap();
        class["sierra_program_debug_info"] =
            json!({"type_names": [], "libfunc_names": [], "user_func_names": []});
        let file = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
        serde_json::to_writer(&file, &class).unwrap();
        let mut child = Command::new(program())
            .args(["--seed", "0", "--accounts", "3", "--port", "0"])
            .args(["--state-archive-capacity", "full"])
            .arg("--account-class-custom")
            .arg(file.path())
            .env("RUST_LOG", "info")
            .env("NO_COLOR", "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let url = url_of(&mut child);
        let mut config = RpcConfig::new(vec![url.parse().unwrap()]);
        config.timeout = std::time::Duration::from_secs(60);
        config.hedge = std::time::Duration::from_secs(30);
        Self {
            child,
            _turn: turn,
            url,
            rpc: RpcClient::new(config).unwrap(),
            _class: file,
        }
    }

    pub async fn ask(&self, method: &'static str, params: Value) -> Value {
        self.rpc
            .call(method, params)
            .await
            .unwrap_or_else(|e| panic!("{method}: {e}"))
    }

    pub async fn accounts(&self) -> Vec<Funded> {
        let all = self.ask("devnet_getPredeployedAccounts", json!({})).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let funded = |one: &Value| Funded {
            address: text(&one["address"]),
            key: text(&one["private_key"]),
        };
        all.as_array().unwrap().iter().map(funded).collect()
    }

    /// STRK for somebody.
    pub async fn mint(&self, address: &str, fri: u64) {
        let params = json!({"address": address, "amount": fri, "unit": "FRI"});
        self.ask("devnet_mint", params).await;
    }

    /// The chain's time goes on, in a block of its own.
    pub async fn pass(&self, secs: u64) {
        self.ask("devnet_increaseTime", json!({"time": secs})).await;
    }
}

/// The port is chosen by the system and told in the log.
fn url_of(child: &mut Child) -> String {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let told = lines.find_map(|line| {
        let line = line.unwrap();
        let (_, address) = line.split_once("listening on ")?;
        let address = address.split_whitespace().next()?;
        Some(format!("http://{}", address.trim_start_matches("http://")))
    });
    // Whoever writes to a pipe that nobody reads waits.
    std::thread::spawn(move || lines.for_each(drop));
    told.expect("the node did not say where it listens")
}
