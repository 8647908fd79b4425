//! A command's settings: its flags, and behind them one table of a TOML file.
//!
//! Keys are the flags' names; unknown keys are refused, with the line.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::cli::{Command, FacilitatorArgs, GateArgs};
use crate::environment::Environment;
use crate::exit::Failure;
use crate::logs::LogSettings;

/// The tables that a configuration file may have.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    gate: Option<GateArgs>,
    facilitator: Option<FacilitatorArgs>,
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    let text = std::fs::read_to_string(path).map_err(|e| {
        Failure::usage(format!(
            "{} cannot be read: {e}; name a readable --config file.",
            path.display()
        ))
    })?;
    toml::from_str(&text).map_err(|e| {
        let before = e.span().and_then(|span| text.get(..span.start));
        let failure = Failure::usage(format!(
            "{}: {e}correct that line and start again.",
            path.display()
        ));
        failure.at_line(before.map(|before| before.matches('\n').count() + 1))
    })
}

fn file(flag: Option<&Path>, environment: &Environment) -> Result<File, Failure> {
    let path = flag
        .map(Path::to_path_buf)
        .or_else(|| environment.path("TOLLWAY_CONFIG"));
    path.map_or_else(|| Ok(File::default()), |path| read(&path))
}

fn either<T>(flag: Vec<T>, file: Vec<T>) -> Vec<T> {
    if flag.is_empty() { file } else { flag }
}

/// What was said, or else the one that a variable names.
fn behind(said: Vec<String>, variable: Option<&str>) -> Vec<String> {
    match said.is_empty() {
        true => variable.map(str::to_owned).into_iter().collect(),
        false => said,
    }
}

fn signers(flag: Vec<PathBuf>, file: Vec<PathBuf>, environment: &Environment) -> Vec<PathBuf> {
    let behind = || {
        environment
            .path("TOLLWAY_SIGNER_KEY_FILE")
            .into_iter()
            .collect()
    };
    Some(either(flag, file))
        .filter(|files| !files.is_empty())
        .unwrap_or_else(behind)
}

/// Where the server of a configuration file listens.
pub struct Listening {
    /// Its address.
    pub address: String,
    /// Whether it speaks https there.
    pub is_tls: bool,
}

/// Where the gate of a configuration file listens, or else its facilitator.
pub fn listening(
    config: Option<&Path>,
    environment: &Environment,
) -> Result<Option<Listening>, Failure> {
    let file = file(config, environment)?;
    let gate = file.gate.map(|gate| (gate.listen, gate.tls_cert));
    let facilitator = file.facilitator.map(|it| (it.listen, it.tls_cert));
    let listens = [gate, facilitator].into_iter().flatten();
    let mut listens = listens.filter_map(|(listen, certificate)| {
        Some(Listening {
            address: listen?,
            is_tls: certificate.is_some(),
        })
    });
    Ok(listens.next())
}

impl Command {
    /// What it logs, and where its traces go.
    pub fn log(&self, environment: &Environment) -> Result<LogSettings, Failure> {
        let (said, config, name) = match self {
            Self::Gate(args) => (gate_log(args), &args.config, "tollway-gate"),
            Self::Facilitator(args) => (facilitator_log(args), &args.config, "tollway-facilitator"),
            _ => return Ok(LogSettings::default()),
        };
        let file = file(config.as_deref(), environment)?;
        let behind = match self {
            Self::Gate(_) => file.gate.as_ref().map(gate_log),
            _ => file.facilitator.as_ref().map(facilitator_log),
        };
        let behind = behind.unwrap_or_default();
        let endpoint = said.otlp_endpoint.or(behind.otlp_endpoint);
        let variable = || environment.get("TOLLWAY_OTLP_ENDPOINT").map(str::to_owned);
        Ok(LogSettings {
            filter: said.filter.or(behind.filter),
            format: said.format.or(behind.format),
            otlp_endpoint: endpoint.or_else(variable),
            name,
        })
    }
}

fn gate_log(args: &GateArgs) -> LogSettings {
    LogSettings {
        filter: args.log.clone(),
        format: args.log_format,
        otlp_endpoint: args.otlp_endpoint.clone(),
        ..LogSettings::default()
    }
}

fn facilitator_log(args: &FacilitatorArgs) -> LogSettings {
    LogSettings {
        filter: args.log.clone(),
        format: args.log_format,
        otlp_endpoint: args.otlp_endpoint.clone(),
        ..LogSettings::default()
    }
}

impl GateArgs {
    /// Flags, then the file, then the environment.
    pub fn complete(self, environment: &Environment) -> Result<Self, Failure> {
        let file = file(self.config.as_deref(), environment)?
            .gate
            .unwrap_or_default();
        Ok(Self {
            listen: self.listen.or(file.listen),
            upstream: self.upstream.or(file.upstream),
            routes: either(self.routes, file.routes),
            pay_to: self.pay_to.or(file.pay_to),
            starknet_pay_to: self.starknet_pay_to.or(file.starknet_pay_to),
            networks: either(self.networks, file.networks),
            facilitator: self.facilitator.or(file.facilitator),
            settle: self.settle.or(file.settle),
            signer_key_files: signers(self.signer_key_files, file.signer_key_files, environment),
            starknet_accounts: behind(
                either(self.starknet_accounts, file.starknet_accounts),
                environment.get("TOLLWAY_STARKNET_ACCOUNT"),
            ),
            starknet_max_fee: self.starknet_max_fee.or(file.starknet_max_fee),
            add_assets: either(self.add_assets, file.add_assets),
            ledger: self.ledger.or(file.ledger),
            batch: self.batch.or(file.batch),
            max_gas_per_day: self.max_gas_per_day.or(file.max_gas_per_day),
            max_lost_gas_per_payer: self.max_lost_gas_per_payer.or(file.max_lost_gas_per_payer),
            helper_key_file: self.helper_key_file.or(file.helper_key_file),
            max_help_per_day: self.max_help_per_day.or(file.max_help_per_day),
            wallet_factories: either(self.wallet_factories, file.wallet_factories),
            facilitator_key_file: self.facilitator_key_file.or(file.facilitator_key_file),
            public_url: self.public_url.or(file.public_url),
            token_path: self.token_path.or(file.token_path),
            token_key_file: self.token_key_file.or(file.token_key_file),
            proof_key_file: self.proof_key_file.or(file.proof_key_file),
            new_token_keys: self.new_token_keys || file.new_token_keys,
            receipt_key_file: self.receipt_key_file.or(file.receipt_key_file),
            receipt_transactions: self.receipt_transactions || file.receipt_transactions,
            exposure_per_payer: self.exposure_per_payer.or(file.exposure_per_payer),
            exposure: self.exposure.or(file.exposure),
            webhook: self.webhook.or(file.webhook),
            webhook_key_file: self.webhook_key_file.or(file.webhook_key_file),
            finality: self.finality.or(file.finality),
            no_page: self.no_page,
            no_discovery: self.no_discovery,
            page: file.page,
            discovery: file.discovery,
            access: file.access,
            about: file.about,
            allow_http: self.allow_http || file.allow_http,
            dashboard: self.dashboard.or(file.dashboard),
            dashboard_token_file: self.dashboard_token_file.or(file.dashboard_token_file),
            tls_cert: self.tls_cert.or(file.tls_cert),
            tls_key: self.tls_key.or(file.tls_key),
            log: self.log.or(file.log),
            log_format: self.log_format.or(file.log_format),
            admin_listen: self.admin_listen.or(file.admin_listen),
            admin_token_file: self.admin_token_file.or(file.admin_token_file),
            drain_delay: self.drain_delay.or(file.drain_delay),
            otlp_endpoint: self.otlp_endpoint.or(file.otlp_endpoint),
            config: self.config,
        })
    }
}

impl FacilitatorArgs {
    /// Flags, then the file, then the environment.
    pub fn complete(self, environment: &Environment) -> Result<Self, Failure> {
        let file = file(self.config.as_deref(), environment)?
            .facilitator
            .unwrap_or_default();
        Ok(Self {
            listen: self.listen.or(file.listen),
            networks: either(self.networks, file.networks),
            signer_key_files: signers(self.signer_key_files, file.signer_key_files, environment),
            starknet_accounts: behind(
                either(self.starknet_accounts, file.starknet_accounts),
                environment.get("TOLLWAY_STARKNET_ACCOUNT"),
            ),
            starknet_max_fee: self.starknet_max_fee.or(file.starknet_max_fee),
            add_assets: either(self.add_assets, file.add_assets),
            ledger: self.ledger.or(file.ledger),
            finality: self.finality.or(file.finality),
            max_finality: self.max_finality.or(file.max_finality),
            batch: self.batch.or(file.batch),
            max_gas_per_day: self.max_gas_per_day.or(file.max_gas_per_day),
            max_lost_gas_per_payer: self.max_lost_gas_per_payer.or(file.max_lost_gas_per_payer),
            helper_key_file: self.helper_key_file.or(file.helper_key_file),
            max_help_per_day: self.max_help_per_day.or(file.max_help_per_day),
            wallet_factories: either(self.wallet_factories, file.wallet_factories),
            settlers_for: either(self.settlers_for, file.settlers_for),
            open_upto: self.open_upto || file.open_upto,
            min_amount: self.min_amount.or(file.min_amount),
            sponsor_account: self.sponsor_account.or(file.sponsor_account),
            sponsor_entrypoints: either(self.sponsor_entrypoints, file.sponsor_entrypoints),
            sponsor_fees_per_day: self.sponsor_fees_per_day.or(file.sponsor_fees_per_day),
            self_calls: self.self_calls || file.self_calls,
            delegation_managers: either(self.delegation_managers, file.delegation_managers),
            callers: file.callers,
            min_validity: self.min_validity.or(file.min_validity),
            allow_http: self.allow_http || file.allow_http,
            dashboard: self.dashboard.or(file.dashboard),
            dashboard_token_file: self.dashboard_token_file.or(file.dashboard_token_file),
            tls_cert: self.tls_cert.or(file.tls_cert),
            tls_key: self.tls_key.or(file.tls_key),
            log: self.log.or(file.log),
            log_format: self.log_format.or(file.log_format),
            admin_listen: self.admin_listen.or(file.admin_listen),
            admin_token_file: self.admin_token_file.or(file.admin_token_file),
            drain_delay: self.drain_delay.or(file.drain_delay),
            otlp_endpoint: self.otlp_endpoint.or(file.otlp_endpoint),
            config: self.config,
        })
    }
}

/// A setting that a command cannot do without.
pub fn required<T>(value: Option<T>, flag: &str, example: &str) -> Result<T, Failure> {
    value.ok_or_else(|| Failure::usage(format!("{flag} is missing; add {flag} {example}.")))
}
