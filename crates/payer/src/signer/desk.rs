//! What stands between callers and the payer that signs: no caller may take more of
//! the signer's time, room or nodes than another can spare.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tollway_core::{Address, Amount, ChainError, Network, Prepared, Refusal, WalletError, codes};

use super::answers::{known, named, refused};
use super::wire::{Answer, Ask, AskBalance, AskSend, AskSign};
use crate::code;
use crate::engine::Engine;
use crate::error::{ErrorKind, PayError};
use crate::method::PayMethod;
use crate::offer::Offer;

/// How long a balance is remembered.
const REMEMBERED: Duration = Duration::from_secs(2);
/// How long one transaction may be sent for one caller, and waited for by others.
const SENDING: Duration = Duration::from_secs(120);
/// What the record's growth is counted over.
const HOUR: Duration = Duration::from_secs(3_600);

/// A payer that signs for others.
pub(super) struct Desk {
    pub(super) engine: Arc<Engine>,
    most_per_hour: u64,
    balances: Mutex<HashMap<(Network, Address), Known>>,
}

/// What an account held, and when that was asked.
#[derive(Clone, Copy)]
struct Known {
    at: Instant,
    held: Option<Amount>,
}

impl Desk {
    pub(super) fn new(engine: &Arc<Engine>, most_per_hour: u64) -> Self {
        Self {
            engine: Arc::clone(engine),
            most_per_hour,
            balances: Mutex::default(),
        }
    }

    /// Answers one question.
    pub(super) async fn answer(&self, ask: Ask) -> Answer {
        let answered = match ask {
            Ask::Accounts => Ok(self.engine.own_accounts()),
            Ask::Balance(ask) => self.balance(ask).await.map(Answer::Balance),
            Ask::Sign(ask) => self
                .sign(&ask)
                .await
                .map(|prepared| Answer::Signed(Box::new(prepared.into()))),
            Ask::SignAgain(ask) => self.engine.sign_again_for(&ask).await,
            Ask::Send(ask) => self.send(&ask).await,
        };
        answered.unwrap_or_else(|error| {
            tracing::info!(
                code = error.code(),
                detail = error.detail(),
                "nothing was signed"
            );
            refused(&error)
        })
    }

    /// What the account holds of an asset that may be paid with; of others no node is
    /// asked.
    async fn balance(&self, ask: AskBalance) -> Result<Option<Amount>, PayError> {
        let (policy, wallet) = (&self.engine.policy, self.engine.wallet()?);
        if policy.assets.find(&ask.network, &ask.asset).is_none() {
            return Err(PayError::declined(Refusal::new(
                code::POLICY_ASSET,
                "The signer does not pay with this asset; ask for one of its policy's.",
            )));
        }
        let what = (ask.network, ask.asset);
        let _turn = self
            .engine
            .turn(&format!("balance {} {}", what.0, what.1))
            .await;
        if let Some(held) = self.remembered(&what) {
            return Ok(held);
        }
        let held = wallet.balance(&what.0, &what.1).await;
        let held = held.map_err(|error| PayError::from(WalletError::Chain(error)))?;
        let at = Instant::now();
        self.balances().insert(what, Known { at, held });
        Ok(held)
    }

    fn remembered(&self, what: &(Network, Address)) -> Option<Option<Amount>> {
        let known = self.balances().get(what).copied();
        known
            .filter(|k| k.at.elapsed() < REMEMBERED)
            .map(|k| k.held)
    }

    fn balances(&self) -> std::sync::MutexGuard<'_, HashMap<(Network, Address), Known>> {
        self.balances.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Signs a payment, or gives what was signed by the same name.
    async fn sign(&self, ask: &AskSign) -> Result<Prepared, PayError> {
        let url = named(ask)?;
        let engine = &self.engine;
        let offer = engine.allowed(ask, &url)?;
        // Two callers by one name get one payment.
        let _turn = engine.turn(ask.id.as_str()).await;
        let account = account(engine, &offer)?;
        let open = engine.spends()?.open_of_request(&account, ask.id.as_str());
        if let Some(record) = open.await? {
            return known(record, ask, &url);
        }
        // An account's transactions follow one another, whoever asks for them.
        let _line = match PayMethod::of(&offer.terms) {
            Some(PayMethod::Txid) => {
                let line = format!("txid {} {account}", offer.terms.network);
                let line = engine.turn(&line).await;
                engine.check_under_way(&offer, ask.id.as_str()).await?;
                Some(line)
            }
            _ => None,
        };
        self.check_pace().await?;
        engine.sign_new(ask, &offer, &url).await
    }

    /// Each payment stays on record, and its price may be next to nothing.
    async fn check_pace(&self) -> Result<(), PayError> {
        let engine = &self.engine;
        let since = engine.clock.now().minus(HOUR);
        let reserved = engine.spends()?.reserved_after(since).await?;
        if reserved < self.most_per_hour {
            return Ok(());
        }
        Err(busy(format!(
            "It has signed for {reserved} payments within an hour, which is as many as it may; ask again later, or let its owner allow more (--max-per-hour)."
        )))
    }

    /// Sends what was signed here, and nothing else; one transaction at a time once.
    async fn send(&self, ask: &AskSend) -> Result<Answer, PayError> {
        let sent = timeout(SENDING, async {
            let turn = format!("send {} {}", ask.network, ask.transaction);
            let _turn = self.engine.turn(&turn).await;
            self.engine.send_for(ask).await
        });
        sent.await.unwrap_or_else(|_| {
            Err(PayError::from(WalletError::Chain(
                ChainError::unavailable_because(
                    "The transaction is in no block yet; ask again in a minute.",
                    ask.transaction.to_string(),
                ),
            )))
        })
    }
}

fn account(engine: &Engine, offer: &Offer) -> Result<Address, PayError> {
    let account = engine.wallet()?.address(&offer.terms.network);
    account.ok_or_else(|| {
        PayError::declined(Refusal::new(
            codes::NO_ACCEPTABLE_TERMS,
            "The signer has no account on this network; choose another way to pay.",
        ))
    })
}

fn busy(message: String) -> PayError {
    PayError::new(ErrorKind::Failed, Refusal::new(codes::SIGNER_BUSY, message))
}
