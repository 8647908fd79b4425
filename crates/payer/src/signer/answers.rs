//! What a signer answers: it decides again what the paying program decided, by its
//! own policy, and reserves in its own record, before it signs.

use std::time::Duration;

use tollway_core::wire::PaymentPayload;
use tollway_core::{
    Amount, Limits, Network, Offered, Prepared, Refusal, SpendId, WalletError, codes,
};
use tollway_ledger::{SignedSpend, SpendRecord};
use url::Url;

use super::wire::{Account, Answer, AnswerAccounts, AskAgain, AskSend, AskSign, Words};
use crate::code;
use crate::crash;
use crate::engine::Engine;
use crate::error::{ErrorKind, PayError};
use crate::offer::Offer;
use crate::ready::Held;
use crate::reconcile::{is_dead, is_open};
use crate::request::public_url;
use crate::sign::{SIGNING, not_in_time};

/// Of a payment whose wire nobody here knows: it is the caller's.
const NO_VERSION: u64 = 2;
/// Longest name of a request.
const MAX_ID_BYTES: usize = 64;
/// Longest URL that is paid for.
const MAX_URL_BYTES: usize = 2 * 1024;
/// Most bytes of terms, and of what is said of the resource and of extensions.
const MAX_TERMS_BYTES: usize = 8 * 1024;
const MAX_SAID_BYTES: usize = 16 * 1024;

impl Engine {
    /// Whose money it is.
    pub(super) fn own_accounts(&self) -> Answer {
        let Some(wallet) = &self.wallet else {
            return Answer::Accounts(AnswerAccounts {
                agent: self.agent.clone(),
                accounts: Vec::new(),
            });
        };
        let assets = self.policy.assets.iter().map(|asset| &asset.network);
        let mut networks: Vec<&Network> = assets.chain(&self.policy.networks).collect();
        networks.sort();
        networks.dedup();
        let accounts = networks.into_iter().filter_map(|network| {
            Some(Account {
                network: network.clone(),
                address: wallet.address(network)?,
            })
        });
        Answer::Accounts(AnswerAccounts {
            agent: self.agent.clone(),
            accounts: accounts.collect(),
        })
    }

    /// Signs a payment by a name that nothing open was signed by.
    pub(super) async fn sign_new(
        &self,
        ask: &AskSign,
        offer: &Offer,
        url: &Url,
    ) -> Result<Prepared, PayError> {
        let (id, by_own_key) = match self.hold(offer, url, ask.id.as_str()).await? {
            Held::New { id, by_own_key } => (id, by_own_key),
            Held::Open(record) => return known(*record, ask, url),
        };
        crash::point("signer::reserved::after_write");
        let signed = match self.make_recorded(&id, ask, offer, by_own_key).await {
            Ok(signed) => signed,
            Err(error) => {
                self.give_back(&id, error.code()).await;
                return Err(error);
            }
        };
        crash::point("signer::signed::after_write");
        tracing::info!(spend = %id, request = %ask.id, network = %offer.terms.network, payee = %offer.terms.pay_to, amount = %offer.terms.amount, "a payment was signed");
        Ok(prepared(signed, offer.terms.amount))
    }

    /// What fails here has not left.
    async fn make_recorded(
        &self,
        id: &SpendId,
        ask: &AskSign,
        offer: &Offer,
        by_own_key: bool,
    ) -> Result<SignedSpend, PayError> {
        let signed = self.make(ask, offer, by_own_key).await?;
        let spends = self.spends()?;
        spends.signed(id, signed.clone(), self.clock.now()).await?;
        Ok(signed)
    }

    /// Whether our own policy lets these terms be paid.
    pub(super) fn allowed(&self, ask: &AskSign, url: &Url) -> Result<Offer, PayError> {
        let policy = &self.policy;
        let checked = policy.check_url_of_another(url);
        checked.map_err(PayError::declined)?;
        let offer = policy.appraise(&ask.terms).map_err(PayError::declined)?;
        if offer.terms.amount == Amount::ZERO {
            // Else whoever asks could have as many as there is room for on the disk.
            return Err(PayError::declined(Refusal::new(
                code::POLICY_AMOUNT,
                "The price is nothing, and the signer signs for no such thing; ask for it without payment.",
            )));
        }
        if offer.terms.amount > ask.max_amount {
            return Err(PayError::declined(Refusal::new(
                codes::PRICE_ABOVE_LIMIT,
                "The price is above the limit that came with it; raise the limit to pay it.",
            )));
        }
        match self.wallet()?.supports(&offer.terms) {
            true => Ok(offer),
            false => Err(PayError::declined(Refusal::new(
                codes::NO_ACCEPTABLE_TERMS,
                "The signer's key does not pay by these terms; choose another way to pay, or give the signer an RPC URL of the network.",
            ))),
        }
    }

    async fn make(
        &self,
        ask: &AskSign,
        offer: &Offer,
        by_own_key: bool,
    ) -> Result<SignedSpend, PayError> {
        let own = self.signing_limits(offer.terms.amount);
        let limits = Limits {
            max_lifetime: own.max_lifetime.min(Duration::from_secs(ask.max_lifetime)),
            ..own
        };
        let offered = Offered {
            resource: ask.resource.as_ref(),
            extensions: ask.extensions.as_ref(),
            may_approve: ask.may_approve && self.policy.approve_permit2,
            by_own_key,
            purchase: None,
        };
        let signing = self.wallet()?;
        let signing = signing.prepare_offered(&offer.terms, &limits, offered);
        let prepared = tokio::time::timeout(SIGNING, signing).await;
        let prepared = prepared.map_err(|_| not_in_time())??;
        self.check(offer, &prepared)?;
        Ok(SignedSpend {
            valid_until: self.until(offer, &prepared),
            identity: prepared.identity,
            payload: PaymentPayload {
                x402_version: NO_VERSION,
                // The caller's words about what is sold are of no use here.
                resource: None,
                accepted: ask.terms.clone(),
                payload: prepared.payload,
                extensions: prepared.extensions,
            },
            transaction: prepared.transaction,
        })
    }

    /// Another key signs what is on record here: the terms are those of the record.
    pub(super) async fn sign_again_for(&self, ask: &AskAgain) -> Result<Answer, PayError> {
        let spends = self.spends()?;
        let record = spends.spend_of(&ask.identity).await?.filter(is_open);
        let record = record.ok_or_else(not_here)?;
        let _turn = self.turn(&record.spend.request).await;
        let signed = record.signed.as_ref().ok_or_else(not_here)?;
        // What is over may be given back at this moment.
        if is_dead(signed, self.clock.now()) {
            return Ok(Answer::Nothing);
        }
        // The policy of today: its owner may have tightened it.
        let terms = &signed.payload.accepted;
        self.policy.appraise(terms).map_err(PayError::declined)?;
        let again = self.sign_record_again(&record).await?;
        let again = again.and_then(|record| Some((record.signed?, record.spend.amount)));
        Ok(again.map_or(Answer::Nothing, |(signed, amount)| {
            Answer::Signed(Box::new(prepared(signed, amount).into()))
        }))
    }

    /// Sends what was signed here, and nothing else.
    pub(super) async fn send_for(&self, ask: &AskSend) -> Result<Answer, PayError> {
        let wallet = self.wallet()?;
        let account = wallet.address(&ask.network).ok_or_else(not_here)?;
        let spends = self.spends()?;
        let record = spends.open_of_transaction(&account, &ask.transaction);
        let signed = record.await?.and_then(|record| record.signed);
        // The same hash on another network would be another transaction.
        let signed = signed.filter(|signed| signed.identity.network == ask.network);
        let raw = signed.and_then(|signed| signed.transaction);
        let sent = wallet
            .broadcast(&ask.network, &raw.ok_or_else(not_here)?)
            .await;
        sent.map_err(|error| PayError::from(WalletError::Chain(error)))?;
        Ok(Answer::Sent)
    }

    /// Gives back what an earlier run reserved and never signed: nothing of it left.
    pub(super) async fn forget_unsigned(&self) -> Result<(), PayError> {
        for account in self.accounts() {
            for id in self.spends()?.unsigned_ids(&account).await? {
                self.give_back(&id, "never_signed").await;
            }
        }
        Ok(())
    }

    /// Gives back what was reserved long ago and never signed.
    pub(super) async fn forget_abandoned(&self) -> Result<(), PayError> {
        for account in self.accounts() {
            for id in self.spends()?.unsigned_ids(&account).await? {
                self.look_at(&id).await?;
            }
        }
        Ok(())
    }
}

/// What is paid for, by a request with a name.
pub(super) fn named(ask: &AskSign) -> Result<Url, PayError> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    let id = ask.id.as_str();
    if !(1..=MAX_ID_BYTES).contains(&id.len()) || !id.bytes().all(fits) {
        return Err(PayError::invalid(
            "The request's name is not of 1 to 64 letters, digits, - and _; give it another.",
        ));
    }
    let bytes = |what: Result<String, _>| what.map_or(usize::MAX, |text: String| text.len());
    let too_long = [
        (ask.url.len(), MAX_URL_BYTES),
        (bytes(serde_json::to_string(&ask.terms)), MAX_TERMS_BYTES),
        (bytes(serde_json::to_string(&ask.resource)), MAX_SAID_BYTES),
        (
            bytes(serde_json::to_string(&ask.extensions)),
            MAX_SAID_BYTES,
        ),
    ];
    // It is kept with each payment, and payments may cost next to nothing.
    if too_long.iter().any(|(bytes, most)| bytes > most) {
        return Err(PayError::invalid(
            "What is said of the payment is too long for the signer's record; ask with a URL of at most 2 KiB, and terms of at most 8 KiB.",
        ));
    }
    let url = Url::parse(&ask.url).ok().filter(Url::has_host);
    url.ok_or_else(|| {
        PayError::invalid("The request names no URL that is paid for; name it whole.")
    })
}

/// What was signed by the same name, if it was for the same.
pub(super) fn known(record: SpendRecord, ask: &AskSign, url: &Url) -> Result<Prepared, PayError> {
    let amount = record.spend.amount;
    let same_url = record.spend.url == public_url(url);
    let signed = record.signed.filter(|s| s.payload.accepted == ask.terms);
    match signed {
        Some(signed) if same_url => {
            tracing::info!(spend = %record.id, request = %ask.id, "a payment that was signed is given again");
            Ok(prepared(signed, amount))
        }
        _ => Err(PayError::declined(Refusal::new(
            codes::SIGNER_REQUEST_CHANGED,
            "Another payment was signed by this request's name; ask for a new one by a new name.",
        ))),
    }
}

fn prepared(signed: SignedSpend, amount: Amount) -> Prepared {
    Prepared {
        payload: signed.payload.payload,
        identity: signed.identity,
        amount,
        valid_until: signed.valid_until,
        extensions: signed.payload.extensions,
        transaction: signed.transaction,
    }
}

fn not_here() -> PayError {
    PayError::declined(Refusal::new(
        code::INVALID_REQUEST,
        "Nothing like that was signed here and is open; ask for a payment first.",
    ))
}

/// An error as the caller gets it: without its detail, which is for our log.
pub(super) fn refused(error: &PayError) -> Answer {
    let words = Words {
        code: error.code().to_owned(),
        message: error.message().to_owned(),
    };
    match error.kind() {
        ErrorKind::Failed => Answer::Unavailable(words),
        _ => Answer::Refused(words),
    }
}

/// What is answered to whoever is one too many.
pub(super) fn busy() -> Answer {
    Answer::Unavailable(Words {
        code: codes::SIGNER_BUSY.to_owned(),
        message: "The signer serves as many callers as it may; ask again in a second.".to_owned(),
    })
}

/// What is answered to programs of other users.
pub(super) fn not_served() -> Answer {
    Answer::Refused(Words {
        code: codes::SIGNER_CALLER.to_owned(),
        message: "It serves programs of other users only; run this one as one of those, or let the signer's owner name this user (--serve-user).".to_owned(),
    })
}

/// What is answered to what cannot be read.
pub(super) fn not_understood(why: &str) -> Answer {
    Answer::Refused(Words {
        code: codes::SIGNER_PROTOCOL.to_owned(),
        message: format!(
            "The signer does not understand the question ({why}); use the same version of tollway on both sides."
        ),
    })
}

/// A name for what nobody named.
pub(super) fn unnamed() -> Result<SpendId, Refusal> {
    SpendId::random().map_err(|error| {
        Refusal::new(
            code::WALLET_UNAVAILABLE,
            "The system has no randomness to give; try again.",
        )
        .with_detail(error)
    })
}
