//! What sessions execute, in the record of what they pay and against the same limits:
//! reserved before it is signed, recorded before it leaves, and given back only where
//! it is certain that nothing left.

use std::time::Duration;

use tollway_core::wire::{PaymentPayload, PaymentRequirements};
use tollway_core::{
    Address, Amount, Clock, Identity, LimitedKey, SpendId, SystemClock, Timestamp, TxHash, codes,
};
use tollway_ledger::{Limit, LimitScope, NewSpend, Reservation, SignedSpend, SpendStore, Store};
use tollway_starknet::session::SessionWallet;
use tollway_starknet::{Call, SignedExecution, felt};

use super::sender::not_starknet;
use super::{KeptSession, refused};
use crate::exit::{Exit, Failure};

/// An execution that counts against its session's limits.
pub(super) struct Recorded<'a> {
    ledger: &'a Store,
    spend: NewSpend,
    id: SpendId,
}

impl<'a> Recorded<'a> {
    /// Reserves the calls, and what they spend of the session's token.
    pub async fn reserve(
        ledger: &'a Store,
        name: &str,
        kept: &KeptSession,
        wallet: &SessionWallet,
        calls: &[Call],
    ) -> Result<Self, Failure> {
        let amount = wallet.spending(calls).map_err(|r| refused(&r))?;
        let limits = wallet.limits();
        let spend = NewSpend {
            account: kept.account()?,
            agent: format!("session {name}"),
            request: fresh()?,
            url: format!("tollway session execute {name}"),
            host: "session".to_owned(),
            payee: payee(kept, calls)?,
            network: kept.network.clone(),
            asset: kept.token()?,
            amount,
            key: limits.as_ref().map(|key| key.name.clone()),
            decimals: None,
            calls: Some(u32::try_from(calls.len()).unwrap_or(u32::MAX)),
        };
        let limits: Vec<Limit> = limits.iter().flat_map(limits_of).collect();
        let reserved = ledger.reserve(spend.clone(), &limits, SystemClock.now());
        match reserved.await.map_err(unrecorded)? {
            Reservation::Reserved(id) => Ok(Self { ledger, spend, id }),
            Reservation::Exceeded { limit, .. } => Err(used_up(name, &limit)),
            _ => Err(Failure::new(
                "The ledger already knows this execution; try again.",
            )),
        }
    }

    /// Records what was signed, before it leaves.
    pub async fn signed(&self, signed: &SignedExecution) -> Result<(), Failure> {
        let spend = &self.spend;
        let chain_id =
            felt::chain_id(&spend.network).ok_or_else(|| not_starknet(&spend.network))?;
        let until = u64::try_from(signed.execution.execute_before).unwrap_or(u64::MAX);
        let payload = PaymentPayload {
            x402_version: 2,
            resource: None,
            accepted: PaymentRequirements {
                scheme: "exact".to_owned(),
                network: spend.network.to_string(),
                amount: spend.amount.to_string(),
                asset: spend.asset.to_string(),
                pay_to: spend.payee.to_string(),
                max_timeout_seconds: LIFETIME.as_secs(),
                extra: None,
            },
            payload: signed.to_payload(&chain_id),
            extensions: None,
        };
        let signed = SignedSpend {
            identity: Identity {
                network: spend.network.clone(),
                scope: spend.account.to_string(),
                payer: spend.account.clone(),
                nonce: felt::text(&signed.execution.nonce),
            },
            payload,
            valid_until: Timestamp::from_secs(until),
            transaction: None,
        };
        let step = self.ledger.signed(&self.id, signed, SystemClock.now());
        step.await.map_err(unrecorded)
    }

    /// It happened.
    pub async fn done(&self, hash: &TxHash) -> Result<(), Failure> {
        let amount = self.spend.amount;
        let step = self
            .ledger
            .paid(&self.id, amount, Some(hash), SystemClock.now());
        step.await.map_err(unrecorded)
    }

    /// Nothing left: it counts no more.
    pub async fn give_back(&self) {
        let step = self
            .ledger
            .release(&self.id, "never_sent", SystemClock.now());
        if let Err(error) = step.await {
            tracing::warn!(spend = %self.id, %error, "a reservation could not be given back");
        }
    }
}

/// How long the sender has.
pub(super) const LIFETIME: Duration = Duration::from_secs(600);

fn limits_of(key: &LimitedKey) -> Vec<Limit> {
    let for_ever = |scope, max| Limit {
        scope,
        window: None,
        max,
    };
    let calls = LimitScope::KeyCalls(key.name.clone());
    let money = LimitScope::Key(key.name.clone());
    vec![
        for_ever(calls, key.payments),
        for_ever(money, key.total.unwrap_or(Amount::MAX)),
    ]
}

/// Who gets the session's token by the first call that gives it away; the account
/// itself where none does.
fn payee(kept: &KeptSession, calls: &[Call]) -> Result<Address, Failure> {
    let token = kept.token()?;
    let is_to_token =
        |call: &&Call| felt::to_address(&kept.network, &call.to).as_ref() == Some(&token);
    let first = calls.iter().find(is_to_token);
    let to = first.and_then(|call| felt::to_address(&kept.network, call.calldata.first()?));
    match to.filter(|to| *to != token) {
        Some(to) => Ok(to),
        None => kept.account(),
    }
}

/// No two executions are one request.
fn fresh() -> Result<String, Failure> {
    let name = SpendId::random().map_err(|e| {
        Failure::new(format!(
            "The system has no randomness to give: {e}; try again."
        ))
    })?;
    Ok(format!("execute:{name}"))
}

fn used_up(name: &str, limit: &Limit) -> Failure {
    let what = match limit.scope {
        LimitScope::KeyCalls(_) => "calls that this session may make are made or under way",
        _ => "of the session's token that it may spend is spent or under way",
    };
    Failure::coded(
        Exit::RefusedByPolicy,
        codes::SESSION_MAX_CALLS_EXCEEDED,
        format!("All {what}; make fewer calls, or renew it with `tollway session renew {name}`."),
    )
}

fn unrecorded(error: tollway_ledger::LedgerError) -> Failure {
    Failure::coded(Exit::Failed, "ledger_unavailable", error)
}
