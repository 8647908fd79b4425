//! `tollway init`: a configuration that `tollway gate` starts with, on a testnet unless
//! it is told otherwise. It overwrites nothing unless it is told to, and never a key.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use tollway_core::assets::AssetTable;
use tollway_core::{Family, Network};
use tollway_devnet::{DEV_ACCOUNTS, DevAccount};
use tollway_evm::EvmSigner;
use tollway_gate::Offer;
use tollway_payer::UnitPrice;

use crate::check::payees;
use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::story::printable;
use crate::wiring::{self, NetworkSetting};
use crate::{keys, routes};

/// `tollway init`
#[derive(Args)]
#[command(after_help = INIT_HELP)]
pub struct InitArgs {
    /// The file to write.
    #[arg(default_value = "tollway.toml")]
    pub file: PathBuf,
    /// Who is paid [default: on a testnet a fresh account, its key in payee.key beside the file].
    #[arg(long, value_name = "ADDRESS")]
    pub pay_to: Option<String>,
    /// Your server.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:3000")]
    pub upstream: String,
    /// What a request below /paid costs.
    #[arg(long, value_name = "PRICE", default_value = "$0.01")]
    pub price: String,
    /// Network to be paid on, with the URL of a node [default: base-sepolia].
    #[arg(long, value_name = "NETWORK[=RPC_URL]", conflicts_with_all = ["mainnet", "devnet"])]
    pub network: Option<String>,
    /// Be paid in real dollars, on Base.
    #[arg(long, conflicts_with = "devnet")]
    pub mainnet: bool,
    /// Be paid in test dollars on the embedded chain of `tollway devnet`, offline.
    #[arg(long)]
    pub devnet: bool,
    /// Replace the file. Keys are never replaced.
    #[arg(long)]
    pub force: bool,
}

const INIT_HELP: &str = "\
Examples:
  tollway init --pay-to 0xYourAddress
  tollway init shop.toml --pay-to 0xYourAddress --upstream http://127.0.0.1:8000 --price '$0.05'
  tollway init --devnet                  # offline: see `tollway devnet`
  tollway init --mainnet --pay-to 0xYourAddress

Then: tollway check --config tollway.toml; tollway gate --config tollway.toml

On Base Sepolia a public facilitator settles, which needs no key and no gas. Elsewhere the gate settles by itself, with
a fresh key in signer.key (mode 0600) beside the file: send it a little of the network's coin for gas.";

/// Settles payments on Base Sepolia for anybody, and asks for no key.
const PUBLIC_FACILITATOR: &str = "https://x402.org/facilitator";
/// Where that one settles.
const PUBLIC_NETWORK: &str = "eip155:84532";
/// Gives test dollars for nothing.
const FAUCET: &str = "https://faucet.circle.com";
/// Where the gate of a new configuration listens.
const LISTEN: &str = "127.0.0.1:4021";
/// Where `tollway devnet` listens.
const DEVNET: &str = "base-sepolia=http://127.0.0.1:8545";

/// Runs it.
pub fn run(args: &InitArgs, environment: &Environment) -> Result<Exit, Failure> {
    if args.file.exists() && !args.force {
        return Err(Failure::usage(format!(
            "{} is there already; name another file, or replace it with --force.",
            args.file.display()
        )));
    }
    let plan = Plan::of(args, environment)?;
    plan.check(args)?;
    let made = plan.keys(args)?;
    let text = plan.text(args, &made);
    write(&args.file, &text)?;
    tell(args, &plan, &made);
    Ok(Exit::Done)
}

/// What was decided before anything is written.
struct Plan {
    setting: NetworkSetting,
    /// The network as it stands in the file: its name and a node.
    network: String,
    is_test: bool,
    settles_here: bool,
}

/// The accounts of a configuration, and the files that hold their keys.
struct Accounts {
    pay_to: String,
    payee_key: Option<PathBuf>,
    signer: Option<(String, PathBuf)>,
    buyer_key: Option<PathBuf>,
}

impl Plan {
    fn of(args: &InitArgs, environment: &Environment) -> Result<Self, Failure> {
        let named = match (&args.network, args.mainnet, args.devnet) {
            (Some(named), _, _) => named.as_str(),
            (None, true, _) => "base",
            (None, _, true) => DEVNET,
            (None, false, false) => "base-sepolia",
        };
        let mut settings = wiring::networks(&[named.to_owned()], environment)?;
        let setting = settings.remove(0);
        let info = setting.network.info();
        let name = info.map_or(setting.network.as_str(), |info| info.short_name());
        let node = setting.rpc.first().map(url::Url::as_str);
        let node = node.or_else(|| info.and_then(|info| info.public_rpc));
        let node = node.ok_or_else(|| {
            Failure::usage(format!(
                "No node of {name} is known; add its URL: --network {name}=RPC_URL."
            ))
        })?;
        Ok(Self {
            network: format!("{name}={}", node.trim_end_matches('/')),
            is_test: info.is_some_and(|info| info.testnet),
            settles_here: args.devnet || setting.network.as_str() != PUBLIC_NETWORK,
            setting,
        })
    }

    /// Refuses now what the gate would refuse later.
    fn check(&self, args: &InitArgs) -> Result<(), Failure> {
        let network = &self.setting.network;
        if network.family() != Family::Evm {
            return Err(Failure::usage(format!(
                "A configuration for {network} needs an account that pays fees there; write it by docs/starknet.md, or name an EVM network."
            )));
        }
        let assets = AssetTable::builtin();
        match &args.pay_to {
            Some(payee) => {
                if let Some((message, cure)) = payees::fault(network, payee, &assets, &[]) {
                    return Err(Failure::usage(format!("--pay-to: {message} {cure}")));
                }
            }
            None if self.is_test => {}
            None => {
                return Err(Failure::usage(
                    "--pay-to is missing, and this is real money; add --pay-to 0xYourAddress, of a wallet that you keep elsewhere.",
                ));
            }
        }
        wiring::http_url(&args.upstream, "--upstream")?;
        let route = routes::parse(&format!("/paid/*={}", args.price))?;
        for price in &route.prices {
            Offer::priced(&price.price, network, PLACEHOLDER, &assets).map_err(|refusal| {
                Failure::coded(Exit::Usage, refusal.code().to_owned(), refusal.message())
            })?;
        }
        Ok(())
    }

    /// Makes the keys that are missing.
    fn keys(&self, args: &InitArgs) -> Result<Accounts, Failure> {
        let beside = |name: &str| args.file.with_file_name(name);
        let dev = |name: &str, account: &DevAccount| {
            let path = beside(name);
            let key = account.key.to_string();
            key_file(&path, || Ok(key)).map(|address| (address, path))
        };
        let (pay_to, payee_key) = match (&args.pay_to, args.devnet) {
            (Some(address), _) => (address.clone(), None),
            (None, true) => (DEV_ACCOUNTS[1].address.to_string(), None),
            (None, false) => {
                let path = beside("payee.key");
                (key_file(&path, fresh)?, Some(path))
            }
        };
        let signer = match (self.settles_here, args.devnet) {
            (false, _) => None,
            (true, true) => Some(dev("devnet-signer.key", &DEV_ACCOUNTS[0])?),
            (true, false) => {
                let path = beside("signer.key");
                Some((key_file(&path, fresh)?, path))
            }
        };
        let buyer_key = match args.devnet {
            true => Some(dev("devnet-buyer.key", &DEV_ACCOUNTS[2])?.1),
            false => None,
        };
        Ok(Accounts {
            pay_to,
            payee_key,
            signer,
            buyer_key,
        })
    }

    fn shown(&self) -> &str {
        let network: &Network = &self.setting.network;
        network
            .info()
            .map_or(network.as_str(), |info| info.display_name)
    }

    fn text(&self, args: &InitArgs, accounts: &Accounts) -> String {
        let file = printable(&args.file.display().to_string());
        let mut text = format!(
            "\
# A Tollway gate: prices before an HTTP server. `tollway gate --help` explains every key.
# Prove it with `tollway check --config {file}`, run it with `tollway gate --config {file}`.
[gate]
listen = \"{LISTEN}\"             # where buyers come in
upstream = {upstream}  # your server, which stays as it is
# public_url = \"https://api.example\"   # what buyers call it, once it has a name

# What costs what: `/path`, `/below/*` or `GET /one/:id`, and a price. Everything else is free.
routes = [{route}]

# Who is paid. The gate never needs its key.
pay_to = {pay_to}

",
            upstream = quoted(&args.upstream),
            route = quoted(&format!("/paid/*={}", args.price)),
            pay_to = quoted(&accounts.pay_to),
        );
        text.push_str(&self.of_network(args));
        let _ = writeln!(text, "networks = [{}]\n", quoted(&self.network));
        text.push_str(&of_settling(accounts));
        text.push_str(match args.devnet {
            true => "\n# The record of payments. Remove it whenever you start the devnet anew, which forgets everything.\nledger = \"sqlite:devnet-gate.db\"\n",
            false => "\n# The record of payments, one for each address that is paid [default: ~/.tollway/gate.db].\n# ledger = \"sqlite:/var/lib/tollway/gate.db\"\n",
        });
        text
    }

    fn of_network(&self, args: &InitArgs) -> String {
        let shown = self.shown();
        match (args.devnet, self.is_test) {
            (true, _) => format!(
                "# The chain of `tollway devnet`, which poses as {shown}. Its dollars are worth nothing.\n"
            ),
            (_, true) => format!(
                "# {shown} is a testnet. Its dollars are free at {FAUCET}, for whoever pays.\n# For real money: \"base=https://your.node\", and a facilitator that settles there, or \"local\".\n"
            ),
            (_, false) => format!(
                "# {shown}: real money. The public node is good for a first try; name your own for anything that matters.\n"
            ),
        }
    }
}

/// Nobody's, to try a price with.
const PLACEHOLDER: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";

fn of_settling(accounts: &Accounts) -> String {
    match &accounts.signer {
        None => format!(
            "# Who settles: a public facilitator for testnets, which needs no key and pays the gas itself. The gate looks\n# at the chain whether it did. \"local\" settles here, with signer_key_file = \"signer.key\" that holds gas money.\nfacilitator = \"{PUBLIC_FACILITATOR}\"\n"
        ),
        Some((address, path)) => format!(
            "# Who settles: the gate itself. This account pays the gas, a little for each payment; it never holds income.\nfacilitator = \"local\"\nsigner_key_file = {}  # {address}\n",
            quoted(&path.display().to_string())
        ),
    }
}

/// A text as TOML writes it.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// The address of the key in a file, which is made if it is not there.
fn key_file(
    path: &Path,
    make: impl FnOnce() -> Result<String, Failure>,
) -> Result<String, Failure> {
    if !path.exists() {
        keys::write_private(path, &make()?)?;
    }
    Ok(keys::signer_from_file(path)?.address().to_string())
}

fn fresh() -> Result<String, Failure> {
    let signer = EvmSigner::random()
        .map_err(|e| Failure::new(format!("No key can be drawn: {e}; try again.")))?;
    Ok(alloy_primitives::hex::encode_prefixed(
        signer.secret_bytes().as_slice(),
    ))
}

/// Writes it whole, or not at all.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let part = path.with_file_name(format!(".{name}.{}.part", std::process::id()));
    keys::write_private(&part, text)?;
    std::fs::rename(&part, path).map_err(|e| {
        let _ = std::fs::remove_file(&part);
        Failure::usage(format!(
            "{} cannot be written: {e}; name another file.",
            path.display()
        ))
    })
}

fn tell(args: &InitArgs, plan: &Plan, made: &Accounts) {
    let file = printable(&args.file.display().to_string());
    let shown = plan.shown();
    println!(
        "{file}: requests below /paid cost {}, paid to {} on {shown}.",
        args.price, made.pay_to
    );
    if let Some(path) = &made.payee_key {
        println!(
            "{}: the key of that address (mode 0600), for trying out. Be paid at a wallet of yours with --pay-to.",
            path.display()
        );
    }
    if let (Some((address, path)), false) = (&made.signer, args.devnet) {
        println!(
            "{}: the key of {address} (mode 0600), which settles. Send it a little of the coin of {shown} for gas.",
            path.display()
        );
    }
    println!("Next:");
    if args.devnet {
        println!(
            "  tollway devnet                           # the chain, in a terminal of its own"
        );
    }
    println!("  tollway check --config {file}");
    println!("  tollway gate --config {file}");
    let price = args.price.trim_start_matches('$');
    let is_dollars = price.parse::<UnitPrice>().is_ok();
    let most = format!("--max {}", if is_dollars { price } else { "1" });
    if let Some(key) = &made.buyer_key {
        println!(
            "  tollway pay http://{LISTEN}/paid/hello {most} --network {DEVNET} --key-file {}",
            key.display()
        );
    } else if plan.is_test {
        println!(
            "  tollway wallet new buyer                 # give it test dollars: {FAUCET} (USDC on {shown})"
        );
        println!("  tollway pay http://{LISTEN}/paid/hello {most} --wallet buyer");
    }
}
