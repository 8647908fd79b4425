//! Passes: a payment that opens more than one request.
//!
//! A route may sell a pass ([`PassOffer`]). Whoever pays for it through the
//! ordinary header door gets, beside the answer, an access token in the header
//! `Tollway-Pass`; whoever posts a payment to the token door (`POST /token`)
//! gets it in a JSON answer, at once where the payment may settle in the
//! background. The token is shown as `Authorization: Bearer` and opens the
//! routes of its audience until it expires, is used up, or its payment fails.

mod body;
mod check;
mod door;
mod feed;
mod notice;
mod offer;
mod permit;
mod status;
mod token;

pub(crate) use body::Extras;
pub(crate) use check::{Admission, Opened, admit, bearer, keep_to_ourselves};
pub(crate) use door::{answer, asked, missing};
pub(crate) use feed::{Feed, follow};
pub(crate) use notice::tell_all;
pub use offer::PassOffer;
pub(crate) use status::settlement;
pub(crate) use token::mac;
pub use token::{KeyError, TokenKeys};

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use tollway_core::assets;
use tollway_core::money::Decimal;
use tollway_core::{Address, Amount, Network};
use tollway_ledger::{ExposureCap, NewPass, PassRecord, PassStore};

use crate::BuildError;
use notice::Webhook;
use token::Claims;

/// The access token of a pass that was bought by header.
pub(crate) const TOLLWAY_PASS: HeaderName = HeaderName::from_static("tollway-pass");

/// Below which path it is told what became of a payment, unless it is said.
pub(crate) const SETTLEMENTS_PATH: &str = "/settlements/";

/// How a gate sells passes.
#[derive(Clone)]
pub struct Passes {
    pub(crate) store: Arc<dyn PassStore>,
    pub(crate) keys: TokenKeys,
    pub(crate) token_path: String,
    pub(crate) settlements_path: String,
    pub(crate) exposure: Option<(Decimal, Decimal)>,
    pub(crate) feed: Arc<Feed>,
    pub(crate) webhook: Option<Webhook>,
    /// Whether keys that are lost are given up, with the tokens that they signed.
    pub(crate) gives_keys_up: bool,
}

impl Passes {
    /// With the ledger that keeps the grants, and the keys that sign tokens.
    #[must_use]
    pub fn new(store: Arc<dyn PassStore>, keys: TokenKeys) -> Self {
        Self {
            store,
            keys,
            token_path: "/token".to_owned(),
            settlements_path: SETTLEMENTS_PATH.to_owned(),
            exposure: None,
            feed: Arc::default(),
            webhook: None,
            gives_keys_up: false,
        }
    }

    /// Starts though tokens that are out were signed with a key that is none of
    /// ours: they open nothing any more. For keys that are lost.
    #[must_use]
    pub const fn give_lost_keys_up(mut self) -> Self {
        self.gives_keys_up = true;
        self
    }

    /// Where payments are posted for tokens (default `/token`).
    #[must_use]
    pub fn token_path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.token_path);
        self
    }

    /// Below which path it is told what became of a payment, by the name of its
    /// grant (default `/settlements/`).
    #[must_use]
    pub fn settlements_path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.settlements_path);
        self
    }

    /// Hands tokens out before their payments settle, as long as no more than
    /// this is promised and not settled, or was promised since yesterday and
    /// never paid: to one payer, and to all (whole units, such as dollars; for
    /// each network and asset). Default: every payment settles first.
    #[must_use]
    pub fn in_background(mut self, per_payer: Decimal, total: Decimal) -> Self {
        self.exposure = Some((per_payer, total));
        self
    }

    /// Tells a server of the seller's what happens to passes and their payments
    /// (`payment_requested`, `payment_verified`, `token_issued`,
    /// `payment_settled`, `payment_failed`, `pass_revoked`): POST of JSON, each
    /// at least once, again every minute for three days. The header
    /// `Tollway-Signature: t=SECONDS,v1=HEX` holds the HMAC-SHA256 of
    /// `SECONDS.BODY` under a key of at least 16 bytes.
    ///
    /// # Errors
    /// [`BuildError::Webhook`] unless the URL is https (or http to this machine)
    /// without user, password and query; [`BuildError::WebhookKey`].
    pub fn webhook(mut self, url: &str, key: &[u8]) -> Result<Self, BuildError> {
        self.webhook = Some(Webhook::new(url, key)?);
        Ok(self)
    }

    /// What a purchase buys, as its grant keeps it. A request that buys a pass by
    /// header is one of those that the pass opens.
    pub(crate) fn new_pass(&self, sold: &SoldPass, is_door: bool) -> NewPass {
        NewPass {
            audience: sold.audience.clone(),
            quota: sold.offer.quota,
            used: u64::from(!is_door),
            lifetime: sold.offer.lifetime,
            is_told: self.webhook.is_some(),
            is_door,
        }
    }

    pub(crate) fn check(&self) -> Result<(), BuildError> {
        let plain = |path: &str| {
            path.starts_with('/')
                && path.len() <= 128
                && !path.contains("//")
                && path
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"/-_.".contains(&b))
        };
        let door = plain(&self.token_path) && self.token_path.len() > 1;
        let told = plain(&self.settlements_path) && self.settlements_path.ends_with('/');
        match door && told && self.settlements_path.len() > 1 {
            true => Ok(()),
            false => Err(BuildError::PassPath),
        }
    }

    /// The cap for an asset; none where its decimals are not known: then every
    /// payment in it settles first.
    pub(crate) fn cap(&self, network: &Network, asset: &Address) -> Option<ExposureCap> {
        let (per_payer, total) = self.exposure.as_ref()?;
        let decimals = assets::find(network, asset)?.decimals;
        Some(ExposureCap {
            per_payer: per_payer.to_atomic(decimals)?,
            total: total.to_atomic(decimals)?,
        })
    }

    /// The token of a pass. The same for the same pass, as long as the keys are.
    pub(crate) fn token(&self, pass: &PassRecord) -> String {
        let id = pass.id.as_str();
        self.keys.sign(&Claims {
            exp: pass.expires_at.secs(),
            iat: pass.issued_at.secs(),
            nonce: id.rsplit('_').next().unwrap_or(id).to_owned(),
            jti: id.to_owned(),
            aud: pass.audience.clone(),
            sub: format!("{}:{}", pass.network, pass.payer),
            net: pass.network.to_string(),
            ast: pass.asset.to_string(),
            amt: pass.amount.to_string(),
            q: pass.quota,
        })
    }

    /// [`Passes::token`] as a header.
    pub(crate) fn header(&self, pass: &PassRecord) -> HeaderValue {
        let value = HeaderValue::try_from(self.token(pass));
        let mut value = value.unwrap_or(HeaderValue::from_static(""));
        value.set_sensitive(true);
        value
    }
}

/// A route's pass with the set of routes that it opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SoldPass {
    pub offer: PassOffer,
    pub audience: String,
}

/// An amount in whole units, as JSON writes it.
pub(crate) fn in_units(amount: Amount, decimals: u8) -> serde_json::Value {
    let text = amount.to_decimal(decimals);
    let number = text.parse::<serde_json::Number>();
    number.map_or_else(|_| text.into(), serde_json::Value::Number)
}
