//! Settings that are read anew at SIGHUP: whole or not at all.

use std::future::Future;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::State;
use crate::exit::Failure;
use crate::logs;

/// The signals that ask for it, caught from the moment this is made.
pub struct Hangups(Signal);

impl Hangups {
    /// Catches them.
    pub fn catch() -> Result<Self, Failure> {
        let caught = signal(SignalKind::hangup());
        caught
            .map(Self)
            .map_err(|e| Failure::new(format!("Signals cannot be watched: {e}; start again.")))
    }
}

/// Asks a server to read its settings anew, and hears what became of it.
#[derive(Clone)]
pub struct Asks(mpsc::Sender<Answers>);

type Answers = oneshot::Sender<Result<Vec<String>, Failure>>;

impl Asks {
    /// Asks, and what whoever is asked listens to.
    pub fn new() -> (Self, mpsc::Receiver<Answers>) {
        let (asks, asked) = mpsc::channel(4);
        (Self(asks), asked)
    }

    /// Has everything read anew.
    pub async fn renew(&self) -> Result<Vec<String>, Failure> {
        let gone = || Failure::new("The server is stopping and reads nothing anew.");
        let (answers, answer) = oneshot::channel();
        self.0.send(answers).await.map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}

/// A server whose settings can be read anew.
pub trait Renews: Send + 'static {
    /// Reads everything, and takes all of it or nothing. Gives sentences for the
    /// operator.
    fn renew(&mut self) -> impl Future<Output = Result<Vec<String>, Failure>> + Send;
}

/// Reads anew whenever it is asked for, one after the other, until the stop.
pub async fn keep_reading(
    mut server: impl Renews,
    mut hangups: Hangups,
    mut asked: mpsc::Receiver<Answers>,
    state: Arc<State>,
    stop: CancellationToken,
) {
    loop {
        let answers = tokio::select! {
            () = stop.cancelled() => return,
            caught = hangups.0.recv() => match caught {
                Some(()) => None,
                None => return,
            },
            Some(answers) = asked.recv() => Some(answers),
        };
        let renewed = server.renew().await;
        match &renewed {
            Ok(warnings) => {
                for warning in warnings {
                    logs::say(warning);
                }
                logs::say("The settings were read anew and count from now on.");
                state.renewed(Ok(()));
            }
            Err(failure) => {
                logs::say(format_args!(
                    "The settings were not taken, those from before count: {failure}"
                ));
                state.renewed(Err(failure));
            }
        }
        if let Some(answers) = answers {
            let _ = answers.send(renewed);
        }
    }
}

/// The settings of `$args` that count only from the start on, with the names of their
/// flags. Every field is in one of the two lists, or it does not compile.
macro_rules! fixed_settings {
    ($args:expr, $Args:ident {
        read anew: [$($anew:ident),* $(,)?],
        fixed: [$($field:ident: $flag:literal),* $(,)?],
    }) => {{
        let $Args { $($anew: _,)* $($field,)* } = $args;
        vec![$(($flag, format!("{:?}", $field))),*]
    }};
}
pub(crate) use fixed_settings;

/// Refuses settings of which some count only from the start on, by their names.
pub fn fixed_changed(
    began: &[(&'static str, String)],
    now: &[(&'static str, String)],
) -> Result<(), Failure> {
    let changed = began.iter().zip(now).filter(|(began, now)| began != now);
    let names: Vec<&str> = changed.map(|((name, _), _)| *name).collect();
    match names.is_empty() {
        true => Ok(()),
        false => Err(Failure::usage(format!(
            "These settings have changed and cannot be read anew while it runs: {}. Restart it, or put them back.",
            names.join(", ")
        ))),
    }
}
