//! Whoever pays: the wallet, the record and the policy behind `pay` and `mcp`.

use std::path::Path;
use std::sync::Arc;

use tollway_core::assets::AssetTable;
use tollway_core::{Address, Chain, Family, Finality, Network, Wallet};
use tollway_evm::{EvmStatements, EvmWallet, SigningKey};
use tollway_ledger::Store;
use tollway_payer::{
    ChainReconciler, PayMethod, Payer, Policy, RemoteWallet, TokenDirectory, UnitPrice,
};

use crate::agent::Agent;
use crate::assets;
use crate::chains::{ServedChain, Signers};
use crate::cli::BuyerArgs;
use crate::commands::{pay, permission, receipt};
use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::keys::{self, Keystore};
use crate::kms;
use crate::purse::{self, Purse};
use crate::session;
use crate::session::wallet::PayingSession;
use crate::signer;
use crate::story::Story;
use crate::wiring::{self, NetworkSetting};

/// A payer that is ready, and its record, to be closed at the end.
pub struct OpenBuyer {
    /// What pays.
    pub payer: Payer,
    /// The record of spending.
    pub ledger: Store,
}

/// Opens wallet, record and policy. Without anybody to tell the story to, URLs come
/// from a program, and lead into our own network only where the policy lists it.
pub async fn open(
    args: &BuyerArgs,
    agent: Option<&Agent>,
    story: Option<Story>,
    environment: &Environment,
) -> Result<OpenBuyer, Failure> {
    let buyer = Buyer::read(args, environment).await?;
    let mut policy = policy(args, &buyer, agent)?;
    policy.guard_urls = story.is_none();
    let mut purse = match &args.permission {
        Some(_) if agent.is_some() => {
            return Err(Failure::usage(
                "A permission is a budget of its own; leave out --permission or --agent.",
            ));
        }
        Some(name) => {
            policy.methods = vec![PayMethod::Erc7710];
            let file = args.passphrase_file.as_deref();
            let passphrase = keys::passphrase(file, environment, false)?;
            let spent = permission::permissions(environment)?.unlock(name, &passphrase)?;
            purse::of_permission(spent, &buyer.networks, &buyer.assets, args.allow_http)?
        }
        None => Purse::without_limits(buyer.wallet(args, environment).await?),
    };
    if let Some(agent) = agent {
        purse.agent.clone_from(&agent.name);
    }
    let ledger = wiring::ledger(args.ledger.as_deref(), "payer.db", environment).await?;
    let mut builder = Payer::builder()
        .wallet(purse.wallet)
        .agent(purse.agent)
        .limits(purse.limits)
        .spends(Arc::new(ledger.clone()))
        .policy(policy);
    if let Some(story) = story {
        builder = builder.story(move |event| story.tell_buyer(event));
    }
    let chains = buyer.chains()?;
    if !chains.is_empty() {
        let reconciler = ChainReconciler::new(chains, Finality::Included);
        builder = builder.reconciler(Arc::new(reconciler), true);
    }
    // Without a home they live as long as this call.
    if let Ok(home) = environment.home() {
        let tokens = TokenDirectory::open(&home.join("tokens")).map_err(|e| {
            Failure::new(format!(
                "The directory of access tokens cannot be made: {e}; make room for it in {}.",
                home.display()
            ))
        })?;
        builder = builder.tokens(Arc::new(tokens));
        let receipts = receipt::directory(&home);
        builder = builder.receipts(Arc::new(EvmStatements), move |kept| {
            receipt::keep(&receipts, kept);
        });
    }
    let payer = builder.build().map_err(|error| pay::failure(&error))?;
    Ok(OpenBuyer { payer, ledger })
}

/// Who pays, and where.
struct Buyer {
    /// A signer in another process.
    remote: Option<Arc<RemoteWallet>>,
    session: Option<PayingSession>,
    /// The account that pays with its owner's key, as it was written.
    owner: Option<String>,
    networks: Vec<NetworkSetting>,
    assets: AssetTable,
    allow_http: bool,
}

impl Buyer {
    async fn read(args: &BuyerArgs, environment: &Environment) -> Result<Self, Failure> {
        // A key that is named by flag is not mixed with one of the environment.
        let flagged = args.key_file.is_some()
            || args.wallet.is_some()
            || args.session.is_some()
            || args.starknet_account.is_some()
            || args.permission.is_some()
            || args.signer.is_some();
        let or_said = |flag: &Option<String>, variable: &str| {
            let behind = environment.get(variable).filter(|_| !flagged);
            flag.clone().or_else(|| behind.map(str::to_owned))
        };
        let remote = match or_said(&args.signer, "TOLLWAY_SIGNER") {
            Some(place) => Some(Arc::new(signer::connect(&place).await?)),
            None => None,
        };
        // One that is named stands before all other keys.
        let flagged = flagged || remote.is_some();
        let or_said = |flag: &Option<String>, variable: &str| {
            let behind = environment.get(variable).filter(|_| !flagged);
            flag.clone().or_else(|| behind.map(str::to_owned))
        };
        let session = or_said(&args.session, "TOLLWAY_SESSION")
            .map(|name| PayingSession::open(&name, environment))
            .transpose()?;
        let mut networks = wiring::networks(&args.networks, environment)?;
        if let Some(session) = &session {
            let own = session.network()?;
            networks.retain(|setting| setting.network == own.network && !setting.rpc.is_empty());
            if networks.is_empty() {
                networks.push(own);
            }
        }
        Ok(Self {
            owner: or_said(&args.starknet_account, "TOLLWAY_STARKNET_ACCOUNT"),
            assets: assets::table(&args.add_assets, environment)?,
            allow_http: args.allow_http || session.as_ref().is_some_and(PayingSession::allows_http),
            networks,
            session,
            remote,
        })
    }

    async fn wallet(
        &self,
        args: &BuyerArgs,
        environment: &Environment,
    ) -> Result<Arc<dyn Wallet>, Failure> {
        if let Some(remote) = &self.remote {
            return Ok(Arc::clone(remote) as Arc<dyn Wallet>);
        }
        let owner = self.owner.as_deref();
        if let Some(session) = &self.session {
            let passphrase = args.passphrase_file.as_deref();
            return session.wallet(owner, passphrase, &self.assets, environment);
        }
        if let Some(owner) = owner {
            return session::wallet::owner(owner, &self.networks, &self.assets, self.allow_http);
        }
        let mut wallet =
            EvmWallet::new(key(args, environment).await?).with_assets(self.assets.clone());
        for setting in self.networks.iter().filter(|setting| has_node(setting)) {
            let node = wiring::node(setting, self.allow_http)?;
            wallet = wallet.with_node(setting.network.clone(), node);
        }
        for setting in &self.networks {
            wallet = wallet.with_contracts(setting.network.clone(), setting.contracts);
        }
        Ok(Arc::new(wallet))
    }

    /// What the chain itself says about open payments, where a node was named.
    fn chains(&self) -> Result<Vec<Arc<dyn Chain>>, Failure> {
        let looks = |setting: &NetworkSetting| {
            let node = wiring::node(setting, self.allow_http)?;
            let chain = ServedChain::build(setting, node, &Signers::none(), &self.assets, None)?;
            Ok(chain.chain())
        };
        let asked = self.networks.iter().filter(|setting| has_node(setting));
        asked.map(looks).collect()
    }

    /// Whether it pays on Starknet.
    fn is_on_starknet(&self) -> bool {
        let remote = self.remote.iter().flat_map(|r| r.accounts().keys());
        let mut families = remote.map(Network::family);
        self.session.is_some()
            || self.owner.is_some()
            || families.any(|family| family == Family::Starknet)
    }
}

const fn has_node(setting: &NetworkSetting) -> bool {
    !setting.rpc.is_empty()
}

/// What the flags allow, within what the agent's owner allows.
fn policy(args: &BuyerArgs, buyer: &Buyer, agent: Option<&Agent>) -> Result<Policy, Failure> {
    let own = buyer.session.as_ref().map(PayingSession::max);
    let parse = |max: String| {
        let parsed = max.parse::<UnitPrice>();
        parsed.map_err(|e| Failure::usage(format!("--max {max}: {e}")))
    };
    let max = args.max.clone().or(own).map(parse).transpose()?;
    let flagged: Vec<Network> = buyer.networks.iter().map(|s| s.network.clone()).collect();
    let payees = payees(&args.payees, buyer)?;
    let methods = methods(&args.ways)?;
    let policy = match (agent, max) {
        (Some(agent), max) => {
            let owners = agent.policy(&buyer.assets)?;
            Policy {
                max_per_call: max.map_or(owners.max_per_call, |max| max.min(owners.max_per_call)),
                networks: within(flagged, &owners.networks, "--network")?,
                payees: within(payees, &owners.payees, "--payee")?,
                methods: match args.ways.is_empty() {
                    true => owners.methods,
                    false => within(methods, &owners.methods, "--method")?,
                },
                ..owners
            }
        }
        (None, Some(max)) => Policy {
            max_per_call: max,
            networks: flagged,
            assets: buyer.assets.clone(),
            payees,
            methods,
            allow_insecure: args.allow_http,
            ..Policy::default()
        },
        (None, None) => {
            return Err(Failure::usage(
                "--max is missing; add the most that may be paid, such as --max 0.10, or --agent NAME.",
            ));
        }
    };
    Ok(Policy {
        approve_permit2: args.approve,
        access_tokens: !args.no_tokens,
        ..policy
    })
}

/// What a flag names of what the owner allows, where an empty list means all.
fn within<T: PartialEq + Clone>(
    flagged: Vec<T>,
    allowed: &[T],
    flag: &str,
) -> Result<Vec<T>, Failure> {
    if flagged.is_empty() {
        return Ok(allowed.to_vec());
    }
    let kept = |one: &T| allowed.is_empty() || allowed.contains(one);
    let both: Vec<T> = flagged.into_iter().filter(kept).collect();
    match both.is_empty() {
        false => Ok(both),
        true => Err(Failure::coded(
            Exit::RefusedByPolicy,
            "policy_flags",
            format!(
                "{flag} names nothing that the agent's policy allows; leave it out, or let the owner change the policy."
            ),
        )),
    }
}

/// Who may be paid, as the buyer's networks spell accounts.
fn payees(texts: &[String], buyer: &Buyer) -> Result<Vec<Address>, Failure> {
    let network = match buyer.is_on_starknet() {
        true => wiring::network("starknet")?,
        false => wiring::network("base")?,
    };
    let parse = |text: &String| {
        let payee = network.address(text);
        payee.map_err(|e| Failure::usage(format!("--payee: {e}.")))
    };
    texts.iter().map(parse).collect()
}

/// All ways to pay, the flagged ones first.
fn methods(flags: &[String]) -> Result<Vec<PayMethod>, Failure> {
    let named: Result<Vec<PayMethod>, Failure> = flags
        .iter()
        .map(|flag| {
            flag.parse()
                .map_err(|e| Failure::usage(format!("--method {flag}: {e}")))
        })
        .collect();
    Ok(PayMethod::preferring(&named?))
}

async fn key(args: &BuyerArgs, environment: &Environment) -> Result<SigningKey, Failure> {
    let flagged = args.key_file.is_some() || args.wallet.is_some();
    let from_environment = |name: &str| if flagged { None } else { environment.get(name) };
    let key_file = args
        .key_file
        .as_deref()
        .or_else(|| from_environment("TOLLWAY_KEY_FILE").map(Path::new));
    if let Some(path) = key_file {
        return kms::signing_key(path, environment).await;
    }
    let wallet = args.wallet.as_deref().or_else(|| from_environment("TOLLWAY_WALLET")).ok_or_else(|| {
        Failure::usage("Nothing to pay with; add --key-file FILE or --wallet NAME (`tollway wallet new NAME` makes one), or --session NAME, or --signer unix:PATH.")
    })?;
    let unlocked = Keystore::unlocked(wallet, args.passphrase_file.as_deref(), environment);
    unlocked.map(SigningKey::from)
}
