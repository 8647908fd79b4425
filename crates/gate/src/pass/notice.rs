//! Telling the seller's own server what happened: signed, at least once.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Client;
use tollway_core::Timestamp;
use tollway_ledger::{LedgerError, Notice};
use url::Url;
use zeroize::Zeroizing;

use super::token::mac;
use crate::BuildError;
use crate::error::shown;
use crate::gate::Inner;
use crate::remote::{checked, client};
use crate::telemetry;

/// How often it is looked for something to tell.
const EVERY: Duration = Duration::from_secs(1);
/// When a notice that was not told is tried again.
const AGAIN: Duration = Duration::from_secs(60);
/// How long the seller's server may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// After this time nobody is told any more.
const GIVE_UP: Duration = Duration::from_secs(3 * 24 * 60 * 60);
/// Notices told at once: all of them are tried long before one is due again.
const AT_ONCE: u32 = 50;
/// Shortest key, in bytes.
const MIN_KEY_BYTES: usize = 16;

/// Where notices go, and what signs them.
#[derive(Clone)]
pub(crate) struct Webhook {
    url: Url,
    key: Arc<Zeroizing<Vec<u8>>>,
    client: Client,
}

impl Webhook {
    pub(crate) fn new(url: &str, key: &[u8]) -> Result<Self, BuildError> {
        let wrong = |_| BuildError::Webhook(shown(url));
        let checked = checked(url, false).map_err(wrong)?;
        if key.len() < MIN_KEY_BYTES {
            return Err(BuildError::WebhookKey);
        }
        let client = client(checked.scheme() == "https");
        Ok(Self {
            client: client.map_err(|_| BuildError::Webhook(shown(url)))?,
            url: checked,
            key: Arc::new(Zeroizing::new(key.to_vec())),
        })
    }

    /// Whether the seller's server has taken it.
    async fn tell(&self, notice: &Notice, now: u64) -> bool {
        let signed = format!("{now}.{}", notice.body);
        let signature = mac(&self.key, &signed);
        let signature = hex::encode(hmac::Mac::finalize(signature).into_bytes());
        let sending = self
            .client
            .post(self.url.clone())
            .timeout(PATIENCE)
            .header("content-type", "application/json")
            .header("tollway-event", &notice.kind)
            .header("tollway-event-id", &notice.id)
            .header("tollway-signature", format!("t={now},v1={signature}"))
            .body(notice.body.clone());
        match sending.send().await {
            Ok(answer) if answer.status().is_success() => true,
            Ok(answer) => {
                tracing::warn!(notice = notice.id, status = %answer.status(), "a notice was not taken; it is sent again");
                false
            }
            Err(error) => {
                let error = error.without_url();
                tracing::warn!(notice = notice.id, %error, "a notice could not be sent; it is sent again");
                false
            }
        }
    }
}

/// Tells on and on; ends with the gate, or when another takes its place. Where there is more to tell than goes at
/// once, nothing is waited for.
pub(crate) async fn tell_all(gate: Weak<Inner>, webhook: Webhook) {
    let mut waiting = Waiting::default();
    loop {
        let Some(gate) = gate.upgrade() else { return };
        if gate.replaced.is_cancelled() {
            return;
        }
        match round(&gate, &webhook, &mut waiting).await {
            Ok(AT_ONCE..) => continue,
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "notices cannot be read"),
        }
        drop(gate);
        tokio::time::sleep(EVERY).await;
    }
}

/// Notices that were not taken when they were told last, with when they were made.
#[derive(Default)]
struct Waiting(BTreeMap<String, Timestamp>);

impl Waiting {
    /// Most that are remembered.
    const MOST: usize = 10_000;

    fn note(&mut self, notice: &Notice, is_told: bool) {
        match is_told {
            true => drop(self.0.remove(&notice.id)),
            false if self.0.len() < Self::MOST => {
                self.0.insert(notice.id.clone(), notice.at);
            }
            false => {}
        }
    }

    fn show(&self, now: Timestamp) {
        let oldest = self.0.values().min();
        telemetry::webhook_lag(oldest.map_or(Duration::ZERO, |at| now.since(*at)));
    }
}

/// Tells what is due, one beside the other; returns how many that were.
async fn round(gate: &Inner, webhook: &Webhook, waiting: &mut Waiting) -> Result<u32, LedgerError> {
    let Some(passes) = &gate.passes else {
        return Ok(0);
    };
    let now = gate.now();
    let due = passes.store.take_notices(AT_ONCE, now.plus(AGAIN), now);
    let due = gate.noted(due.await)?;
    let telling = due.iter().map(async |notice| {
        let is_told = is_given_up(notice, now) || webhook.tell(notice, gate.now().secs()).await;
        if is_told {
            gate.noted(passes.store.told(&notice.id).await)?;
        }
        Ok::<_, LedgerError>(is_told)
    });
    let told: Result<Vec<bool>, _> = join_all(telling).await.into_iter().collect();
    let told = told?;
    for (notice, is_told) in due.iter().zip(&told) {
        waiting.note(notice, *is_told);
    }
    waiting.show(gate.now());
    Ok(u32::try_from(told.len()).unwrap_or(AT_ONCE))
}

fn is_given_up(notice: &Notice, now: Timestamp) -> bool {
    let is_old = now > notice.at.plus(GIVE_UP);
    if is_old {
        tracing::error!(
            notice = notice.id,
            kind = notice.kind,
            "a notice is given up: nobody took it in three days"
        );
    }
    is_old
}
