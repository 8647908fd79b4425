//! Contracts of others that ways to pay rest on, from the packages that
//! `interop/` installs: Uniswap's Permit2 and MetaMask's Delegation Framework.

use std::path::Path;
use std::process::{Command, Stdio};

use alloy_primitives::{Address, Bytes, hex};
use serde::Deserialize;
use serde_json::json;
use tollway_devnet::{Contract, Devnet, EXACT_PROXY, PERMIT2};

use crate::usdc::SYSTEM;

/// Gas of running a contract's creation code.
const CREATION_GAS: &str = "0x17d7840";

/// Their code.
#[derive(Deserialize)]
pub struct Foreign {
    permit2: Bytes,
    /// Where each part of the framework is, and what makes its code.
    framework: Vec<(Address, Bytes)>,
}

impl Foreign {
    /// Reads it, which compiles Permit2 where that was not done before; `None`
    /// where `interop/` was not installed.
    pub fn read() -> Option<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let installed = root.join("../interop/node_modules/@metamask/delegation-abis");
        if !installed.exists() {
            return None;
        }
        let printed = Command::new("node")
            .arg(root.join("contracts.mjs"))
            .arg(SYSTEM.to_string())
            .stderr(Stdio::inherit())
            .output()
            .expect("node");
        assert!(printed.status.success(), "contracts.mjs failed");
        let text = String::from_utf8(printed.stdout).expect("text");
        let last = text.lines().last().unwrap_or_default();
        Some(serde_json::from_str(last).expect("contracts"))
    }

    /// Puts them where they are on every chain, with our proxy of Permit2.
    pub fn place(&self, devnet: &Devnet) {
        set_code(devnet, PERMIT2, self.permit2.clone());
        set_code(devnet, EXACT_PROXY, Contract::ExactPermit2Proxy.runtime());
        for (at, creation) in &self.framework {
            set_code(devnet, *at, run(devnet, creation));
        }
    }
}

/// What creation code leaves.
fn run(devnet: &Devnet, creation: &Bytes) -> Bytes {
    let call = json!({ "data": hex::encode_prefixed(creation), "gas": CREATION_GAS });
    let code = devnet.request("eth_call", json!([call, "latest"]));
    let code = code.expect("creation code runs");
    code.as_str().expect("bytes").parse().expect("hex")
}

fn set_code(devnet: &Devnet, at: Address, code: Bytes) {
    devnet.set_code(at, code).expect("code");
}
