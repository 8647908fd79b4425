//! What only the process knows that settles: its nodes, and the gas of its
//! accounts. Asked now and then, whoever looks how often.

use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy_primitives::U256;
use tokio::sync::Mutex;
use tollway_core::{Amount, Chain, Health, SignerState, Timestamp};
use tollway_ledger::{LedgerError, Store};

use super::words;

/// One look at the nodes serves so long.
const AGE: Duration = Duration::from_secs(15);
/// A node that takes longer is not well.
const PATIENCE: Duration = Duration::from_secs(5);
/// Days that are looked back on.
const DAYS: u64 = 7;
/// Digits of a chain's own coin, on all that are served.
const COIN_DECIMALS: u8 = 18;

/// The chains of a process.
pub struct Live {
    chains: Vec<Arc<dyn Chain>>,
    last: Mutex<Option<(Instant, Vec<Seen>)>>,
}

/// What one network showed.
#[derive(Clone)]
struct Seen {
    chain: Arc<dyn Chain>,
    health: Option<Health>,
    signers: Vec<SignerState>,
}

/// One account on one network.
pub struct NetworkLine {
    pub network: String,
    pub node: String,
    pub block: String,
    pub signer: String,
    pub balance: String,
    pub lasts: String,
    pub is_bad: bool,
}

impl Live {
    /// Of a process's chains.
    pub fn new(chains: Vec<Arc<dyn Chain>>) -> Self {
        Self {
            chains,
            last: Mutex::default(),
        }
    }

    async fn seen(&self) -> Vec<Seen> {
        let mut last = self.last.lock().await;
        if let Some((at, seen)) = last.as_ref()
            && at.elapsed() < AGE
        {
            return seen.clone();
        }
        let looks = self.chains.iter().map(look);
        let seen = futures_util::future::join_all(looks).await;
        *last = Some((Instant::now(), seen.clone()));
        seen
    }

    /// A line for each account, or for a network without.
    pub async fn lines(
        &self,
        store: &Store,
        now: Timestamp,
    ) -> Result<Vec<NetworkLine>, LedgerError> {
        let since = Timestamp::from_millis(now.millis().saturating_sub((DAYS - 1) * 86_400_000));
        let mut lines = Vec::new();
        for seen in self.seen().await {
            let days = store.gas_days(seen.chain.network(), since).await?;
            let first = days.first().map(|day| day.day);
            let spent = days
                .iter()
                .try_fold(Amount::ZERO, |sum, day| sum.checked_add(day.fee));
            let of_days = first.map_or(1, |first| (now.secs() / 86_400).saturating_sub(first) + 1);
            let all: Option<Amount> = seen
                .signers
                .iter()
                .try_fold(Amount::ZERO, |sum, signer| sum.checked_add(signer.balance));
            let lasts = lasts(
                all.unwrap_or(Amount::MAX),
                spent.unwrap_or(Amount::MAX),
                of_days,
            );
            lines.extend(network_lines(&seen, &lasts));
        }
        Ok(lines)
    }
}

async fn look(chain: &Arc<dyn Chain>) -> Seen {
    let health = tokio::time::timeout(PATIENCE, chain.health()).await.ok();
    let states = tokio::time::timeout(PATIENCE, chain.signer_states()).await;
    Seen {
        chain: Arc::clone(chain),
        health,
        signers: states.ok().and_then(Result::ok).unwrap_or_default(),
    }
}

/// How long all accounts of a network last at what some days cost.
fn lasts(balance: Amount, spent: Amount, days: u64) -> String {
    if spent == Amount::ZERO {
        return "nothing was spent yet".to_owned();
    }
    let spent = spent.as_u256();
    let whole = balance.as_u256().saturating_mul(U256::from(days));
    match (whole / spent).saturating_to::<u64>() {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        many if many > 3_650 => "over ten years".to_owned(),
        many => format!("{many} days"),
    }
}

fn network_lines(seen: &Seen, lasts: &str) -> Vec<NetworkLine> {
    let health = seen.health.as_ref();
    let is_ready = health.is_some_and(|health| health.ready);
    let node = match health {
        Some(health) if health.ready => "answers".to_owned(),
        Some(health) => health
            .problem
            .clone()
            .unwrap_or_else(|| "not ready".to_owned()),
        None => "does not answer".to_owned(),
    };
    let block = health.and_then(|health| health.block_number);
    let line = |signer: Option<&SignerState>| NetworkLine {
        network: words::network(seen.chain.network()),
        node: node.clone(),
        block: block.map_or_else(|| "–".to_owned(), |block| block.to_string()),
        signer: signer.map_or_else(|| "none here".to_owned(), |s| s.signer.to_string()),
        balance: signer.map_or_else(|| "–".to_owned(), |s| s.balance.to_decimal(COIN_DECIMALS)),
        lasts: match signer {
            Some(_) => lasts.to_owned(),
            None => "–".to_owned(),
        },
        is_bad: !is_ready || signer.is_some_and(|signer| signer.low),
    };
    match seen.signers.as_slice() {
        [] => vec![line(None)],
        signers => signers.iter().map(|signer| line(Some(signer))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gas_lasts_as_long_as_it_did_before() {
        let atomic = Amount::from_atomic;
        assert_eq!(lasts(atomic(100), atomic(0), 3), "nothing was spent yet");
        assert_eq!(lasts(atomic(100), atomic(30), 3), "10 days");
        assert_eq!(lasts(atomic(9), atomic(30), 3), "less than a day");
        assert_eq!(lasts(Amount::MAX, atomic(1), 7), "over ten years");
    }
}
