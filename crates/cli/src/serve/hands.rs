//! Where connections are served: a thread for each core, which polls its own
//! connections and no others. What is asked and answered on a connection stays
//! on its thread, so that no other must be woken for it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::{Builder, Handle};

/// Threads for what blocks (files, names), for each thread that serves.
const MAX_BLOCKING: usize = 64;

/// The threads that serve. They live as long as the process does: what an answer
/// left to be done outlives its connection.
pub(super) struct Hands {
    handles: Vec<Handle>,
    next: AtomicUsize,
}

impl Hands {
    /// Those of this process, started by who asks first. Where no thread can be
    /// had, connections are served where they are accepted.
    pub(super) fn of_process() -> &'static Self {
        static HANDS: OnceLock<Hands> = OnceLock::new();
        HANDS.get_or_init(|| {
            let count = std::thread::available_parallelism().map_or(1, usize::from);
            let mut handles: Vec<Handle> = (0..count).filter_map(|n| start(n).ok()).collect();
            if handles.is_empty() {
                handles.push(Handle::current());
            }
            Self {
                handles,
                next: AtomicUsize::new(0),
            }
        })
    }

    /// Whose turn it is.
    pub(super) fn next(&self) -> &Handle {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        &self.handles[turn % self.handles.len()]
    }
}

fn start(number: usize) -> std::io::Result<Handle> {
    let (started, handle) = std::sync::mpsc::channel();
    let serve = move || {
        // Before it sleeps it lets others have the processor: what they send
        // meanwhile is answered without being woken for it.
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(MAX_BLOCKING)
            .on_thread_park(std::thread::yield_now)
            .build();
        match runtime {
            Ok(runtime) => {
                let _ = started.send(Ok(runtime.handle().clone()));
                runtime.block_on(std::future::pending::<()>());
            }
            Err(error) => drop(started.send(Err(error))),
        }
    };
    std::thread::Builder::new()
        .name(format!("serve-{number}"))
        .spawn(serve)?;
    handle.recv().map_err(std::io::Error::other)?
}
