//! What sellers and operators see: pages written by this program, of a ledger that
//! is only read. No script runs on them, and nothing is loaded from elsewhere.
//!
//! `door` says who is let in and `session` keeps who is; `pages` are the views
//! (`overview` with its `chart`, `list`, `record`), `live` what the ledger does not know.

mod chart;
mod door;
mod list;
mod live;
mod overview;
mod pages;
mod record;
mod session;
mod tally;
mod words;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tollway_core::Chain;
use tollway_core::assets::AssetTable;
use tollway_ledger::Store;

use self::door::Door;
use self::live::Live;
use self::pages::Pages;
use self::session::Guard;
use crate::exit::Failure;
use crate::serve;

pub use self::tally::keep as keep_counts;

/// Where the dashboard listens, and who may look.
#[derive(Default)]
pub struct Settings {
    address: String,
    token_file: Option<PathBuf>,
}

impl Settings {
    /// Of these.
    pub fn of(address: &str, token_file: Option<&Path>) -> Self {
        Self {
            address: address.to_owned(),
            token_file: token_file.map(Path::to_path_buf),
        }
    }

    /// From the flags; none where no dashboard is asked for.
    pub fn read(address: Option<&str>, token_file: Option<&Path>) -> Result<Option<Self>, Failure> {
        match (address, token_file) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err(Failure::usage(
                "--dashboard-token-file is there and no dashboard is; add --dashboard 127.0.0.1:4030.",
            )),
            (Some(address), token_file) => Ok(Some(Self::of(address, token_file))),
        }
    }
}

/// What a dashboard shows.
pub struct Source {
    /// The ledger; it is only read. Where this process writes to it, this is
    /// [`Store::beside`] it: nobody's payment waits for a page.
    pub store: Store,
    /// What people call it.
    pub name: String,
    /// Which contract is which money.
    pub assets: AssetTable,
    /// The chains of the process that settles, where this is one.
    pub chains: Option<Vec<Arc<dyn Chain>>>,
}

/// A dashboard that is bound.
pub struct Dashboard {
    /// Where it listens.
    pub address: SocketAddr,
    listener: TcpListener,
    door: Door,
}

impl Dashboard {
    /// Binds it. Without a token only this machine is let in, and so it listens
    /// nowhere else.
    pub async fn open(settings: &Settings, source: Source) -> Result<Self, Failure> {
        let guard = settings
            .token_file
            .as_deref()
            .map(Guard::read)
            .transpose()?;
        let (listener, address) = serve::bind(&settings.address).await?;
        if guard.is_none() && !address.ip().is_loopback() {
            return Err(Failure::usage(format!(
                "The dashboard would show all income to everybody who reaches {address}; let it listen on 127.0.0.1, or name a file with a token by --dashboard-token-file."
            )));
        }
        Ok(Self {
            address,
            listener,
            door: Door {
                turn: Semaphore::new(1),
                guard,
                pages: Pages {
                    store: source.store,
                    live: source.chains.map(Live::new),
                    name: source.name,
                    assets: source.assets,
                    kept: overview::Kept::default(),
                },
            },
        })
    }

    /// Serves until stopped.
    pub async fn serve(self, stop: CancellationToken) {
        let door = Arc::new(self.door);
        let app = Router::new().fallback(move |request| door::answer(Arc::clone(&door), request));
        serve::serve(self.listener, app, stop).await;
    }
}

/// What people call a ledger: its file, or only that it is a database, whose URL
/// may hold a password.
pub fn ledger_name(url: &str) -> String {
    match url.strip_prefix("sqlite:") {
        Some(path) => Path::new(path)
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default(),
        None => "PostgreSQL".to_owned(),
    }
}
