//! `tollway check --config FILE`: a gate's own configuration, before its first customer.

use std::path::Path;

use tollway_core::{Family, Terms};
use tollway_gate::Offer;

use super::answers::{self, Question};
use super::facilitator::Told;
use super::flags::CheckArgs;
use super::nodes::{self, Looked};
use super::{Report, ledger, payees};
use crate::chains::{ServedChain, Signers};
use crate::cli::GateArgs;
use crate::commands::gate::Settings;
use crate::environment::Environment;
use crate::exit::Failure;
use crate::routes::RouteSetting;
use crate::{kms, wiring};

/// Looks at it.
///
/// # Errors
/// A usage error, where there is nothing that could be looked at.
pub async fn look(
    report: &mut Report,
    args: CheckArgs,
    environment: &Environment,
) -> Result<(), Failure> {
    readable(&args.gate, environment)?;
    report.about("Configuration");
    let (paths, try_changes) = (args.paths, args.try_changes);
    let args = match args.gate.complete(environment) {
        Ok(args) => args,
        Err(failure) => {
            report.red_sentence("config", &failure.message);
            return Ok(());
        }
    };
    let settings = match Settings::read(&args, environment) {
        Ok(settings) => settings,
        Err(failure) => {
            report.red_sentence("config", &failure.message);
            return Ok(());
        }
    };
    let networks: Vec<_> = settings
        .networks
        .iter()
        .map(|n| n.network.to_string())
        .collect();
    report.green(
        "config",
        format!(
            "Read whole; priced routes: {}, networks: {}.",
            settings.routes.len(),
            networks.join(", ")
        ),
    );
    let owner = Owner::read(report, &args, &settings, environment).await;
    for setting in &settings.networks {
        let payee = settings.payee(&setting.network);
        payees::look(
            report,
            &setting.network,
            payee,
            &settings.assets,
            &owner.signers,
        );
    }
    let offered = offered(report, &settings);
    ledger::look(report, args.ledger.as_deref(), environment).await;
    report.about("Money");
    let chains = owner.chains(report, &args, &settings, environment).await;
    money(report, &args, &settings, &owner, &offered, &chains).await;
    let told = match settings.facilitator.as_str() {
        "local" => Told::local(&chains),
        url => Told::remote(report, &args, url).await,
    };
    report.about("Gate");
    if offered.len() < settings.routes.len() || chains.len() < settings.networks.len() {
        // What is red already leaves no gate to ask.
        return Ok(());
    }
    let question = Question {
        settings: &settings,
        public_url: args.public_url.as_deref(),
        offered: &offered,
        paths: &paths,
        try_changes,
    };
    answers::look(report, &question, told, chains).await;
    Ok(())
}

/// A file that cannot be read, and nothing at all, are mistakes at the command line.
fn readable(args: &GateArgs, environment: &Environment) -> Result<(), Failure> {
    let path = args
        .config
        .clone()
        .or_else(|| environment.path("TOLLWAY_CONFIG"));
    let Some(path) = path else {
        return match args.routes.is_empty() && args.pay_to.is_none() && args.upstream.is_none() {
            true => Err(Failure::usage(
                "There is nothing to check; name a --config file (`tollway init` writes one), a gate's flags, or a URL.",
            )),
            false => Ok(()),
        };
    };
    let read = |path: &Path| std::fs::File::open(path).and_then(|file| file.metadata());
    match read(&path) {
        Ok(metadata) if metadata.is_file() => Ok(()),
        Ok(_) => Err(Failure::usage(format!(
            "{} is no file; name a --config file.",
            path.display()
        ))),
        Err(e) => Err(Failure::usage(format!(
            "{} cannot be read: {e}; name a readable --config file, or write one with `tollway init`.",
            path.display()
        ))),
    }
}

/// The accounts that settle, where the gate settles by itself.
struct Owner {
    is_local: bool,
    signers: Vec<String>,
    is_sound: bool,
}

impl Owner {
    async fn read(
        report: &mut Report,
        args: &GateArgs,
        settings: &Settings,
        environment: &Environment,
    ) -> Self {
        let is_local = settings.facilitator == "local";
        let mut owner = Self {
            is_local,
            signers: Vec::new(),
            is_sound: true,
        };
        if !is_local {
            return owner;
        }
        let evm = settings
            .networks
            .iter()
            .any(|n| n.network.family() == Family::Evm);
        let sends = settings.routes.iter().any(RouteSetting::costs_gas);
        if evm && sends && args.signer_key_files.is_empty() {
            owner.is_sound = false;
            report.red(
                "signer",
                "The gate settles by itself and no key pays for gas.",
                "Name a file (mode 0600) with signer_key_file, or let a facilitator settle: facilitator = \"https://…\".",
            );
        }
        for file in &args.signer_key_files {
            match kms::signing_key(file, environment).await {
                Ok(signer) => owner.signers.push(signer.address().to_string()),
                Err(failure) => {
                    owner.is_sound = false;
                    report.red_sentence("signer", &failure.message);
                }
            }
        }
        let accounts = args.starknet_accounts.iter();
        let named = accounts
            .filter_map(|text| text.split_once('='))
            .map(|(address, _)| address);
        owner
            .signers
            .extend(named.map(|address| address.trim().to_owned()));
        owner
    }

    /// The chains as the gate holds them: with its signers, if it settles by itself.
    async fn chains(
        &self,
        report: &mut Report,
        args: &GateArgs,
        settings: &Settings,
        environment: &Environment,
    ) -> Vec<ServedChain> {
        let signers = match self.is_local && self.is_sound {
            false => Ok(Signers::none()),
            true => {
                Signers::read(
                    &settings.networks,
                    &args.signer_key_files,
                    settings.routes.iter().any(RouteSetting::costs_gas),
                    &args.starknet_accounts,
                    args.starknet_max_fee.as_deref(),
                    environment,
                )
                .await
            }
        };
        let signers = signers.unwrap_or_else(|failure| {
            report.red_sentence("signer", &failure.message);
            Signers::none()
        });
        let mut chains = Vec::new();
        for setting in &settings.networks {
            // What is asked is asked one by one; nothing else leaves.
            let node = match setting.network.family() {
                Family::Starknet if !setting.rpc.is_empty() => {
                    wiring::node(setting, args.allow_http)
                }
                _ => wiring::no_node(),
            };
            let chain = node.and_then(|node| {
                ServedChain::build(setting, node, &signers, &settings.assets, None)
            });
            match chain {
                Ok(chain) => chains.push(chain),
                Err(failure) => report.red_sentence("node", &failure.message),
            }
        }
        chains
    }
}

/// What each route offers; a route that offers nothing is said.
fn offered(report: &mut Report, settings: &Settings) -> Vec<(RouteSetting, Vec<Offer>)> {
    let mut all = Vec::new();
    for route in &settings.routes {
        match settings.offers(route) {
            Ok(offers) => all.push((route.clone(), offers)),
            Err(failure) => report.red_sentence("route", &failure.message),
        }
    }
    all
}

/// Nodes, tokens, contracts, payees and gas.
async fn money(
    report: &mut Report,
    args: &GateArgs,
    settings: &Settings,
    owner: &Owner,
    offered: &[(RouteSetting, Vec<Offer>)],
    chains: &[ServedChain],
) {
    let offers = offered.iter().flat_map(|(_, offers)| offers);
    let terms: Vec<Terms> = offers.map(|offer| Terms::clone(offer.terms())).collect();
    for setting in &settings.networks {
        if setting.network.family() != Family::Evm {
            let chain = chains
                .iter()
                .find(|chain| *chain.chain().network() == setting.network);
            match chain {
                Some(chain) if !setting.rpc.is_empty() => {
                    nodes::other(report, setting, chain, owner.is_local).await;
                }
                _ => report.yellow(
                    "node",
                    format!(
                        "{} has no node of yours, so nothing was asked there.",
                        setting.network
                    ),
                    "Name one with networks = [\"NETWORK=RPC_URL\"].",
                ),
            }
            continue;
        }
        let looked = nodes::connect(report, setting, args.allow_http, !owner.is_local).await;
        if let Some(looked) = looked {
            evm(report, &looked, settings, owner, &terms).await;
        }
    }
}

async fn evm(
    report: &mut Report,
    looked: &Looked,
    settings: &Settings,
    owner: &Owner,
    terms: &[Terms],
) {
    looked
        .offers(report, terms, &settings.assets, owner.is_local)
        .await;
    looked.payee(report, settings.payee(&looked.network)).await;
    let evm: Vec<String> = owner
        .signers
        .iter()
        .filter(|s| s.len() == 42)
        .cloned()
        .collect();
    if owner.is_local && !evm.is_empty() {
        looked.gas(report, &evm).await;
    }
}
