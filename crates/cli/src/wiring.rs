//! From settings to rooms: networks, nodes, ledgers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tollway_core::assets::{AssetInfo, AssetTable};
use tollway_core::money::Decimal;
use tollway_core::{Address, Amount, Family, Finality, Network, SystemClock};
use tollway_evm::Contracts;
use tollway_facilitator::{CallerRule, Engine, EngineConfig, EngineParts, GasCap, GasCaps, Holds};
use tollway_ledger::{EngineLock, Store};
use tollway_rpc::{RpcClient, RpcConfig};
use url::Url;

use crate::chains::{ServedChain, Signers};
use crate::cli::CallerArgs;
use crate::crash;
use crate::environment::{Environment, rpc_variable};
use crate::exit::{Exit, Failure};
use crate::help::Help;
use crate::logs;

/// A network that was asked for, and where its nodes are if that was said.
#[derive(Clone, Debug)]
pub struct NetworkSetting {
    /// Which.
    pub network: Network,
    /// From the flag or the environment, preferred first; never the public default.
    pub rpc: Vec<Url>,
    /// Permit2, the x402 proxies and Multicall3, where they are there.
    pub contracts: Contracts,
    /// Delegation managers in the place of the published one.
    pub delegation_managers: Option<Vec<alloy_primitives::Address>>,
    /// Whether settling accounts call as themselves, by EIP-7702.
    pub self_calls: bool,
}

/// Reads `--network NETWORK[=RPC_URL[,RPC_URL …]][; CONTRACT=ADDRESS …]`.
pub fn networks(
    texts: &[String],
    environment: &Environment,
) -> Result<Vec<NetworkSetting>, Failure> {
    let mut settings: Vec<NetworkSetting> = Vec::new();
    for text in texts {
        let mut parts = text.split(';').map(str::trim);
        let nodes = parts.next().unwrap_or_default();
        let (name, urls) = match nodes.split_once('=') {
            Some((name, urls)) => (name, Some(urls)),
            None => (nodes, None),
        };
        let network = network(name)?;
        let contracts = contracts(&network, parts)?;
        if settings.iter().any(|known| known.network == network) {
            return Err(Failure::usage(format!(
                "--network {network} is given twice; give it once."
            )));
        }
        let urls = urls.or_else(|| environment.rpc_url(&network));
        let rpc = urls
            .into_iter()
            .flat_map(|urls| urls.split(','))
            .map(|url| http_url(url.trim(), "The RPC URL"))
            .collect::<Result<_, _>>()?;
        settings.push(NetworkSetting {
            network,
            rpc,
            contracts,
            delegation_managers: None,
            self_calls: false,
        });
    }
    Ok(settings)
}

/// Reads what follows a network: `permit2=0x…`, with the names of [`Contracts`]. What
/// is not understood may be the end of a URL that holds a key: it is not told.
fn contracts<'a>(
    network: &Network,
    texts: impl Iterator<Item = &'a str>,
) -> Result<Contracts, Failure> {
    let mut contracts = Contracts::default();
    for text in texts.filter(|text| !text.is_empty()) {
        let bad = |why: &str| {
            Failure::usage(format!(
                "--network {network}: {why}; after the nodes write ; NAME=ADDRESS with the names permit2, exact-proxy, upto-proxy and multicall3 (and %3B for a ; in a URL)."
            ))
        };
        let (name, address) = text
            .split_once('=')
            .ok_or_else(|| bad("what follows a ; is no contract"))?;
        if network.family() != Family::Evm {
            return Err(bad("only EVM networks have such contracts"));
        }
        let address = network.address(address.trim());
        let address = address
            .ok()
            .and_then(|address| address.as_str().parse().ok());
        let address = address.ok_or_else(|| bad("what follows a ; has no address"))?;
        if !contracts.place(name.trim(), address) {
            return Err(bad("what follows a ; is none of its contracts"));
        }
    }
    Ok(contracts)
}

/// Reads `--delegation-manager NETWORK=ADDRESS`, for networks that are configured.
pub fn delegation_managers(
    texts: &[String],
    settings: &mut [NetworkSetting],
) -> Result<(), Failure> {
    for text in texts {
        let bad = || {
            Failure::usage(format!(
                "--delegation-manager {text} is not NETWORK=ADDRESS or NETWORK=none; write for example base=0x… and configure that network."
            ))
        };
        let (name, address) = text.split_once('=').ok_or_else(bad)?;
        let network = network(name)?;
        let setting = settings.iter_mut().find(|known| known.network == network);
        let managers = &mut setting.ok_or_else(bad)?.delegation_managers;
        let managers = managers.get_or_insert_default();
        if address != "none" {
            managers.push(address.parse().map_err(|_| bad())?);
        }
    }
    Ok(())
}

/// A network that we can serve, by any of its names.
pub fn network(name: &str) -> Result<Network, Failure> {
    // A node's URL where a name belongs may hold a key: it is not told.
    if name.contains(['/', '@', '?']) {
        return Err(Failure::coded(
            Exit::Usage,
            "invalid_network",
            "A network has a name before its node's URL; write for example base=https://your.node.",
        ));
    }
    let network =
        Network::resolve(name).map_err(|e| Failure::coded(Exit::Usage, "invalid_network", e))?;
    if network.family() == Family::Solana {
        return Err(Failure::coded(
            Exit::Usage,
            "invalid_network",
            format!("{network} is not served yet; use a network such as base or starknet."),
        ));
    }
    Ok(network)
}

/// A URL of the `http` family.
pub fn http_url(text: &str, what: &str) -> Result<Url, Failure> {
    let url = Url::parse(text).map_err(|e| {
        Failure::usage(format!(
            "{what} is not a URL ({e}); write for example https://host.example/path."
        ))
    })?;
    if matches!(url.scheme(), "http" | "https") && url.has_host() {
        Ok(url)
    } else {
        Err(Failure::usage(format!(
            "{what} must begin with https:// or http://; correct it."
        )))
    }
}

/// A client for the network's nodes: the stated ones, or the public one with a warning.
pub fn node(setting: &NetworkSetting, allow_http: bool) -> Result<RpcClient, Failure> {
    let urls = match setting.rpc.as_slice() {
        [] => vec![public_node(&setting.network)?],
        urls => urls.to_vec(),
    };
    let mut config = RpcConfig::new(urls);
    config.allow_plain_http = allow_http;
    RpcClient::new(config).map_err(|e| {
        Failure::usage(format!(
            "{}: {e} (--allow-http allows it).",
            setting.network
        ))
    })
}

/// A client for a chain whose node is never asked: it answers at once that it cannot.
pub fn no_node() -> Result<RpcClient, Failure> {
    let mut config = RpcConfig::new(vec![http_url("http://127.0.0.1:9/", "The RPC URL")?]);
    config.connect_timeout = Duration::from_millis(100);
    RpcClient::new(config).map_err(Failure::new)
}

fn public_node(network: &Network) -> Result<Url, Failure> {
    let url = network
        .info()
        .and_then(|info| info.public_rpc)
        .ok_or_else(|| {
            Failure::usage(format!(
                "No RPC URL is known for {network}; write --network {network}=RPC_URL."
            ))
        })?;
    logs::say(format_args!(
        "{network} uses the public node {url}, which may be slow, limited or gone; \
         set {} or --network {network}=RPC_URL for anything that matters.",
        rpc_variable(network.as_str())
    ));
    http_url(url, "The public RPC URL")
}

/// Mistakes in a ledger's URL are the caller's; a ledger that fails is not. A
/// server's URL may hold a password and is never shown.
fn check_ledger_url(url: &str) -> Result<(), Failure> {
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return match Url::parse(url) {
            Ok(url) if url.has_host() => Ok(()),
            _ => Err(Failure::usage(
                "--ledger is no URL of a PostgreSQL database; write for example postgres://user@host/database, with the password in ~/.pgpass.",
            )),
        };
    }
    let bad = |why: String| {
        let shown = match url.strip_prefix("sqlite:") {
            Some(_) => format!(" {url}"),
            None => String::new(),
        };
        Failure::usage(format!(
            "--ledger{shown}: {why}; write for example sqlite:/var/lib/tollway/gate.db."
        ))
    };
    let path = url
        .strip_prefix("sqlite:")
        .ok_or_else(|| bad("only sqlite: and postgres: ledgers are known".to_owned()))?;
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() || path.contains(['?', '#', '\0']) {
        return Err(bad("it names no plain path".to_owned()));
    }
    let folder = std::path::Path::new(path)
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    match folder {
        Some(folder) if !folder.is_dir() => Err(bad(format!(
            "the folder {} does not exist, create it",
            folder.display()
        ))),
        _ => Ok(()),
    }
}

/// The ledger at a URL, or at its default place below the home directory.
pub async fn ledger(
    url: Option<&str>,
    default_name: &str,
    environment: &Environment,
) -> Result<Store, Failure> {
    let url = ledger_url(url, default_name, environment)?;
    check_ledger_url(&url)?;
    Store::open(&url).await.map_err(ledger_unavailable)
}

/// A ledger that fails.
pub fn ledger_unavailable(error: tollway_ledger::LedgerError) -> Failure {
    Failure::coded(Exit::Failed, "ledger_unavailable", error)
}

/// Where the ledger is.
pub fn ledger_url(
    url: Option<&str>,
    default_name: &str,
    environment: &Environment,
) -> Result<String, Failure> {
    match url.or_else(|| environment.get("TOLLWAY_LEDGER")) {
        Some(url) => Ok(url.to_owned()),
        None => Ok(format!(
            "sqlite:{}",
            environment.home()?.join(default_name).display()
        )),
    }
}

/// Reads `--finality` or another flag that names one.
pub fn finality(text: Option<&str>, flag: &str) -> Result<Finality, Failure> {
    text.map_or(Ok(Finality::default()), |text| {
        text.parse()
            .map_err(|e| Failure::usage(format!("{flag}: {e}.")))
    })
}

/// A running engine, and what keeps it the only one on its ledger.
pub struct LocalEngine {
    /// The engine.
    pub engine: Engine,
    /// Its chains.
    pub chains: Vec<ServedChain>,
    _lock: EngineLock,
}

/// What an engine is started with.
pub struct EngineSettings<'a> {
    /// Where it settles.
    pub networks: &'a [NetworkSetting],
    /// The keys that pay for gas, on every EVM network.
    pub signer_key_files: &'a [PathBuf],
    /// The accounts that settle on every Starknet network, `ADDRESS=KEY_FILE`.
    pub starknet_accounts: &'a [String],
    /// Most STRK that one transaction may cost.
    pub starknet_max_fee: Option<&'a str>,
    /// What may be paid with.
    pub assets: &'a AssetTable,
    /// Whether its accounts on EVM networks send transactions, and so pay for gas.
    pub sends: bool,
    /// How deep a receipt must lie.
    pub finality: Finality,
    /// How deep sellers may ask for.
    pub finality_cap: Finality,
    /// Validity that must remain at verify, where it is not the default.
    pub min_validity: Option<Duration>,
    /// Whether plain http may leave the machine.
    pub allow_http: bool,
    /// Payments that share a transaction at most, where it is not the default.
    pub batch: Option<u16>,
    /// What may be spent on gas a day, in a network's coin.
    pub max_gas_per_day: Option<&'a str>,
    /// What one payer's payments may lose of it.
    pub max_lost_gas_per_payer: Option<&'a str>,
    /// What is done beside settling.
    pub help: Help<'a>,
    /// The least that is settled, in units of the asset.
    pub min_amount: &'a str,
    /// Who may call; empty: anybody.
    pub callers: &'a [CallerArgs],
    /// Whether anybody may say what of a maximum is charged.
    pub open_upto: bool,
    /// Whether the gate is in this process: balances are then held in the ledger.
    pub with_gate: bool,
}

impl EngineSettings<'_> {
    /// Starts the engine over a ledger that nobody else settles from.
    pub async fn start(
        &self,
        ledger: &Store,
        environment: &Environment,
    ) -> Result<LocalEngine, Failure> {
        if self.networks.is_empty() {
            return Err(Failure::usage(
                "--network is missing; add --network base-sepolia=RPC_URL.",
            ));
        }
        let beside = self.help.read(ledger)?;
        let signers = Signers::read(
            self.networks,
            self.signer_key_files,
            self.sends,
            self.starknet_accounts,
            self.starknet_max_fee,
            environment,
        )
        .await?
        .beside(beside);
        let lock = ledger
            .lock_engine()
            .map_err(|e| Failure::coded(Exit::Failed, "ledger_in_use", e))?;
        let mut chains = Vec::new();
        for setting in self.networks {
            let node = node(setting, self.allow_http)?;
            let chain =
                ServedChain::build(setting, node, &signers, self.assets, self.min_validity)?;
            chain.check().await?;
            chains.push(chain);
        }
        let mut config = self.config(ledger.is_shared())?;
        crash::hasten(&mut config, environment);
        let engine = Engine::start(EngineParts {
            chains: chains.iter().map(ServedChain::chain).collect(),
            store: Arc::new(ledger.clone()),
            clock: Arc::new(SystemClock),
            config,
        });
        Ok(LocalEngine {
            engine,
            chains,
            _lock: lock,
        })
    }

    fn config(&self, shared_ledger: bool) -> Result<EngineConfig, Failure> {
        let mut config = EngineConfig {
            finality: self.finality,
            finality_cap: self.finality_cap,
            gas: GasCaps {
                per_day: coins(
                    self.max_gas_per_day,
                    GasCaps::default().per_day,
                    "--max-gas-per-day",
                )?,
                lost_per_payer_and_day: coins(
                    self.max_lost_gas_per_payer,
                    GasCaps::default().lost_per_payer_and_day,
                    "--max-lost-gas-per-payer",
                )?,
            },
            min_amounts: least(self.min_amount, self.assets)?,
            callers: callers(self.callers)?,
            open_upto: self.open_upto,
            holds: if self.with_gate || shared_ledger {
                Holds::Ledger
            } else {
                Holds::Memory
            },
            replica_name: format!("engine:{}", std::process::id()),
            ..EngineConfig::default()
        };
        if let Some(batch) = self.batch {
            config.rules.batch_max = usize::from(batch.max(1));
        }
        Ok(config)
    }
}

/// An amount of a network's coin, as wei.
fn coins(text: Option<&str>, default: GasCap, flag: &str) -> Result<GasCap, Failure> {
    let Some(text) = text else {
        return Ok(default);
    };
    if text == "none" {
        return Ok(GasCap::Unbounded);
    }
    let amount = text.parse::<Decimal>().ok().and_then(|d| d.to_atomic(18));
    amount.map(GasCap::Fees).ok_or_else(|| {
        Failure::usage(format!(
            "{flag}: `{text}` is no amount of a coin; write for example 0.05, or none."
        ))
    })
}

/// Reads `--min-amount`: the same of every asset that is known.
fn least(text: &str, table: &AssetTable) -> Result<BTreeMap<(Network, Address), Amount>, Failure> {
    let least: Decimal = text.parse().map_err(|_| {
        Failure::usage(format!(
            "--min-amount: `{text}` is no amount of an asset; write for example 0.001."
        ))
    })?;
    // An asset with fewer digits has no such part.
    let of = |asset: &AssetInfo| least.to_atomic(asset.decimals);
    let known = table.iter().filter_map(|asset| {
        let place = (asset.network.clone(), asset.address.clone());
        Some((place, of(asset)?))
    });
    Ok(known.collect())
}

/// An address as every EVM network writes it.
fn payee(text: &str) -> Option<Address> {
    let ethereum: Network = "eip155:1".parse().ok()?;
    ethereum.address(text).ok()
}

/// Who may call, and how much.
pub fn callers(all: &[CallerArgs]) -> Result<Vec<CallerRule>, Failure> {
    all.iter().map(caller).collect()
}

fn caller(args: &CallerArgs) -> Result<CallerRule, Failure> {
    let bad = |why: &str| Failure::usage(format!("The caller `{}` {why}.", args.name));
    let key = alloy_primitives::hex::decode(&args.key_sha256).ok();
    let key_sha256 = key.and_then(|key| key.try_into().ok()).ok_or_else(|| {
        bad("has no key_sha256 of 64 hex digits; make one with `tollway api-key`")
    })?;
    if args.name.is_empty() || args.name.len() > 64 {
        return Err(bad("must have a name of 1 to 64 characters; correct it"));
    }
    if args.per_minute == 0 || args.open_payments == 0 || args.concurrent == 0 {
        return Err(bad("may do nothing by its quotas; raise them above 0"));
    }
    let payees = args
        .pay_to
        .iter()
        .map(|text| payee(text).ok_or_else(|| bad("has a pay_to that is no address; correct it")));
    Ok(CallerRule {
        payees: payees.collect::<Result<_, _>>()?,
        name: args.name.clone(),
        key_sha256,
        per_minute: args.per_minute,
        open_payments: args.open_payments,
        concurrent: args.concurrent,
    })
}
