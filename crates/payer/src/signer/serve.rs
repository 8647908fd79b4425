//! Serving the socket: many callers at once, each within limits.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::answers::not_understood;
use super::desk::Desk;
use super::door::Door;
use super::frame::{self, FrameError};
use super::socket::SignerSocket;
use super::wire::{Answer, Ask};
use crate::engine::Engine;
use crate::error::PayError;
use crate::payer::Payer;

/// How long a caller may take to ask for something.
const FIRST: Duration = Duration::from_secs(5);
/// How long it may say nothing after that.
const IDLE: Duration = Duration::from_secs(30);
/// How long it may take to take an answer.
const WRITING: Duration = Duration::from_secs(5);
/// How long work that was begun may take once the signer is to stop.
const DRAIN: Duration = Duration::from_secs(10);
/// How often the chain is asked what became of what was signed.
const RECONCILE: Duration = Duration::from_secs(30);
/// How long it is waited after the system had no connection to give.
const PAUSE: Duration = Duration::from_millis(100);

impl Payer {
    /// Signs at a socket for whoever has no key, until `stop` is ready; then what was
    /// begun is finished and the socket goes. Policy, budget, record, wallet and
    /// reconciler are this payer's, which should pay for nothing else. Which host is
    /// paid is the callers' word: rules by host hold only against honest ones, and what
    /// they compare with is what any caller said.
    ///
    /// # Errors
    /// `ledger_unavailable` if the record cannot be read at the start.
    pub async fn sign_at(
        &self,
        socket: SignerSocket,
        stop: impl Future<Output = ()>,
    ) -> Result<(), PayError> {
        let engine = &self.engine;
        engine.forget_unsigned().await?;
        let desk = Arc::new(Desk::new(engine, socket.most_per_hour));
        let mut door = Door::new(&socket.callers);
        let (closing, closed) = watch::channel(false);
        let mut callers = JoinSet::new();
        let looking = tokio::spawn(look_back(Arc::clone(engine)));
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                accepted = socket.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        while callers.try_join_next().is_some() {}
                        let place = door.admit(SignerSocket::user_of(&stream));
                        let desk = Arc::clone(&desk);
                        callers.spawn(meet(desk, stream, place, closed.clone()));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "no caller can be met now");
                        tokio::time::sleep(PAUSE).await;
                    }
                },
                Some(_) = callers.join_next() => {}
            }
        }
        drop(socket);
        looking.abort();
        let _ = closing.send(true);
        let drained = timeout(DRAIN, async {
            while callers.join_next().await.is_some() {}
        });
        if drained.await.is_err() {
            tracing::warn!(left = callers.len(), "callers were left without an answer");
        }
        Ok(())
    }
}

/// Asks the chain now and then what became of what was signed. Without one there is
/// nothing to learn.
async fn look_back(engine: Arc<Engine>) {
    loop {
        let looked = match &engine.reconciler {
            Some(_) => engine.reconcile().await.map(|_| ()),
            None => engine.forget_abandoned().await,
        };
        if let Err(error) = looked {
            tracing::warn!(%error, "open payments could not be looked up");
        }
        tokio::time::sleep(RECONCILE).await;
    }
}

async fn meet(
    desk: Arc<Desk>,
    mut stream: UnixStream,
    place: Result<OwnedSemaphorePermit, Answer>,
    mut closed: watch::Receiver<bool>,
) {
    let _place = match place {
        Ok(place) => place,
        Err(answer) => {
            let _ = timeout(WRITING, frame::write(&mut stream, &answer)).await;
            return;
        }
    };
    let mut silence = FIRST;
    loop {
        let until = Instant::now() + silence;
        let read = tokio::select! {
            _ = closed.wait_for(|closed| *closed) => return,
            read = timeout_at(until, frame::read::<Ask>(&mut stream)) => read,
        };
        let (answer, last) = match read {
            Ok(Ok(Some(ask))) => (desk.answer(ask).await, false),
            Ok(Err(FrameError::Foreign(why))) => (not_understood(&why), true),
            // Gone, or silent for too long.
            _ => return,
        };
        let written = timeout(WRITING, frame::write(&mut stream, &answer)).await;
        if last || !matches!(written, Ok(Ok(()))) {
            return;
        }
        silence = IDLE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RemoteWallet;

    #[tokio::test]
    async fn programs_of_other_users_are_turned_away_and_told_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/signer.sock");
        let mut socket = SignerSocket::bind(&path, &[]).unwrap();
        let ours = socket.callers[0];
        socket.callers = vec![ours + 1];
        let payer = Payer::builder();
        let path_of_ledger = format!("sqlite:{}", dir.path().join("s.db").display());
        let ledger = tollway_ledger::Store::open(&path_of_ledger).await.unwrap();
        let payer = payer.spends(Arc::new(ledger)).build().unwrap();
        let serving =
            tokio::spawn(async move { payer.sign_at(socket, std::future::pending()).await });
        let refused = RemoteWallet::connect(&path).await.unwrap_err();
        assert!(refused.to_string().contains("--serve-user"), "{refused}");
        serving.abort();
    }
}
