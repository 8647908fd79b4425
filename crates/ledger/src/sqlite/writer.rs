//! The one task that writes. It takes all commands that wait, runs each behind
//! its own savepoint of one transaction, commits once, and answers them all:
//! one sync of the disk is shared by everybody who waits for it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

use super::failure::{fatal, is_busy, storage, unavailable};
use super::step::Step;
use crate::{LedgerError, LedgerHealth};

/// Commands that share one commit at most.
const GROUP: usize = 256;
/// Commands that wait at most.
const QUEUE: usize = 1_024;
/// How long a command waits for room in the queue.
const QUEUE_PATIENCE: Duration = Duration::from_secs(10);
/// How long a group waits for other processes, on top of SQLite's own wait.
const BUSY_PATIENCE: Duration = Duration::from_secs(15);
/// How often a ledger that could not write tries whether it can again.
const PROBE_EVERY: Duration = Duration::from_millis(250);
/// What a trial writes: enough that a full disk has no room for it.
const PROBE_BYTES: usize = 64 * 1024;

pub(super) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A command's names for the failpoints around its statements.
#[derive(Clone, Copy)]
pub(super) struct StepName {
    pub before: &'static str,
    pub after: &'static str,
}

/// A place to crash at in tests; nothing without the feature `failpoints`.
fn reached(failpoint: &'static str) {
    let _ = failpoint;
    fail::fail_point!(failpoint);
}

macro_rules! step_name {
    ($step:literal) => {
        $crate::sqlite::writer::StepName {
            before: concat!("saga::", $step, "::before_write"),
            after: concat!("saga::", $step, "::after_write"),
        }
    };
}
pub(super) use step_name;

type Run = Box<dyn for<'a> FnOnce(&'a mut Step) -> BoxFuture<'a, Option<LedgerError>> + Send>;
type Answer = Box<dyn FnOnce(Result<(), LedgerError>) + Send>;

/// A command: its statements, and who waits for what they gave.
struct Work {
    /// Gives the step's own failure, if it fails.
    run: Run,
    /// Takes how the commit went.
    answer: Answer,
}

impl Work {
    fn new<T, F>(name: StepName, step: F, waiting: oneshot::Sender<Result<T, LedgerError>>) -> Self
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a mut Step) -> BoxFuture<'a, Result<T, LedgerError>> + Send + 'static,
    {
        let (keep, kept) = std::sync::mpsc::sync_channel(1);
        let run: Run = Box::new(move |conn| {
            Box::pin(async move {
                reached(name.before);
                let result = step(conn).await;
                reached(name.after);
                let failure = result.as_ref().err().cloned();
                let _ = keep.try_send(result);
                failure
            })
        });
        let answer: Answer = Box::new(move |commit| {
            let result = match (kept.try_recv(), commit) {
                (Ok(Err(own)), _) => Err(own),
                (_, Err(lost)) => Err(lost),
                (Ok(Ok(value)), Ok(())) => Ok(value),
                (Err(_), Ok(())) => Err(stopped()),
            };
            let _ = waiting.send(result);
        });
        Self { run, answer }
    }
}

enum Command {
    Work(Work),
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

/// The way to the writer task.
#[derive(Clone)]
pub(super) struct Writer {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
}

impl Writer {
    pub fn start(step: Step) -> Self {
        let (commands, intake) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared::default());
        let task = Task {
            step,
            intake,
            shared: Arc::clone(&shared),
        };
        tokio::spawn(task.run());
        Self { commands, shared }
    }

    /// Runs a step and returns when it is durable. The step runs to its end
    /// even if nobody waits for it any more.
    pub async fn write<T, F>(&self, name: StepName, step: F) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a mut Step) -> BoxFuture<'a, Result<T, LedgerError>> + Send + 'static,
    {
        if let Some(fatal @ LedgerError::Fatal { .. }) = self.shared.problem() {
            return Err(fatal);
        }
        let (tx, rx) = oneshot::channel();
        self.send(Command::Work(Work::new(name, step, tx))).await?;
        rx.await.unwrap_or_else(|_| Err(stopped()))
    }

    async fn send(&self, command: Command) -> Result<(), LedgerError> {
        use mpsc::error::SendTimeoutError::{Closed, Timeout};
        let sent = self.commands.send_timeout(command, QUEUE_PATIENCE).await;
        sent.map_err(|error| match error {
            Timeout(_) => unavailable(
                "The ledger has more to write than the disk takes; try again later.",
                format!("{QUEUE} commands waiting for {QUEUE_PATIENCE:?}"),
            ),
            Closed(_) => stopped(),
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

fn stopped() -> LedgerError {
    fatal(
        "The ledger is closed; start again to open it.",
        "the writer task has ended",
    )
}

struct Task {
    step: Step,
    intake: mpsc::Receiver<Command>,
    shared: Arc<Shared>,
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
    async fn next_group(&mut self, closing: &mut Option<oneshot::Sender<()>>) -> Option<Vec<Work>> {
        let first = loop {
            if !matches!(self.shared.problem(), Some(LedgerError::Unavailable { .. })) {
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

    async fn run_group(&mut self, group: Vec<Work>) {
        let steps = group.len() as u64;
        let (runs, answers): (Vec<_>, Vec<_>) =
            group.into_iter().map(|w| (w.run, w.answer)).unzip();
        self.step.group_begins(runs.len());
        let outcome = self.try_group(runs).await;
        match &outcome {
            Ok(()) => {
                self.shared.steps.fetch_add(steps, Ordering::Relaxed);
            }
            Err(error) => {
                tracing::error!(%error, detail = error.detail(), "the ledger could not commit");
                self.roll_back().await;
                self.step.group_failed();
            }
        }
        self.shared.note(outcome.as_ref().map(|_| ()));
        for answer in answers {
            answer(outcome.clone());
        }
    }

    /// Runs a group and commits it. An error means that nothing was written;
    /// no further statement runs then, because SQLite may have rolled back by
    /// itself.
    async fn try_group(&mut self, group: Vec<Run>) -> Result<(), LedgerError> {
        if let Some(fatal @ LedgerError::Fatal { .. }) = self.shared.problem() {
            return Err(fatal);
        }
        self.begin().await?;
        let mut stands = true;
        for run in group {
            stands = self.run_one(run).await?;
        }
        if !stands {
            return Ok(());
        }
        if self.step.checkpoint_is_due() {
            self.step.checkpoint().await?;
        }
        self.commit().await
    }

    async fn begin(&mut self) -> Result<(), LedgerError> {
        let patience = Instant::now() + BUSY_PATIENCE;
        loop {
            match self.step.control(sqlx::query("BEGIN IMMEDIATE")).await {
                Ok(()) => return Ok(()),
                Err(error) if is_busy(&error) && Instant::now() < patience => {
                    sleep(Duration::from_millis(20)).await;
                }
                Err(error) => return Err(storage(error)),
            }
        }
    }

    /// Runs one command. Its own failure undoes only itself; storage's failure
    /// loses the whole group. Whether the transaction still stands.
    async fn run_one(&mut self, run: Run) -> Result<bool, LedgerError> {
        self.step.begins();
        match run(&mut self.step).await {
            Some(error) if error.is_storage() => Err(error),
            Some(_) => self.step.undo().await,
            None => Ok(true),
        }
    }

    async fn commit(&mut self) -> Result<(), LedgerError> {
        fail::fail_point!("ledger::commit::before", |_| Err(fatal(
            "The disk under the ledger failed; check it, then start again.",
            "injected",
        )));
        self.control("COMMIT").await?;
        self.shared.commits.fetch_add(1, Ordering::Relaxed);
        fail::fail_point!("ledger::commit::after");
        Ok(())
    }

    async fn roll_back(&mut self) {
        // It fails where SQLite has rolled back by itself, which is as good.
        let _ = self.control("ROLLBACK").await;
    }

    /// Tries whether the disk takes writes again.
    async fn probe(&mut self) {
        let outcome = self.try_probe().await;
        if outcome.is_err() {
            self.roll_back().await;
        }
        self.shared.note(outcome.as_ref().map(|_| ()));
    }

    async fn try_probe(&mut self) -> Result<(), LedgerError> {
        self.control("BEGIN IMMEDIATE").await?;
        let bytes = vec![0_u8; PROBE_BYTES];
        let insert = sqlx::query("INSERT INTO probes (id, bytes) VALUES (1, $1)").bind(bytes);
        self.step.control(insert).await.map_err(storage)?;
        self.control("COMMIT").await?;
        self.control("DELETE FROM probes").await
    }

    async fn control(&mut self, statement: &'static str) -> Result<(), LedgerError> {
        let statement = sqlx::query(statement);
        self.step.control(statement).await.map_err(storage)
    }

    /// The last checkpoint, and the connection's end.
    async fn finish(mut self) {
        let is_fatal = matches!(self.shared.problem(), Some(LedgerError::Fatal { .. }));
        if self.step.has_unchecked_events() && !is_fatal {
            let outcome = self.step.checkpoint().await;
            if let Err(error) = outcome {
                tracing::warn!(%error, "the ledger's last checkpoint was not written");
            }
        }
        if let Err(error) = self.step.close().await {
            tracing::warn!(%error, "the ledger's connection was not closed in order");
        }
    }
}
