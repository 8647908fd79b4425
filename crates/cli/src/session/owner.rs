//! What an account's owner does: allow sessions, limit them, end them, and deploy
//! the account.

use tollway_core::{Clock, SystemClock};
use tollway_rpc::RpcClient;
use tollway_starknet::session::{
    self, KdfCost, Policy, Registration, SealedSession, SessionKey, SessionStatus,
};
use tollway_starknet::{
    ACCOUNT_CLASS_HASH, Call, Felt, NewAccount, StarkKey, StarknetAccount, felt, is_deployed,
};

use super::create::{amount, token};
use super::flags::{DeployArgs, Owner, OwnerArgs, PolicyCommand, RenewArgs};
use super::sender::{OwnerKey, Sender, failed};
use super::store::KeptSession;
use super::{node, one_network, refused, sessions, time};
use crate::environment::Environment;
use crate::exit::Failure;
use crate::{assets, keys, wiring};

/// The owner of a session's account, and a way to send.
struct Acting {
    account: StarknetAccount,
    rpc: RpcClient,
    sender: Sender,
}

impl Acting {
    async fn begin(
        session: &KeptSession,
        owner: &Owner,
        environment: &Environment,
    ) -> Result<Self, Failure> {
        let account = OwnerKey::read(owner, environment)?.of(session.account()?)?;
        let rpc = node(session, environment)?;
        let sender = Sender::of(&account, &owner.fees, &session.network, &rpc).await?;
        Ok(Self {
            account,
            rpc,
            sender,
        })
    }

    /// Whether the account lets a session pay, or would but for its limits.
    async fn is_registered(&self, session: &KeptSession) -> Result<bool, Failure> {
        let account = self.account.number();
        let status = SessionStatus::read(&self.rpc, account, public(session)?, None).await;
        Ok(status.map_err(failed)?.data.valid_until != 0)
    }

    async fn make(&self, session: &KeptSession, calls: Vec<Call>) -> Result<(), Failure> {
        let sent = self
            .sender
            .own_calls(&self.account, &session.network, &self.rpc, calls);
        let hash = sent.await?;
        println!("{hash}");
        Ok(())
    }
}

/// Registers a session with its limits.
pub async fn register(args: &OwnerArgs, environment: &Environment) -> Result<(), Failure> {
    let kept = sessions(environment)?.read(&args.name)?;
    let acting = Acting::begin(&kept, &args.owner, environment).await?;
    let calls = allowing(&kept, acting.account.number(), public(&kept)?)?;
    acting.make(&kept, calls).await?;
    eprintln!(
        "Session {} may pay until {}.",
        args.name, kept.key.valid_until
    );
    Ok(())
}

/// Puts a fresh key in a session's place: allowed and the old one ended in one
/// transaction. The fresh key is on disk before the account knows it.
pub async fn renew(args: &RenewArgs, environment: &Environment) -> Result<(), Failure> {
    let sessions = sessions(environment)?;
    let old = sessions.read(&args.name)?;
    let lifetime = time(&args.lifetime, "--lifetime")?;
    let key = SessionKey::create(SystemClock.now(), lifetime).map_err(|r| refused(&r))?;
    let passphrase = keys::passphrase(args.passphrase_file.as_deref(), environment, false)?;
    // Whoever does not know it would lock the agent out.
    old.key.open(&passphrase).map_err(|r| refused(&r))?;
    let mut fresh = old.clone();
    fresh.lifetime_seconds = lifetime.as_secs();
    fresh.key =
        SealedSession::seal(&key, &passphrase, KdfCost::Interactive).map_err(|r| refused(&r))?;
    let acting = Acting::begin(&old, &args.owner, environment).await?;
    let account = acting.account.number();
    for (staged, kept) in sessions.staged(&args.name)? {
        if kept.key.valid_until <= SystemClock.now().secs() {
            staged.discard();
            continue;
        }
        if acting.is_registered(&kept).await? {
            let end = kept.key.valid_until;
            staged.promote()?;
            eprintln!(
                "An earlier renewal had happened after all: session {} may pay until {end}.",
                args.name
            );
            return Ok(());
        }
    }
    let mut calls = allowing(&fresh, account, key.public())?;
    if acting.is_registered(&old).await? {
        calls.push(session::revoke(account, public(&old)?));
    }
    let staged = sessions.stage(&args.name, &fresh)?;
    match acting.make(&fresh, calls).await {
        Ok(()) => staged.promote()?,
        Err(failure) if acting.sender.never_sent(&failure) => {
            staged.discard();
            return Err(failure);
        }
        Err(failure) => {
            eprintln!(
                "tollway: the fresh key may count all the same; it is kept in {}. Renew again once you know that the transaction is in a block or cannot be: what happened is taken over.",
                staged.fresh.display()
            );
            return Err(failure);
        }
    }
    eprintln!("Session {} may pay until {}.", args.name, key.valid_until());
    Ok(())
}

/// Ends a session on the chain, then forgets its key.
pub async fn revoke(args: &OwnerArgs, environment: &Environment) -> Result<(), Failure> {
    let sessions = sessions(environment)?;
    let kept = sessions.read(&args.name)?;
    let acting = Acting::begin(&kept, &args.owner, environment).await?;
    let account = acting.account.number();
    // With whatever was to take its place.
    let staged = sessions.staged(&args.name)?;
    let mut calls = Vec::new();
    for one in std::iter::once(&kept).chain(staged.iter().map(|(_, fresh)| fresh)) {
        if acting.is_registered(one).await? {
            calls.push(session::revoke(account, public(one)?));
        }
    }
    match calls.is_empty() {
        true => eprintln!("The account knows no such session; only its key is removed."),
        false => acting.make(&kept, calls).await?,
    }
    for (one, _) in staged {
        one.discard();
    }
    sessions.remove(&args.name)?;
    eprintln!("Session {} is over.", args.name);
    Ok(())
}

/// Sets or removes a policy.
pub async fn policy(command: &PolicyCommand, environment: &Environment) -> Result<(), Failure> {
    let (name, named, owner) = match command {
        PolicyCommand::Set {
            name, token, owner, ..
        }
        | PolicyCommand::Remove {
            name, token, owner, ..
        } => (name, token, owner),
        PolicyCommand::Get { .. } => return Ok(()),
    };
    if let PolicyCommand::Remove {
        everything: false, ..
    } = command
    {
        return Err(Failure::usage(
            "A session without its last policy may move all of every token that its entry points reach; add --everything if that is meant, or set another policy with `tollway session policy set`.",
        ));
    }
    let kept = sessions(environment)?.read(name)?;
    let token = token_of(&kept, named.as_deref(), environment)?;
    let acting = Acting::begin(&kept, owner, environment).await?;
    let (account, session) = (acting.account.number(), public(&kept)?);
    let contract = number(&token.contract)?;
    let call = match command {
        PolicyCommand::Set {
            max_per_call,
            max_per_window,
            window,
            ..
        } => {
            let policy = Policy {
                max_per_call: amount(max_per_call, &token, "--max-per-call")?,
                max_per_window: amount(max_per_window, &token, "--max-per-window")?,
                window_seconds: time(window, "--window")?.as_secs(),
            };
            session::set_policy(account, session, contract, &policy).map_err(|r| refused(&r))?
        }
        _ => session::remove_policy(account, session, contract),
    };
    acting.make(&kept, vec![call]).await
}

/// The token that a flag names, or the session's own.
pub fn token_of(
    kept: &KeptSession,
    named: Option<&str>,
    environment: &Environment,
) -> Result<super::store::Token, Failure> {
    let Some(named) = named else {
        return Ok(kept.token.clone());
    };
    token(
        &assets::table(&[], environment)?,
        &kept.network,
        Some(named),
    )
}

/// Deploys an account.
pub async fn deploy(args: &DeployArgs, environment: &Environment) -> Result<(), Failure> {
    if args.new_key {
        new_key(args)?;
    }
    let owner = OwnerKey::read(&args.owner, environment)?;
    let hex = |text: &str, flag: &str| {
        felt::parse(text).map_err(|e| Failure::usage(format!("{flag}: {e}; correct it.")))
    };
    let new = NewAccount {
        class_hash: match &args.class {
            Some(class) => hex(class, "--class")?,
            None => ACCOUNT_CLASS_HASH,
        },
        salt: hex(&args.salt, "--salt")?,
        public_key: owner.public(),
    };
    let setting = one_network(&args.network, environment)?;
    let address = felt::to_address(&setting.network, &new.address())
        .ok_or_else(|| Failure::new("This account has no address; try another --salt."))?;
    if args.address_only {
        println!("{address}");
        return Ok(());
    }
    let rpc = wiring::node(&setting, args.allow_http)?;
    if is_deployed(&rpc, &new.address()).await.map_err(failed)? {
        println!("{address}");
        eprintln!("The account is there already.");
        return Ok(());
    }
    let account = owner.of(address.clone())?;
    let sender = Sender::of(&account, &args.owner.fees, &setting.network, &rpc).await?;
    if matches!(sender, Sender::Own(_)) {
        eprintln!("The account pays for its deployment with STRK that {address} must hold.");
    }
    sender.deploy(&new, &rpc).await?;
    println!("{address}");
    Ok(())
}

fn new_key(args: &DeployArgs) -> Result<(), Failure> {
    let file = args.owner.owner_key_file.as_deref().ok_or_else(|| {
        Failure::usage("--owner-key-file is missing; name the file that the new key is written to.")
    })?;
    let key = StarkKey::random().map_err(Failure::new)?;
    keys::write_private(file, &key.secret_hex())?;
    eprintln!(
        "{} holds the owner's key. Back it up: without it the account's money is lost.",
        file.display()
    );
    Ok(())
}

/// The calls that allow a session and limit what it spends.
fn allowing(kept: &KeptSession, account: Felt, public: Felt) -> Result<Vec<Call>, Failure> {
    let selectors = kept.entrypoints.iter().map(|text| number(text));
    let registration = Registration {
        max_calls: kept.max_calls,
        entrypoints: selectors.collect::<Result<_, _>>()?,
        everything: kept.entrypoints.is_empty(),
    };
    let policy = Policy::for_session(kept.max_per_call, kept.max_calls, kept.lifetime_seconds)
        .ok_or_else(|| Failure::usage("The session's limits are too large; create another one."))?;
    let end = kept.key.valid_until;
    let register = session::register_public(account, public, end, &registration);
    let policy = session::set_policy(account, public, number(&kept.token.contract)?, &policy);
    Ok(vec![
        register.map_err(|r| refused(&r))?,
        policy.map_err(|r| refused(&r))?,
    ])
}

/// The session's public key.
pub fn public(kept: &KeptSession) -> Result<Felt, Failure> {
    number(&kept.key.public_key)
}

/// A number of a session's file.
pub fn number(text: &str) -> Result<Felt, Failure> {
    felt::parse(text)
        .map_err(|e| Failure::usage(format!("The session's file is damaged ({e}); restore it.")))
}
