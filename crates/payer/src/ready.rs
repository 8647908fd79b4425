//! From terms to a payment on disk: which offer, which place, signed anew or
//! resumed.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;
use tollway_core::wire::PaymentRequirements;
use tollway_core::{LimitedKey, Lookup, Refusal, SpendId, codes};
use tollway_ledger::{NewSpend, Reservation, SpendRecord};
use url::Url;

use crate::asked::Asked;
use crate::choose::Appraisal;
use crate::code;
use crate::engine::{Engine, Ready};
use crate::error::{ErrorKind, PayError};
use crate::event::Event;
use crate::method::PayMethod;
use crate::note::{Note, is_complete, known_paid};
use crate::offer::{Offer, Via};
use crate::reconcile::{Fate, is_dead};
use crate::request::{PayRequest, public_url};
use crate::rules::{counts_calls, exceeded, host, other_payee, price_jump, used_up};
use crate::token::KeptToken;

/// How many open payments of one request may exist side by side.
const MAX_ORDINAL: u32 = 4096;

/// What to do with an open payment.
enum Reuse {
    Show,
    Forget,
    Leave,
}

/// What became of reserving.
pub(crate) enum Held {
    /// Reserved, to be signed.
    New {
        id: SpendId,
        /// Whether the account's own key is to sign.
        by_own_key: bool,
    },
    /// The request has a payment whose fate is open.
    Open(Box<SpendRecord>),
}

/// What is done next for a request.
pub(crate) enum Next {
    Show(Box<Ready>),
    /// A token that opens it is at hand after all.
    Open(KeptToken),
}

/// Keeps a request's digest for one call at a time.
pub(crate) struct Place<'a> {
    busy: &'a Mutex<HashSet<String>>,
    pub(crate) digest: String,
    ordinal: u32,
    /// Where the purchase is of a token, until that is kept.
    turn: Option<OwnedMutexGuard<()>>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.remove(&self.digest);
    }
}

impl Engine {
    /// Signs a payment, or finds the one that was left open. An offer that the
    /// wallet cannot pay after all is passed over for the next best.
    pub(crate) async fn ready<'a>(
        &'a self,
        request: &PayRequest,
        asked: &Asked,
    ) -> Result<(Next, Place<'a>), PayError> {
        self.policy
            .check_url(&request.url)
            .map_err(PayError::declined)?;
        let mut appraised = self.appraise_for(request, asked);
        loop {
            let chosen = match self.choose(&mut appraised).await {
                Ok(chosen) => &mut appraised[chosen],
                Err(error) => return self.left_open(request, asked, &appraised, error).await,
            };
            let Ok(offer) = chosen.verdict.clone() else {
                continue;
            };
            let wire = chosen.wire.clone();
            match self.reserve_and_sign(request, asked, &offer, wire).await {
                Err(error)
                    if error.kind() == ErrorKind::Declined && is_passed_over(error.code()) =>
                {
                    let refusal = Refusal::foreign(error.code(), error.message());
                    self.mark(chosen, refusal);
                }
                decided => return decided,
            }
        }
    }

    /// A payment that has left already may be shown again whatever the policy says
    /// now.
    async fn left_open<'a>(
        &'a self,
        request: &PayRequest,
        asked: &Asked,
        appraised: &[Appraisal],
        error: PayError,
    ) -> Result<(Next, Place<'a>), PayError> {
        let place = self.place(request, 0)?;
        for Appraisal { wire, .. } in appraised {
            if let Some(record) = self.open_spend(wire, &place.digest).await? {
                return Ok((Next::Show(Box::new(self.resumed(record, asked))), place));
            }
        }
        Err(error)
    }

    async fn reserve_and_sign<'a>(
        &'a self,
        request: &PayRequest,
        asked: &Asked,
        offer: &Offer,
        wire: PaymentRequirements,
    ) -> Result<(Next, Place<'a>), PayError> {
        let door = asked.door.as_ref().filter(|_| offer.via == Via::Token);
        let turn = match door {
            Some(door) => Some(self.turn(door.endpoint.as_str()).await),
            None => None,
        };
        let mut place = self.place(request, 0)?;
        place.turn = turn;
        if door.is_some()
            && let Some(token) = self.token_for(request).await
        {
            // Another call bought one meanwhile.
            return Ok((Next::Open(token), place));
        }
        self.check_under_way(offer, &place.digest).await?;
        loop {
            match self.hold(offer, &request.url, &place.digest).await? {
                Held::New { id, by_own_key } => {
                    let ready = self.sign(id, offer, wire, asked, by_own_key).await?;
                    return Ok((Next::Show(Box::new(ready)), place));
                }
                Held::Open(record) => match self.reuse(&record).await? {
                    Reuse::Show => {
                        return Ok((Next::Show(Box::new(self.resumed(*record, asked))), place));
                    }
                    Reuse::Forget => {}
                    Reuse::Leave => {
                        let turn = place.turn.take();
                        place = self.place(request, place.ordinal + 1)?;
                        place.turn = turn;
                    }
                },
            }
        }
    }

    /// Reserves what an offer costs, for the account's own key where the limited one
    /// is used up, or finds what is open of the same request.
    pub(crate) async fn hold(
        &self,
        offer: &Offer,
        url: &Url,
        digest: &str,
    ) -> Result<Held, PayError> {
        let mut key = self.wallet()?.limited_key(&offer.terms);
        let mut by_own_key = false;
        loop {
            let new = self.new_spend(url, offer, digest, key.as_ref())?;
            let rules = self.rules(offer, url, key.as_ref());
            let reserved = self.spends()?.reserve_within(new, rules, self.clock.now());
            let refusal = match reserved.await? {
                Reservation::Reserved(id) => return Ok(Held::New { id, by_own_key }),
                Reservation::Open(record) => return Ok(Held::Open(record)),
                Reservation::Exceeded { limit, .. } if counts_calls(&limit) => {
                    by_own_key = key.take().is_some_and(|key| key.falls_back);
                    if by_own_key {
                        continue;
                    }
                    used_up()
                }
                Reservation::Exceeded { limit, used } => exceeded(offer, &limit, used),
                Reservation::OtherPayee { pinned } => other_payee(offer, url, &pinned),
                Reservation::PriceJump { last } => price_jump(offer, last),
            };
            return Err(PayError::declined(refusal));
        }
    }

    /// An account's transactions are included in order: while the fate of one is
    /// open, a second one might take its place, or wait for it for ever.
    pub(crate) async fn check_under_way(
        &self,
        offer: &Offer,
        digest: &str,
    ) -> Result<(), PayError> {
        let network = &offer.terms.network;
        let account = self.wallet()?.address(network);
        let (Some(PayMethod::Txid), Some(account)) = (PayMethod::of(&offer.terms), account) else {
            return Ok(());
        };
        for record in self.spends()?.open_spends(&account).await? {
            let signed = record.signed.as_ref();
            let others = record.spend.network == *network
                && record.spend.request != digest
                && signed.is_some_and(|s| s.transaction.is_some() && !is_dead(s, self.clock.now()));
            let Some(signed) = signed.filter(|_| others && Note::read(&record).is_none()) else {
                continue;
            };
            if !matches!(
                self.lookup(signed).await,
                Lookup::Settled(_) | Lookup::Spent
            ) {
                return Err(PayError::declined(Refusal::new(
                    code::WALLET_UNAVAILABLE,
                    format!(
                        "Another transaction of this account is under way ({}); try again when it is decided.",
                        record.id
                    ),
                )));
            }
        }
        Ok(())
    }

    /// One token is bought at a time at one endpoint, and one payment is signed at a
    /// time of one name: whoever waited finds it.
    pub(crate) async fn turn(&self, name: &str) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(name.to_owned()).or_default())
        };
        turn.lock_owned().await
    }

    /// What to do with an open payment of the same request.
    async fn reuse(&self, record: &SpendRecord) -> Result<Reuse, PayError> {
        if is_complete(record) {
            return Ok(match self.decide(record).await? {
                Fate::Paid | Fate::Released => Reuse::Forget,
                Fate::Held => Reuse::Leave,
            });
        }
        let dead = record
            .signed
            .as_ref()
            .is_some_and(|s| is_dead(s, self.clock.now()));
        if !dead {
            return Ok(Reuse::Show);
        }
        Ok(match self.decide(record).await? {
            // The server had its time to deliver.
            Fate::Paid if known_paid(record) => Reuse::Forget,
            // It was paid after all: the server may still hold the answer.
            Fate::Paid => Reuse::Show,
            Fate::Released => Reuse::Forget,
            // Nobody can prove it dead: it stays on the budget, and must not
            // stop the next purchase.
            Fate::Held => Reuse::Leave,
        })
    }

    /// The first place for this request that no other call holds.
    fn place(&self, request: &PayRequest, from: u32) -> Result<Place<'_>, PayError> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        for ordinal in from..MAX_ORDINAL {
            let digest = request.digest(&self.agent, ordinal);
            if busy.insert(digest.clone()) {
                return Ok(Place {
                    busy: &self.busy,
                    digest,
                    ordinal,
                    turn: None,
                });
            }
        }
        Err(PayError::invalid(
            "The same request is being paid for too often at once; wait for the others.",
        ))
    }

    fn resumed(&self, record: SpendRecord, asked: &Asked) -> Ready {
        self.tell(&Event::Resumed {
            spend: record.id.clone(),
        });
        Ready {
            record,
            version: asked.required.version,
        }
    }

    /// The open payment of a request, where choosing anew failed.
    async fn open_spend(
        &self,
        wire: &PaymentRequirements,
        digest: &str,
    ) -> Result<Option<SpendRecord>, PayError> {
        let (Some(wallet), Some(spends)) = (&self.wallet, &self.spends) else {
            return Ok(None);
        };
        let network = wire.network.parse().ok();
        let Some(account) = network.and_then(|network| wallet.address(&network)) else {
            return Ok(None);
        };
        let open = spends.open_of_request(&account, digest).await?;
        Ok(open.filter(|record| !is_complete(record)))
    }

    fn new_spend(
        &self,
        url: &Url,
        offer: &Offer,
        digest: &str,
        key: Option<&LimitedKey>,
    ) -> Result<NewSpend, PayError> {
        let terms = &offer.terms;
        let account = self.wallet()?.address(&terms.network).ok_or_else(|| {
            PayError::declined(Refusal::new(
                code::NO_ACCEPTABLE_OFFER,
                format!(
                    "The wallet has no account on {}; use a wallet that has one.",
                    terms.network
                ),
            ))
        })?;
        Ok(NewSpend {
            account,
            agent: self.agent.clone(),
            request: digest.to_owned(),
            url: public_url(url),
            host: host(url),
            payee: terms.pay_to.clone(),
            network: terms.network.clone(),
            asset: terms.asset.clone(),
            amount: terms.amount,
            key: key.map(|key| key.name.clone()),
            decimals: Some(offer.asset.decimals),
            calls: None,
        })
    }
}

/// Whether an offer turned out not to be payable, with nothing signed: then the
/// next best is looked at. A budget or a ledger stands in the way of all.
pub(crate) fn is_passed_over(refused: &str) -> bool {
    [
        codes::PERMIT2_ALLOWANCE_REQUIRED,
        code::WALLET_UNAVAILABLE,
        codes::NO_ACCEPTABLE_TERMS,
        code::NO_ACCEPTABLE_OFFER,
        code::INSUFFICIENT_FUNDS,
        codes::ASSET_NOT_KNOWN,
        codes::ASSET_MISMATCH,
        code::POLICY_PAYEE_CHANGED,
        code::POLICY_PRICE_JUMP,
        // What a remote signer does not allow.
        code::POLICY_NETWORK,
        code::POLICY_ASSET,
        code::POLICY_SCHEME,
        code::POLICY_METHOD,
        code::POLICY_PAYEE,
    ]
    .contains(&refused)
}
