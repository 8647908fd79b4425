//! The one thread that writes. It takes all commands that wait, runs them in
//! one transaction, commits once, and answers them all: one sync of the disk is
//! shared by everybody who waits for it.
//!
//! A group may run more than once: a step that fails after it wrote takes the
//! group back, which then runs again with a savepoint before every step.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};
use tollway_core::mistake;

use super::connection::Trouble;
use super::step::Step;
use super::work::{Call, StepName, Work, stopped};
use crate::failure::{fatal, unavailable};
use crate::{LedgerError, LedgerHealth};

/// Commands that share one commit at most.
const GROUP: usize = 256;
/// Commands that wait at most.
const QUEUE: usize = 1_024;
/// How long a command waits for room in the queue.
const QUEUE_PATIENCE: Duration = Duration::from_secs(10);
/// How often a ledger that could not write tries whether it can again.
const PROBE_EVERY: Duration = Duration::from_millis(250);

/// How long a group tries again while others are in the way, or while the
/// database is away.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often it does so as a whole.
const WHOLE_ROUNDS: u32 = 3;

enum Command {
    Work(Box<dyn Work>),
    Close(oneshot::Sender<()>),
}

/// Counts of what the writer did, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriterStats {
    /// Transactions committed.
    pub commits: u64,
    /// Steps that those transactions held.
    pub steps: u64,
}

#[derive(Default)]
struct Shared {
    problem: Mutex<Option<LedgerError>>,
    commits: AtomicU64,
    steps: AtomicU64,
}

impl Shared {
    fn problem(&self) -> Option<LedgerError> {
        self.problem
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Notes how a write ended. What is fatal stays.
    fn note(&self, outcome: Result<(), &LedgerError>) {
        let mut problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*problem, Some(LedgerError::Fatal { .. })) {
            return;
        }
        *problem = outcome.err().cloned();
    }
}

/// The way to the writer's thread.
#[derive(Clone)]
pub(crate) struct Writer {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
}

impl Writer {
    /// Starts the thread. `open` makes the writer's connection on it.
    pub async fn start<O>(open: O) -> Result<Self, LedgerError>
    where
        O: AsyncFnOnce() -> Result<Step, LedgerError> + Send + 'static,
    {
        let (commands, intake) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared::default());
        let (opened, opening) = oneshot::channel();
        let task_shared = Arc::clone(&shared);
        let work = async move || match open().await {
            Ok(step) => {
                let _ = opened.send(Ok(()));
                let task = Task {
                    step,
                    intake,
                    shared: task_shared,
                    commit_seconds: OnceLock::new(),
                };
                task.run().await;
            }
            Err(error) => drop(opened.send(Err(error))),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(no_thread)?;
        std::thread::Builder::new()
            .name("ledger-writer".to_owned())
            .spawn(move || runtime.block_on(work()))
            .map_err(no_thread)?;
        opening.await.unwrap_or_else(|_| Err(stopped()))?;
        Ok(Self { commands, shared })
    }

    /// No thread: every step is refused.
    pub fn none() -> Self {
        let (commands, _) = mpsc::channel(1);
        let shared = Arc::new(Shared::default());
        let refused = fatal(
            "This ledger was opened to be read only; start a gate, facilitator or payer to write to it.",
            "no writer",
        );
        shared.note(Err(&refused));
        Self { commands, shared }
    }

    /// Runs a step and returns when it is durable. The step runs to its end
    /// even if nobody waits for it any more.
    pub async fn write<T, F>(&self, name: StepName, step: F) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        F: AsyncFnMut(&mut Step) -> Result<T, LedgerError> + Send + 'static,
    {
        if let Some(fatal @ LedgerError::Fatal { .. }) = self.shared.problem() {
            return Err(fatal);
        }
        let (waiting, answer) = oneshot::channel();
        let call = Box::new(Call::new(name, step, waiting));
        self.send(Command::Work(call)).await?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    async fn send(&self, command: Command) -> Result<(), LedgerError> {
        use mpsc::error::{SendTimeoutError, TrySendError};
        let command = match self.commands.try_send(command) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Closed(_)) => return Err(stopped()),
            Err(TrySendError::Full(command)) => command,
        };
        let sent = self.commands.send_timeout(command, QUEUE_PATIENCE).await;
        sent.map_err(|error| match error {
            SendTimeoutError::Timeout(_) => unavailable(
                "The ledger has more to write than the disk takes; try again later.",
                format!("{QUEUE} commands waiting for {QUEUE_PATIENCE:?}"),
            ),
            SendTimeoutError::Closed(_) => stopped(),
        })
    }

    pub async fn close(&self) {
        let (tx, rx) = oneshot::channel();
        if self.send(Command::Close(tx)).await.is_ok() {
            let _ = rx.await;
        }
    }

    pub fn health(&self) -> LedgerHealth {
        let problem = self.shared.problem().map(|e| e.to_string());
        let problem = problem.or_else(|| self.commands.is_closed().then(|| stopped().to_string()));
        LedgerHealth {
            writable: problem.is_none(),
            problem,
        }
    }

    pub fn stats(&self) -> WriterStats {
        WriterStats {
            commits: self.shared.commits.load(Ordering::Relaxed),
            steps: self.shared.steps.load(Ordering::Relaxed),
        }
    }
}

fn no_thread(error: std::io::Error) -> LedgerError {
    unavailable(
        "The ledger's thread cannot be started; raise the system's limits on threads and files, then try again.",
        error,
    )
}

struct Task {
    step: Step,
    intake: mpsc::Receiver<Command>,
    shared: Arc<Shared>,
    commit_seconds: OnceLock<metrics::Histogram>,
}

/// How a run of a group ended that was not committed.
enum Undone {
    /// A step failed after it had written: run it again with savepoints.
    Careful,
    /// The store was in trouble.
    Trouble(Trouble),
}

impl From<Trouble> for Undone {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

/// What became of a group.
enum Fate {
    Ended(Result<(), LedgerError>),
    /// Others were in the way too often: its halves may pass.
    Split,
}

impl Task {
    async fn run(mut self) {
        let mut closing = None;
        while closing.is_none() {
            let Some(group) = self.next_group(&mut closing).await else {
                break;
            };
            if !group.is_empty() {
                self.run_group(group).await;
            }
        }
        self.intake.close();
        self.finish().await;
        if let Some(closed) = closing {
            let _ = closed.send(());
        }
    }

    /// Waits for a command and takes all that wait behind it. While nothing
    /// could be written, tries now and then whether it can be again.
    async fn next_group(
        &mut self,
        closing: &mut Option<oneshot::Sender<()>>,
    ) -> Option<Vec<Box<dyn Work>>> {
        let first = loop {
            let is_well = match self.shared.problem() {
                None | Some(LedgerError::Fatal { .. }) => true,
                Some(_) => false,
            };
            if is_well {
                break self.intake.recv().await?;
            }
            tokio::select! {
                command = self.intake.recv() => break command?,
                () = sleep(PROBE_EVERY) => self.probe().await,
            }
        };
        let mut group = Vec::new();
        let mut next = Some(first);
        while let Some(command) = next {
            match command {
                Command::Work(work) => group.push(work),
                Command::Close(closed) => {
                    *closing = Some(closed);
                    break;
                }
            }
            next = (group.len() < GROUP)
                .then(|| self.intake.try_recv().ok())
                .flatten();
        }
        Some(group)
    }

    async fn run_group(&mut self, group: Vec<Box<dyn Work>>) {
        let mut groups = vec![group];
        while let Some(mut group) = groups.pop() {
            match self.commit_group(&mut group).await {
                Fate::Ended(outcome) => self.answer(group, outcome),
                Fate::Split => {
                    let later = group.split_off(group.len() / 2);
                    groups.extend([later, group]);
                }
            }
        }
    }

    fn answer(&self, group: Vec<Box<dyn Work>>, outcome: Result<(), LedgerError>) {
        match &outcome {
            Ok(()) => {
                let steps = group.len() as u64;
                self.shared.steps.fetch_add(steps, Ordering::Relaxed);
            }
            Err(error) => {
                tracing::error!(%error, detail = error.detail(), "the ledger could not commit");
            }
        }
        self.shared.note(outcome.as_ref().map(|_| ()));
        for work in group {
            work.answer(outcome.clone());
        }
    }

    /// Runs a group until it is committed. An error means that nothing was,
    /// unless it says that this is in doubt.
    async fn commit_group(&mut self, group: &mut [Box<dyn Work>]) -> Fate {
        // Where it is known that the store is in trouble, nobody waits for long.
        let is_well = self.shared.problem().is_none();
        let patience = Instant::now() + if is_well { PATIENCE } else { PROBE_EVERY };
        let mut is_careful = false;
        for round in 1.. {
            if let Some(fatal @ LedgerError::Fatal { .. }) = self.shared.problem() {
                return Fate::Ended(Err(fatal));
            }
            let trouble = match self.try_group(group, is_careful).await {
                Ok(()) => return Fate::Ended(Ok(())),
                Err(Undone::Careful) => {
                    self.step.roll_back().await;
                    is_careful = true;
                    continue;
                }
                Err(Undone::Trouble(trouble)) => trouble,
            };
            if let Trouble::InDoubt(detail) = trouble {
                match self.settle_doubt(detail).await {
                    Ok(true) => return Fate::Ended(Ok(())),
                    Ok(false) => continue,
                    Err(doubt) => return Fate::Ended(Err(doubt)),
                }
            }
            self.step.roll_back().await;
            let is_over = Instant::now() >= patience;
            match trouble {
                Trouble::Again(_) if round >= WHOLE_ROUNDS && group.len() > 1 => {
                    return Fate::Split;
                }
                Trouble::Again(_) | Trouble::Away(_) if !is_over => backoff(round).await,
                trouble => return Fate::Ended(Err(trouble.into_error())),
            }
        }
        Fate::Ended(Err(stopped()))
    }

    /// Asks until it is known whether a commit stands that the connection broke in.
    async fn settle_doubt(&mut self, detail: String) -> Result<bool, LedgerError> {
        let patience = Instant::now() + PATIENCE;
        for round in 1.. {
            match self.step.conn().is_committed().await {
                Ok(stands) => {
                    if !stands {
                        self.step.roll_back().await;
                    }
                    return Ok(stands);
                }
                Err(trouble) if Instant::now() >= patience => {
                    tracing::error!(?trouble, "the ledger could not be asked about a commit");
                    break;
                }
                Err(_) => backoff(round).await,
            }
        }
        self.step.roll_back().await;
        Err(Trouble::InDoubt(detail).into_error())
    }

    async fn try_group(
        &mut self,
        group: &mut [Box<dyn Work>],
        is_careful: bool,
    ) -> Result<(), Undone> {
        self.step.begin(is_careful).await?;
        for work in group {
            self.run_one(work.as_mut()).await?;
        }
        if self.step.checkpoint_is_due() {
            self.step.checkpoint().await?;
        }
        self.commit().await
    }

    /// Runs one command. Its own failure undoes only itself; the store's
    /// failure loses the whole group.
    async fn run_one(&mut self, work: &mut dyn Work) -> Result<(), Undone> {
        self.step.begins();
        let Some(error) = work.run(&mut self.step).await else {
            return Ok(());
        };
        if error.is_storage() {
            let trouble = self.step.take_trouble();
            return Err(trouble.unwrap_or(Trouble::Failed(error)).into());
        }
        if self.step.undo().await? {
            Ok(())
        } else {
            Err(Undone::Careful)
        }
    }

    async fn commit(&mut self) -> Result<(), Undone> {
        fail::fail_point!("ledger::commit::before", |_| Err(Undone::Trouble(
            Trouble::Failed(crate::failure::fatal(
                "The disk under the ledger failed; check it, then start again.",
                "injected",
            ))
        )));
        if mistake::is("answer_before_commit") {
            self.step.roll_back().await;
            return Ok(());
        }
        let begun = Instant::now();
        self.step.commit().await?;
        self.commit_seconds
            .get_or_init(|| metrics::histogram!("tollway_ledger_commit_seconds"))
            .record(begun.elapsed().as_secs_f64());
        self.shared.commits.fetch_add(1, Ordering::Relaxed);
        fail::fail_point!("ledger::commit::after");
        Ok(())
    }

    /// Tries whether the store takes writes again.
    async fn probe(&mut self) {
        let outcome = self.step.conn().probe().await.map_err(Trouble::into_error);
        self.shared.note(outcome.as_ref().map(|_| ()));
    }

    /// The last checkpoint, and the connection's end.
    async fn finish(mut self) {
        let is_fatal = matches!(self.shared.problem(), Some(LedgerError::Fatal { .. }));
        if self.step.has_unchecked_events() && !is_fatal {
            let outcome = self.last_checkpoint().await;
            if let Err(error) = outcome.map_err(Trouble::into_error) {
                tracing::warn!(%error, "the ledger's last checkpoint was not written");
            }
        }
        if let Err(error) = self.step.close().await {
            tracing::warn!(%error, "the ledger's connection was not closed in order");
        }
    }

    async fn last_checkpoint(&mut self) -> Result<(), Trouble> {
        self.step.begin(false).await?;
        self.step.checkpoint().await?;
        self.step.commit().await
    }
}

/// Longer each time, and never twice the same.
async fn backoff(round: u32) {
    let mut random = [0_u8; 1];
    // Without randomness it is only less spread.
    let _ = getrandom::fill(&mut random);
    let longest = (4_u64 << round.min(6)) * u64::from(random[0]) / 255;
    sleep(Duration::from_millis(1 + longest)).await;
}
