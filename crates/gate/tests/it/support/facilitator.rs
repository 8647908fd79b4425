//! A facilitator that only pretends: it checks no signature and sends nothing.
//! It settles each authorization once, into the fake chain's map, unless it is
//! told to say something else.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tollway_core::wire::{SettleResponse, SupportedResponse, VerifyResponse};
use tollway_core::{Chain, Facilitator, FacilitatorError, SettleRequest, Terms, VerifyRequest};

use super::FakeChain;

/// What to say to the next settle call, instead of settling.
#[derive(Clone, Debug)]
pub enum Say {
    /// Exactly this.
    Answer(Box<SettleResponse>),
    /// Settle, and lose the answer.
    LoseAnswer,
    /// Lose the answer without having settled.
    Lost,
    /// Never answer.
    Hang,
    /// Be out of reach.
    Unavailable,
    /// Answer nonsense.
    Nonsense,
    /// Take so long, then settle.
    Slow(Duration),
}

pub struct FakeFacilitator {
    chain: Arc<FakeChain>,
    /// Said to settle calls in order; when it is empty they settle.
    pub script: Mutex<VecDeque<Say>>,
    /// Said to every settle call.
    pub always: Mutex<Option<Say>>,
    /// Said to every verify call.
    pub verdict: Mutex<Option<Result<VerifyResponse, FacilitatorError>>>,
    /// What each verify call asked.
    pub asked: Mutex<Vec<VerifyRequest>>,
    pub kinds: Mutex<SupportedResponse>,
    pub verified: AtomicUsize,
    pub settle_calls: AtomicUsize,
    pub keys: Mutex<Vec<String>>,
    /// What each settle call charged.
    pub charges: Mutex<Vec<String>>,
}

impl FakeFacilitator {
    pub fn new(chain: Arc<FakeChain>) -> Self {
        Self {
            chain,
            script: Mutex::default(),
            always: Mutex::default(),
            verdict: Mutex::default(),
            asked: Mutex::default(),
            kinds: Mutex::default(),
            verified: AtomicUsize::new(0),
            settle_calls: AtomicUsize::new(0),
            keys: Mutex::default(),
            charges: Mutex::default(),
        }
    }

    pub fn next(&self, say: Say) {
        self.script.lock().unwrap().push_back(say);
    }

    pub fn always(&self, say: Option<Say>) {
        *self.always.lock().unwrap() = say;
    }

    pub fn verify_calls(&self) -> usize {
        self.verified.load(Ordering::SeqCst)
    }

    pub fn settlements(&self) -> usize {
        self.chain.settled.lock().unwrap().len()
    }

    fn settle_really(&self, request: &SettleRequest) -> SettleResponse {
        let terms = Arc::new(Terms::check(request.requirements.clone()).unwrap());
        let identity = self
            .chain
            .inspect(&request.payload, &terms)
            .unwrap()
            .identity;
        let key = request.idempotency_key.clone().unwrap_or_default();
        let answer = |success: bool, transaction: &str| SettleResponse {
            success,
            error_reason: (!success).then(|| "duplicate_settlement".to_owned()),
            transaction: transaction.to_owned(),
            network: request.requirements.network.clone(),
            ..SettleResponse::default()
        };
        let (transaction, first_key) = self.chain.include(&identity, &key);
        answer(first_key == key, &transaction)
    }
}

#[async_trait]
impl Facilitator for FakeFacilitator {
    async fn verify(&self, request: &VerifyRequest) -> Result<VerifyResponse, FacilitatorError> {
        self.asked.lock().unwrap().push(request.clone());
        self.verified.fetch_add(1, Ordering::SeqCst);
        let verdict = self.verdict.lock().unwrap().clone();
        verdict.unwrap_or_else(|| {
            Ok(VerifyResponse {
                is_valid: true,
                ..VerifyResponse::default()
            })
        })
    }

    async fn settle(&self, request: &SettleRequest) -> Result<SettleResponse, FacilitatorError> {
        self.settle_calls.fetch_add(1, Ordering::SeqCst);
        let charge = request.requirements.amount.clone();
        self.charges.lock().unwrap().push(charge);
        self.keys
            .lock()
            .unwrap()
            .extend(request.idempotency_key.clone());
        let always = self.always.lock().unwrap().clone();
        let say = always.or_else(|| self.script.lock().unwrap().pop_front());
        match say {
            None => Ok(self.settle_really(request)),
            Some(Say::Answer(answer)) => Ok(*answer),
            Some(Say::LoseAnswer) => {
                self.settle_really(request);
                Err(FacilitatorError::Unknown("the connection broke".to_owned()))
            }
            Some(Say::Lost) => Err(FacilitatorError::Unknown("the connection broke".to_owned())),
            Some(Say::Hang) => std::future::pending().await,
            Some(Say::Unavailable) => Err(FacilitatorError::Unavailable("refused".to_owned())),
            Some(Say::Nonsense) => Err(FacilitatorError::Protocol("HTML".to_owned())),
            Some(Say::Slow(time)) => {
                tokio::time::sleep(time).await;
                Ok(self.settle_really(request))
            }
        }
    }

    async fn supported(&self) -> Result<SupportedResponse, FacilitatorError> {
        Ok(self.kinds.lock().unwrap().clone())
    }
}
