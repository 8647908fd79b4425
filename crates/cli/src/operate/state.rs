//! What a server tells of itself beside its payments.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;
use tollway_core::{Clock, SystemClock};

use crate::exit::Failure;

/// Whether a server is going out of service, and what became of its settings.
pub struct State {
    draining: CancellationToken,
    settings: Mutex<Settings>,
}

#[derive(Default)]
struct Settings {
    /// How often they were read anew and taken.
    renewed: u64,
    /// Seconds since 1970 at which they were taken last.
    at: u64,
    /// Why what is in the files now was not taken, as far as anybody may know it.
    problem: Option<String>,
}

impl State {
    /// Of a server that takes no more requests once `draining` is cancelled.
    pub fn new(draining: CancellationToken) -> Self {
        let settings = Settings {
            at: SystemClock.now().secs(),
            ..Settings::default()
        };
        metrics::gauge!("tollway_settings_refused").set(0.0);
        metrics::gauge!("tollway_draining").set(0.0);
        tokio::spawn({
            let draining = draining.clone();
            async move {
                draining.cancelled().await;
                metrics::gauge!("tollway_draining").set(1.0);
            }
        });
        Self {
            draining,
            settings: Mutex::new(settings),
        }
    }

    /// Whether it is going out of service.
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// The settings were read anew, and taken or not.
    pub fn renewed(&self, outcome: Result<(), &Failure>) {
        let mut settings = self.settings();
        let word = match outcome {
            Ok(()) => {
                settings.renewed += 1;
                settings.at = SystemClock.now().secs();
                settings.problem = None;
                "taken"
            }
            Err(failure) => {
                settings.problem = Some(public(failure));
                "refused"
            }
        };
        let is_refused = if settings.problem.is_some() { 1.0 } else { 0.0 };
        metrics::gauge!("tollway_settings_refused").set(is_refused);
        metrics::counter!("tollway_settings_read_total", "outcome" => word).increment(1);
    }

    /// Adds it to what `/health` answers; whether the server is to be asked.
    pub fn add_to(&self, health: &mut Map<String, Value>) -> bool {
        let is_draining = self.is_draining();
        if is_draining {
            health.insert("ready".to_owned(), false.into());
        }
        health.insert("draining".to_owned(), is_draining.into());
        let settings = self.settings();
        let mut told = json!({ "renewed": settings.renewed, "at": settings.at });
        if let Some(problem) = &settings.problem {
            told["problem"] = problem.as_str().into();
        }
        health.insert("settings".to_owned(), told);
        !is_draining
    }

    fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Anybody may ask how a server is: what the file says is for the log alone.
fn public(failure: &Failure) -> String {
    let place = failure
        .line
        .map(|line| format!(" (line {line} of the file)"));
    format!(
        "The settings that are there now cannot be taken{}; those from before count. The log says what to correct.",
        place.unwrap_or_default()
    )
}
