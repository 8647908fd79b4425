//! The nodes and what they say: the right chain, the tokens that are offered, the
//! contracts that settle, and the gas that is left.

use std::borrow::Cow;

use alloy_primitives::{Address, Bytes, U64, U256};
use tollway_core::assets::{AssetInfo, AssetTable, Method};
use tollway_core::{Amount, Chain, Network, Scheme, Terms};
use tollway_evm::typed_data::Domain;
use tollway_evm::{Contracts, settler_address, token_facts};
use tollway_rpc::{RpcClient, RpcConfig, RpcError};
use url::Url;

use super::Report;
use crate::chains::ServedChain;
use crate::environment::rpc_variable;
use crate::wiring::NetworkSetting;

/// What one payment costs in gas, with room: a transfer by authorization takes less.
const GAS_OF_A_PAYMENT: u64 = 120_000;
/// Fewer payments than this leave no time to send more gas.
const FEW_PAYMENTS: u64 = 100;
/// Digits of a coin after the point.
const COIN_DECIMALS: u8 = 18;
const LATEST: &str = "latest";

/// A network that is asked.
pub struct Looked {
    /// Which.
    pub network: Network,
    chain_id: u64,
    rpc: RpcClient,
    places: Contracts,
}

/// Connects to the nodes of an EVM network, each of which must serve that chain.
/// None where nothing more can be asked.
pub async fn connect(
    report: &mut Report,
    setting: &NetworkSetting,
    allow_http: bool,
    believes: bool,
) -> Option<Looked> {
    let network = &setting.network;
    let chain_id = network.chain_id()?;
    let urls = match setting.rpc.is_empty() {
        true => vec![public(report, network, believes)?],
        false => setting.rpc.clone(),
    };
    let mut config = RpcConfig::new(urls);
    config.allow_plain_http = allow_http;
    let rpc = match RpcClient::new(config) {
        Ok(rpc) => rpc,
        Err(error) => {
            report.red_sentence("node", &format!("{network}: {error}"));
            return None;
        }
    };
    let is_there = chain_ids(report, network, chain_id, &rpc).await;
    is_there.then(|| Looked {
        network: network.clone(),
        chain_id,
        rpc,
        places: setting.contracts,
    })
}

/// The public node; `believes` says that the gate asks none, and takes a facilitator's word.
fn public(report: &mut Report, network: &Network, believes: bool) -> Option<Url> {
    let public = network.info().and_then(|info| info.public_rpc);
    let Some(url) = public.and_then(|url| Url::parse(url).ok()) else {
        report.red(
            "node",
            format!("No node is named for {network}, and no public one is known."),
            &format!("Write networks = [\"{network}=RPC_URL\"]."),
        );
        return None;
    };
    let host = url.host_str().unwrap_or_default();
    let message = match believes {
        true => format!(
            "{network} has no node of yours: the gate takes the facilitator's word that money moved. Asked here is the public one at {host}."
        ),
        false => format!(
            "{network} has no node of yours; the public one at {host} may be slow, limited or gone."
        ),
    };
    report.yellow(
        "node",
        message,
        &format!(
            "Name one: networks = [\"{network}=RPC_URL\"], or set {}.",
            rpc_variable(network.as_str())
        ),
    );
    Some(url)
}

/// Whether a node serves the chain, and none another.
async fn chain_ids(report: &mut Report, network: &Network, expected: u64, rpc: &RpcClient) -> bool {
    let (mut good, mut wrong, mut dead) = (Vec::new(), false, Vec::new());
    for node in rpc.nodes() {
        let host = node.hosts().join(", ");
        match node.call::<U64>("eth_chainId", [(); 0]).await {
            Ok(found) if found == U64::from(expected) => good.push(host),
            Ok(found) => {
                wrong = true;
                report.red(
                    "node",
                    format!("The node at {host} serves eip155:{found}, not {network}."),
                    "Correct its RPC URL or the network.",
                );
            }
            Err(error) => dead.push(error),
        }
    }
    for error in &dead {
        let message = format!("A node of {network} cannot be asked: {}.", told(error));
        let cure = "Correct its RPC URL, or start it.";
        match good.is_empty() {
            true => report.red("node", message, cure),
            false => report.yellow("node", message, cure),
        }
    }
    if !good.is_empty() {
        report.green("node", format!("{} serves {network}.", good.join(", ")));
    }
    !good.is_empty() && !wrong
}

/// An RPC error without the node's own words, which nobody vouches for.
fn told(error: &RpcError) -> String {
    match error {
        RpcError::Rpc { code, .. } => format!("it refused, with code {code}"),
        other => other.to_string(),
    }
}

impl Looked {
    /// Looks at all that offers on this network need there.
    pub async fn offers(
        &self,
        report: &mut Report,
        offers: &[Terms],
        assets: &AssetTable,
        deploys_settler: bool,
    ) {
        let here: Vec<&Terms> = offers
            .iter()
            .filter(|terms| terms.network == self.network)
            .collect();
        let mut tokens: Vec<&Terms> = Vec::new();
        for terms in &here {
            let same = |known: &&&Terms| known.asset == terms.asset && names(known) == names(terms);
            if tokens.iter().find(same).is_none() {
                tokens.push(terms);
            }
        }
        for terms in tokens {
            if let Err(error) = self.token(report, terms, assets).await {
                report.red_sentence("token", &error);
            }
        }
        self.contracts(report, &here, deploys_settler).await;
    }

    async fn token(
        &self,
        report: &mut Report,
        terms: &Terms,
        assets: &AssetTable,
    ) -> Result<(), String> {
        let address = evm(terms.asset.as_str())?;
        let facts = token_facts(&self.rpc, address)
            .await
            .map_err(|e| e.to_string())?;
        let known = assets.find(&terms.network, &terms.asset);
        let name = known.map_or_else(
            || terms.asset.to_string(),
            |asset| format!("{} at {}", asset.symbol, asset.address),
        );
        if !facts.has_code {
            report.red(
                "token",
                format!("{name} has no contract on {}.", self.network),
                "Correct the asset, or the RPC URL.",
            );
            return Ok(());
        }
        let mut sound = true;
        if let Some(asset) = known
            && facts.decimals.is_some_and(|found| found != asset.decimals)
        {
            sound = false;
            report.red(
                "token",
                format!(
                    "{name} has {} decimals on chain, and the asset table says {}.",
                    facts.decimals.unwrap_or_default(),
                    asset.decimals
                ),
                "Do not sell for it: the price would be wrong. Correct the asset or the RPC URL.",
            );
        }
        let signs = matches!(
            terms.transfer_method(),
            Some(Method::Eip3009 | Method::Eip2612)
        );
        let (named, version) = domain(terms, known);
        if signs {
            let ours = Domain::new(named, version, self.chain_id, address).separator();
            if facts.separator != Some(ours) {
                sound = false;
                report.red(
                    "token",
                    format!("{name} has another EIP-712 domain on chain than name `{named}` and version `{version}`: no signature would hold."),
                    "Correct the RPC URL, or sell for another asset.",
                );
            }
        }
        if sound {
            let decimals = facts
                .decimals
                .map_or_else(String::new, |d| format!(", {d} decimals"));
            let domain = if signs {
                format!(", EIP-712 domain {named} {version}")
            } else {
                String::new()
            };
            report.green(
                "token",
                format!("{name} is on {}{decimals}{domain}.", self.network),
            );
        }
        Ok(())
    }

    /// The contracts that some ways to pay go through.
    async fn contracts(&self, report: &mut Report, offers: &[&Terms], deploys_settler: bool) {
        let by = |method| {
            offers.iter().any(|terms| {
                terms.scheme == Scheme::Exact && terms.transfer_method() == Some(method)
            })
        };
        let metered = offers.iter().any(|terms| terms.scheme == Scheme::Upto);
        let mut needed = Vec::new();
        if by(Method::Permit2) || metered {
            needed.push((self.places.permit2, "Permit2"));
        }
        if by(Method::Permit2) {
            needed.push((self.places.exact_proxy, "the Permit2 proxy of scheme exact"));
        }
        if metered {
            needed.push((self.places.upto_proxy, "the Permit2 proxy of scheme upto"));
        }
        for (address, what) in needed {
            match self.code(address).await {
                Ok(code) if !code.is_empty() => {
                    report.green("contract", format!("{what} is on {}.", self.network))
                }
                Ok(_) => report.red(
                    "contract",
                    format!("{what} ({address}) is not on {}.", self.network),
                    "Take this way to pay from the route, or sell on another network.",
                ),
                Err(error) => report.red(
                    "contract",
                    format!("{what} cannot be looked at: {}.", told(&error)),
                    "Check again.",
                ),
            }
        }
        if by(Method::Eip2612) && !deploys_settler {
            self.settlers(report, offers).await;
        }
    }

    /// A payee's settler must be there, where nobody deploys it with the first payment.
    async fn settlers(&self, report: &mut Report, offers: &[&Terms]) {
        let mut payees: Vec<_> = offers
            .iter()
            .filter(|terms| terms.transfer_method() == Some(Method::Eip2612))
            .filter_map(|terms| evm(terms.pay_to.as_str()).ok())
            .collect();
        payees.sort();
        payees.dedup();
        for payee in payees {
            let there = self.code(settler_address(payee)).await;
            if there.is_ok_and(|code| code.is_empty()) {
                report.yellow(
                    "contract",
                    format!("The settler of {payee} is not on {} yet.", self.network),
                    "Ask the facilitator whether it deploys it (--settler-for), or take eip2612 from the route.",
                );
            }
        }
    }

    /// Warns of a payee that is a contract.
    pub async fn payee(&self, report: &mut Report, payee: &str) {
        let Ok(address) = evm(payee) else {
            return;
        };
        match self.code(address).await {
            Ok(code) if code.is_empty() => {}
            Ok(code) if code.starts_with(&[0xef, 0x01, 0x00]) => report.yellow(
                "payee",
                format!(
                    "{payee} is an account that runs a contract's code on {} (EIP-7702).",
                    self.network
                ),
                "Make sure that it is yours and that you know that code.",
            ),
            Ok(_) => report.yellow(
                "payee",
                format!("{payee} is a contract on {}.", self.network),
                "Make sure that it can hand the money out again.",
            ),
            Err(error) => report.red(
                "payee",
                format!(
                    "{payee} cannot be looked at on {}: {}.",
                    self.network,
                    told(&error)
                ),
                "Check again.",
            ),
        }
    }

    /// What the settling accounts have for gas, in payments.
    pub async fn gas(&self, report: &mut Report, signers: &[String]) {
        let price = self.rpc.call::<U256>("eth_gasPrice", [(); 0]).await;
        let cost = match price {
            Ok(price) => price.saturating_mul(U256::from(GAS_OF_A_PAYMENT)),
            Err(error) => {
                report.red(
                    "gas",
                    format!(
                        "The price of gas on {} is not known: {}.",
                        self.network,
                        told(&error)
                    ),
                    "Check again.",
                );
                return;
            }
        };
        for signer in signers {
            let balance = self
                .rpc
                .call::<U256>("eth_getBalance", (signer, LATEST))
                .await;
            match balance {
                Ok(balance) => self.lasts(report, signer, balance, cost),
                Err(error) => report.red(
                    "gas",
                    format!("The balance of {signer} is not known: {}.", told(&error)),
                    "Check again.",
                ),
            }
        }
    }

    fn lasts(&self, report: &mut Report, signer: &str, balance: U256, cost: U256) {
        let has = Amount::from(balance).to_decimal(COIN_DECIMALS);
        let payments = balance.checked_div(cost).unwrap_or(U256::MAX);
        let name = self
            .network
            .info()
            .map_or(self.network.as_str(), |info| info.display_name);
        let cure = format!(
            "Send it some of the coin of {name}{}.",
            faucet(&self.network)
        );
        if balance.is_zero() || payments.is_zero() {
            let what = if balance.is_zero() {
                "nothing".to_owned()
            } else {
                format!("{has}, less than one payment's gas")
            };
            report.red(
                "gas",
                format!("{signer} settles on {name} and has {what} to pay gas with."),
                &cure,
            );
        } else if payments < U256::from(FEW_PAYMENTS) {
            report.yellow(
                "gas",
                format!("{signer} has {has} coins on {name}, gas for about {payments} payments."),
                &cure,
            );
        } else {
            let payments = payments.min(U256::from(1_000_000_000_u64));
            report.green("gas", format!("{signer} has {has} coins on {name}, gas for about {payments} payments at today's price."));
        }
    }

    async fn code(&self, address: Address) -> Result<Bytes, RpcError> {
        self.rpc.call("eth_getCode", (address, LATEST)).await
    }
}

/// Where play money for gas comes from, on testnets.
fn faucet(network: &Network) -> &'static str {
    match network.info() {
        Some(info) if info.testnet => ": a faucet of the network gives it for nothing",
        _ => "",
    }
}

/// The EIP-712 name and version that buyers sign under: the offer's, else our table's.
fn domain<'a>(terms: &'a Terms, known: Option<&'a AssetInfo>) -> (&'a str, &'a str) {
    let ours = |text: &'a Option<Cow<'static, str>>| text.as_deref();
    let (name, version) = names(terms);
    let or = |told: &'a str, ours: Option<&'a str>| match told {
        "" => ours.unwrap_or_default(),
        told => told,
    };
    (
        or(name, known.and_then(|asset| ours(&asset.name))),
        or(version, known.and_then(|asset| ours(&asset.version))),
    )
}

fn names(terms: &Terms) -> (&str, &str) {
    let of = |key| terms.wire.extra_str(key).unwrap_or_default();
    (of("name"), of("version"))
}

fn evm(text: &str) -> Result<Address, String> {
    text.parse()
        .map_err(|_| format!("{text} is no address; correct it"))
}

/// Looks at a chain of another family, as the gate would at its start.
pub async fn other(
    report: &mut Report,
    setting: &NetworkSetting,
    chain: &ServedChain,
    settles: bool,
) {
    let ServedChain::Starknet(chain) = chain else {
        return;
    };
    match chain.check().await {
        Ok(()) => report.green(
            "node",
            format!("The node serves {}, with its tokens.", setting.network),
        ),
        Err(error) => {
            report.red_sentence("node", &error.to_string());
            return;
        }
    }
    if settles && let Some(problem) = chain.health().await.problem {
        report.red_sentence("gas", &problem);
    }
}
