//! A buyer's desk: a payer with a ledger on disk, a fake wallet and a diary.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tollway_core::Wallet;
use tollway_ledger::{SpendRecord, SpendState, SpendStore, SqliteLedger};
use tollway_payer::{Event, PaidResponse, Patience, PayError, PayRequest, Payer, PayerBuilder};
use url::Url;

use crate::wallet::FakeWallet;

/// A buyer; its ledger is a file that outlives it.
pub struct Buyer<W = FakeWallet> {
    pub payer: Payer,
    pub wallet: Arc<W>,
    pub ledger: Arc<SqliteLedger>,
    pub diary: Arc<Mutex<Vec<String>>>,
    pub directory: Arc<tempfile::TempDir>,
}

/// Impatient enough for tests.
pub const IMPATIENT: Patience = Patience {
    ask: Duration::from_secs(2),
    answer: Duration::from_millis(300),
    attempts: 3,
    first_wait: Duration::from_millis(5),
    longest_wait: Duration::from_millis(50),
    total: Duration::from_secs(20),
};

impl Buyer {
    pub async fn new() -> Self {
        Self::with(FakeWallet::default(), |builder| builder).await
    }
}

impl<W: Wallet + 'static> Buyer<W> {
    pub async fn with(wallet: W, set: impl FnOnce(PayerBuilder) -> PayerBuilder) -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        Self::at(directory, Arc::new(wallet), set).await
    }

    /// The same buyer after its process ended: the file is opened anew.
    pub async fn restarted(self, set: impl FnOnce(PayerBuilder) -> PayerBuilder) -> Self {
        let Self {
            payer,
            wallet,
            ledger,
            directory,
            ..
        } = self;
        drop(payer);
        ledger.close().await;
        drop(ledger);
        Self::at(directory, wallet, set).await
    }

    async fn at(
        directory: Arc<tempfile::TempDir>,
        wallet: Arc<W>,
        set: impl FnOnce(PayerBuilder) -> PayerBuilder,
    ) -> Self {
        let path: PathBuf = directory.path().join("spends.db");
        let ledger = SqliteLedger::open(&format!("sqlite:{}", path.display()))
            .await
            .unwrap();
        let ledger = Arc::new(ledger);
        let diary: Arc<Mutex<Vec<String>>> = Arc::default();
        let pen = Arc::clone(&diary);
        let builder = Payer::builder()
            .wallet(wallet.clone())
            .spends(ledger.clone())
            .patience(IMPATIENT)
            .story(move |event: &Event| {
                let line = serde_json::to_string(event).unwrap();
                pen.lock().unwrap().push(line);
            });
        let payer = set(builder).build().unwrap();
        Self {
            payer,
            wallet,
            ledger,
            diary,
            directory,
        }
    }

    pub async fn get(&self, url: &Url) -> Result<PaidResponse, PayError> {
        self.payer.fetch(PayRequest::get(url.clone())).await
    }

    /// The code of the error that fetching ends with.
    pub async fn refusal(&self, url: &Url) -> String {
        self.get(url).await.unwrap_err().code().to_owned()
    }

    pub async fn spends(&self) -> Vec<SpendRecord> {
        self.ledger.spends(1000).await.unwrap()
    }

    pub async fn states(&self) -> Vec<SpendState> {
        self.spends().await.into_iter().map(|s| s.state).collect()
    }

    /// The words of the diary, in order.
    pub fn diary(&self) -> Vec<String> {
        let lines = self.diary.lock().unwrap().clone();
        lines
            .iter()
            .map(|line| {
                let event: serde_json::Value = serde_json::from_str(line).unwrap();
                event["event"].as_str().unwrap().to_owned()
            })
            .collect()
    }
}

pub async fn text(response: PaidResponse) -> String {
    let bytes = response.response.into_body().bytes(1024).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}
