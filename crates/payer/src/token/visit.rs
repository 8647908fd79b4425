//! Showing a token instead of paying: which one, and what its answer says about it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use http::header::AUTHORIZATION;
use serde::Serialize;
use tollway_core::{Refusal, SpendId, Timestamp};
use tollway_ledger::SpendState;
use url::Url;

use super::store::{KeptToken, TokenStore};
use crate::code;
use crate::engine::Engine;
use crate::error::{ErrorKind, PayError};
use crate::event::Event;
use crate::policy::origin;
use crate::request::PayRequest;
use crate::transport::PaymentHeader;

/// How many refusals of tokens are remembered.
const MAX_TURNED_AWAY: usize = 4096;

/// The access token that opened a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pass {
    /// What was paid for it.
    pub spend: SpendId,
    /// Scheme, host and port that it opens something at.
    pub origin: String,
    /// From then on it opens nothing.
    pub expires_at: Timestamp,
}

impl From<&KeptToken> for Pass {
    fn from(token: &KeptToken) -> Self {
        Self {
            spend: token.spend.clone(),
            origin: token.origin.clone(),
            expires_at: token.expires_at,
        }
    }
}

/// What this program remembers of the tokens that it showed.
#[derive(Debug, Default)]
pub(crate) struct Visits {
    /// Tokens that did not open a path.
    turned_away: Mutex<HashSet<(SpendId, String)>>,
}

impl Visits {
    fn is_turned_away(&self, token: &KeptToken, path: &str) -> bool {
        let seen = self.turned_away.lock();
        let seen = seen.unwrap_or_else(PoisonError::into_inner);
        seen.contains(&(token.spend.clone(), path.to_owned()))
    }

    fn turn_away(&self, token: &KeptToken, path: &str) {
        let seen = self.turned_away.lock();
        let mut seen = seen.unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MAX_TURNED_AWAY {
            seen.clear();
        }
        seen.insert((token.spend.clone(), path.to_owned()));
    }
}

impl Engine {
    /// The token to show with a request: the one that was bought for its path, else
    /// the one of its origin that lives longest. A caller's own authorization is
    /// never replaced.
    pub(crate) async fn token_for(&self, request: &PayRequest) -> Option<KeptToken> {
        let path = request.url.path();
        let usable = self.policy.access_tokens
            && !request.headers.contains_key(AUTHORIZATION)
            && self.policy.check_url(&request.url).is_ok();
        if !usable {
            return None;
        }
        let now = self.clock.now();
        let kept = self.kept_tokens(&request.url).await;
        kept.into_iter()
            .filter(|token| token.agent == self.agent && token.renew_at > now)
            .filter(|token| !self.visits.is_turned_away(token, path))
            .max_by_key(|token| (token.path == path, token.expires_at))
    }

    async fn kept_tokens(&self, url: &Url) -> Vec<KeptToken> {
        let (origin, now) = (origin(url), self.clock.now());
        let tokens = self.with_tokens(move |store| store.tokens(&origin, now));
        match tokens.await {
            Ok(tokens) => tokens,
            Err(error) => {
                tracing::warn!(%error, "the access tokens cannot be read");
                Vec::new()
            }
        }
    }

    /// Does something with the store, which may wait for a disk.
    pub(super) async fn with_tokens<T: Send + 'static>(
        &self,
        act: impl FnOnce(&dyn TokenStore) -> std::io::Result<T> + Send + 'static,
    ) -> std::io::Result<T> {
        let store = Arc::clone(&self.tokens);
        let done = tokio::task::spawn_blocking(move || act(store.as_ref())).await;
        done.unwrap_or_else(|error| Err(std::io::Error::other(error)))
    }

    /// The header that shows a token.
    pub(crate) fn bearer(&self, token: &KeptToken) -> Option<PaymentHeader> {
        self.tell(&Event::TokenShown {
            spend: token.spend.clone(),
            expires_at: token.expires_at,
        });
        Some((AUTHORIZATION, token.token.header()?))
    }

    /// A token opened a request.
    pub(crate) async fn let_in(&self, token: &KeptToken) -> Pass {
        if !token.used {
            let used = KeptToken {
                used: true,
                ..token.clone()
            };
            if let Err(error) = self.with_tokens(move |store| store.keep(&used)).await {
                tracing::warn!(%error, "the use of an access token cannot be recorded");
            }
        }
        Pass::from(token)
    }

    /// A token was answered with 402. One that opened something before is used up
    /// or taken back; one that was bought for another path does not reach this one:
    /// in both cases another may be bought. One that never opened what it was
    /// bought for is not followed by a second one.
    pub(crate) async fn turned_away(
        &self,
        token: &KeptToken,
        request: &PayRequest,
    ) -> Result<(), PayError> {
        let path = request.url.path();
        if !token.used && token.path == path && !self.is_released(token).await {
            return Err(useless(token));
        }
        self.visits.turn_away(token, path);
        if token.path == path {
            let token = token.clone();
            let forgotten = self.with_tokens(move |store| store.forget(&token)).await;
            if let Err(error) = forgotten {
                tracing::warn!(%error, "an access token cannot be forgotten");
            }
        }
        Ok(())
    }

    /// Whether the payment for a token is proved dead: then the seller was right.
    async fn is_released(&self, token: &KeptToken) -> bool {
        let Ok(spends) = self.spends() else {
            return false;
        };
        let record = spends.spend(&token.spend).await.ok().flatten();
        record.is_some_and(|record| record.state == SpendState::Released)
    }
}

/// A token that was paid for and opens nothing.
pub(super) fn useless(token: &KeptToken) -> PayError {
    let message = format!(
        "The server sold an access token ({}) for this and does not take it, and no other one is bought until it has expired ({}); show it to the seller.",
        token.spend,
        token.expires_at.secs()
    );
    PayError::new(
        ErrorKind::PaidNotDelivered,
        Refusal::new(code::PAID_NOT_DELIVERED, message),
    )
}
