//! What the writer is given: a step's statements, and who waits for it.

use std::pin::Pin;

use tokio::sync::oneshot;

use super::step::Step;
use crate::LedgerError;
use crate::failure::fatal;

/// A command's names for the failpoints around its statements.
#[derive(Clone, Copy)]
pub(crate) struct StepName {
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
        $crate::store::StepName {
            before: concat!("saga::", $step, "::before_write"),
            after: concat!("saga::", $step, "::after_write"),
        }
    };
}
pub(crate) use step_name;

/// A command: its statements, and who waits for what they gave. It may run
/// several times; what the last run gave is what counts.
pub(super) trait Work: Send {
    /// Gives the step's own failure, if it fails.
    fn run<'a>(
        &'a mut self,
        step: &'a mut Step,
    ) -> Pin<Box<dyn Future<Output = Option<LedgerError>> + 'a>>;

    /// Takes how the commit went.
    fn answer(self: Box<Self>, commit: Result<(), LedgerError>);
}

pub(super) struct Call<T, F> {
    name: StepName,
    step: F,
    result: Option<Result<T, LedgerError>>,
    waiting: oneshot::Sender<Result<T, LedgerError>>,
}

impl<T, F> Work for Call<T, F>
where
    T: Send,
    F: AsyncFnMut(&mut Step) -> Result<T, LedgerError> + Send,
{
    fn run<'a>(
        &'a mut self,
        step: &'a mut Step,
    ) -> Pin<Box<dyn Future<Output = Option<LedgerError>> + 'a>> {
        Box::pin(async move {
            reached(self.name.before);
            let result = (self.step)(step).await;
            reached(self.name.after);
            let failure = result.as_ref().err().cloned();
            self.result = Some(result);
            failure
        })
    }

    fn answer(self: Box<Self>, commit: Result<(), LedgerError>) {
        // What a run found that was lost may not be so.
        let result = match commit {
            Ok(()) => self.result.unwrap_or_else(|| Err(stopped())),
            Err(lost) => Err(lost),
        };
        let _ = self.waiting.send(result);
    }
}

impl<T, F> Call<T, F> {
    pub const fn new(
        name: StepName,
        step: F,
        waiting: oneshot::Sender<Result<T, LedgerError>>,
    ) -> Self {
        Self {
            name,
            step,
            result: None,
            waiting,
        }
    }
}

pub(super) fn stopped() -> LedgerError {
    fatal(
        "The ledger is closed; start again to open it.",
        "the writer's thread has ended",
    )
}
