//! `tollway permission grant`: the payer's own key signs, without a browser.

use alloy_primitives::{Address, Bytes};
use tollway_core::{Network, Wallet, WalletError, codes};
use tollway_evm::delegation::{DELEGATION_MANAGER, Dependency, MAX_FACTORY_DATA};
use tollway_evm::{Bestowal, DelegatorCode, EvmSigner, EvmWallet};

use super::permission::{Wish, account, keep, owner, permissions, session, wallet_failed};
use super::permission_answer::{deploy, told_with_payments};
use crate::assets;
use crate::cli::PermissionGrantArgs;
use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::permissions::Permission;
use crate::{keys, wiring};

/// Runs it.
pub async fn grant(args: PermissionGrantArgs, environment: &Environment) -> Result<Exit, Failure> {
    let store = permissions(environment)?;
    store.require_free(&args.name)?;
    let wish = Wish::read(&args.wish, environment).await?;
    let passphrase = keys::passphrase(args.passphrase_file.as_deref(), environment, false)?;
    if passphrase.is_empty() {
        return Err(Failure::usage(
            "The passphrase is empty, which protects nothing; choose one.",
        ));
    }
    let owner = owner(
        args.key_file.as_deref(),
        args.wallet.as_deref(),
        environment,
        &passphrase,
    )?;
    let network = wish.setting.network.clone();
    let payer = match &args.account {
        Some(text) => account(text, "--account")?,
        None => owner.address(),
    };
    let (session, spender) = session(&args.wish)?;
    let node = || wiring::node(&wish.setting, args.wish.allow_http);
    let wallet = EvmWallet::new(owner.clone()).with_node(network.clone(), node()?);
    let gas = match &args.deployer_key_file {
        Some(path) => {
            let key = keys::signer_from_file(path)?;
            Some(EvmWallet::new(key).with_node(network.clone(), node()?))
        }
        None => None,
    };
    let account = Payer {
        address: payer,
        owner: &owner,
        wallet: &wallet,
        gas: gas.as_ref(),
        network: &network,
    };
    let dependencies = account.make_ready(&args).await?;
    let bestowal = Bestowal {
        payer,
        session: spender,
        asset: wish.asset.spelling.parse().map_err(Failure::new)?,
        allowance: wish.allowance(),
        redeemers: wish.redeemers.clone(),
        payee: wish.payee,
        expires: wish.expires,
    };
    let manager = DELEGATION_MANAGER;
    let root = wallet.bestow(&network, manager, &bestowal).await;
    let permission = Permission {
        network,
        manager,
        session,
        account: spender,
        chain: vec![root.map_err(|error| wallet_failed(&error))?],
        dependencies,
    };
    let table = assets::table(&[], environment)?;
    keep(
        &store,
        &args.name,
        &permission,
        &passphrase,
        &table,
        args.json,
    )
}

/// Whose money it is.
struct Payer<'a> {
    address: Address,
    owner: &'a EvmSigner,
    wallet: &'a EvmWallet,
    /// Who pays for gas, where it is somebody else.
    gas: Option<&'a EvmWallet>,
    network: &'a Network,
}

impl Payer<'_> {
    /// An account without code executes nothing: it is given a delegator's code, or is
    /// deployed, if that is said. What is left to be deployed.
    async fn make_ready(&self, args: &PermissionGrantArgs) -> Result<Vec<Dependency>, Failure> {
        let code = self.wallet.delegator_code(self.network, self.address).await;
        if code.map_err(|error| wallet_failed(&error))? != DelegatorCode::None {
            return Ok(Vec::new());
        }
        if let (Some(factory), Some(call)) = (&args.factory, &args.factory_data) {
            return self.deployed_by(factory, call).await;
        }
        if !args.upgrade || args.account.is_some() {
            return Err(Failure::coded(
                Exit::Failed,
                codes::PERMISSION_UNUSABLE,
                format!(
                    "{} has no code, so nothing can be spent from it by a permission; add --upgrade to give it the published delegator's code by EIP-7702, which costs gas once, or for a smart account --factory and --factory-data.",
                    self.address
                ),
            ));
        }
        let sender = self.gas.unwrap_or(self.wallet);
        let raw = sender
            .upgrade_of(self.network, &self.owner.clone().into())
            .await;
        let raw = raw.map_err(|error| wallet_failed(&error))?;
        eprintln!(
            "Giving {} a delegator's code: transaction {}",
            self.address, raw.hash
        );
        let sent = sender.broadcast(self.network, &raw).await;
        sent.map_err(|error| wallet_failed(&WalletError::Chain(error)))?;
        Ok(Vec::new())
    }

    async fn deployed_by(&self, factory: &str, call: &str) -> Result<Vec<Dependency>, Failure> {
        let call: Option<Bytes> = call.parse().ok();
        let call = call.filter(|call| call.len() <= MAX_FACTORY_DATA);
        let one = Dependency {
            factory: account(factory, "--factory")?,
            factory_data: call.ok_or_else(|| {
                Failure::usage(format!(
                    "--factory-data is not 0x and hex digits of at most {MAX_FACTORY_DATA} bytes; copy it from the account's own tools."
                ))
            })?,
        };
        let makes = self.wallet.deploys(self.network, &one).await;
        let makes = makes.map_err(|error| wallet_failed(&error))?;
        if makes.is_some_and(|makes| makes != self.address) {
            return Err(Failure::coded(
                Exit::Failed,
                codes::PERMISSION_FACTORY,
                format!(
                    "The factory would deploy another account than {}; correct --account or --factory-data.",
                    self.address
                ),
            ));
        }
        match self.gas {
            Some(gas) => {
                let all = [one];
                deploy(gas, self.network, self.address, &all).await?;
                Ok(Vec::new())
            }
            None => {
                told_with_payments(self.address);
                Ok(vec![one])
            }
        }
    }
}
