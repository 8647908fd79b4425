//! One actor per network: it owns the machine's state, applies events one by
//! one and starts their effects. Each signer is a lane of its own within it.

use std::collections::VecDeque;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::mpsc;
use tollway_core::Chain;
use tollway_ledger::PaymentRecord;

use super::gas::Gas;
use super::intent::read_intent;
use super::machine::{Effect, Event, State, Update};
use super::perform::Performer;
use super::shared::{NetworkGauge, NetworkHandle, Shared};

/// Longest time in which no alarm is looked at: the clock may jump.
const LONGEST_NAP: Duration = Duration::from_millis(100);
/// Events that are taken from the channel at a time.
const AT_ONCE: usize = 256;

pub(super) struct Actor {
    performer: Arc<Performer>,
    sender: mpsc::UnboundedSender<Event>,
    events: mpsc::UnboundedReceiver<Event>,
    gauge: Arc<NetworkGauge>,
}

type Performing = Pin<Box<dyn Future<Output = Option<Event>> + Send>>;

impl Actor {
    /// An actor for a chain, and the way to it. It begins with [`Actor::run`].
    pub(super) fn new(shared: Arc<Shared>, chain: Arc<dyn Chain>) -> (Self, NetworkHandle) {
        // Unbounded, but bounded in fact: every event answers an effect, or is a
        // payment that was admitted below the queue limit.
        let (sender, events) = mpsc::unbounded_channel();
        let (gauge, gas) = (Arc::<NetworkGauge>::default(), Arc::<Gas>::default());
        let handle = NetworkHandle {
            chain: Arc::clone(&chain),
            events: sender.clone(),
            gauge: Arc::clone(&gauge),
            gas: Arc::clone(&gas),
            meters: Arc::default(),
        };
        let performer = Performer {
            network: chain.network().clone(),
            shared,
            chain,
            gas,
        };
        let actor = Self {
            performer: Arc::new(performer),
            sender,
            events,
            gauge,
        };
        (actor, handle)
    }

    /// Runs until the engine stops.
    pub(super) async fn run(mut self) {
        let shared = Arc::clone(&self.performer.shared);
        let mut state = State::new(
            self.performer.network.clone(),
            self.performer.chain.signers(),
            shared.config.rules.clone(),
        );
        let mut inbox = Vec::with_capacity(AT_ONCE);
        loop {
            let now = shared.now();
            let due = state.next_due();
            if due.is_some_and(|at| at <= now) {
                inbox.push(Event::Tick);
            }
            let nap = due.map_or(Duration::MAX, |at| {
                let until = at.since(now).max(Duration::from_millis(1));
                until.min(LONGEST_NAP)
            });
            if inbox.is_empty() {
                tokio::select! {
                    biased;
                    () = shared.stop.cancelled() => break,
                    taken = self.events.recv_many(&mut inbox, AT_ONCE) => if taken == 0 { break },
                    () = tokio::time::sleep(nap), if nap != Duration::MAX => continue,
                }
            }
            for event in inbox.drain(..) {
                self.apply(&mut state, event).await;
            }
            self.show(&state);
            // Others on this thread have work too.
            tokio::task::yield_now().await;
        }
    }

    /// Applies an event, and those that its effects answer at once.
    async fn apply(&self, state: &mut State, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for effect in state.apply(self.performer.shared.now(), event) {
                events.extend(self.start(effect).await);
            }
        }
    }

    /// What is on its way, and in no block that counts, is still promised: the chain
    /// is told, which may keep more in memory than balances.
    fn hold_again(&self, record: &PaymentRecord) {
        let (chain, known) = (self.performer.chain.as_ref(), &record.payment);
        if let Ok(intent) = read_intent(chain, &known.payload, &known.requirements) {
            chain.resume(&intent);
        }
    }

    /// Starts an effect. Its answer, if that takes no waiting: planning and
    /// signing are arithmetic, and need no task of their own.
    async fn start(&self, effect: Effect) -> Option<Event> {
        if let Effect::NotifyWaiters { id, update } = effect {
            if let Update::Resumed(record) | Update::LeftBlock(record) = &update {
                self.hold_again(record);
            }
            let shared = &self.performer.shared;
            shared.moved(&self.performer.network, id, update);
            return None;
        }
        if let Effect::LeaseLost { signer } = effect {
            let shared = &self.performer.shared;
            let mut lost = shared.lost.lock().unwrap_or_else(PoisonError::into_inner);
            lost.push((self.performer.network.clone(), signer));
            return None;
        }
        if let Effect::Prefer { signers } = effect {
            self.performer.chain.prefer(&signers);
            return None;
        }
        let mut performing: Performing = Box::pin(Arc::clone(&self.performer).perform(effect));
        // A step that panics is never answered, and is taken again after its time-out.
        let polled = std::future::poll_fn(|context| {
            let poll = AssertUnwindSafe(|| performing.as_mut().poll(context));
            Poll::Ready(std::panic::catch_unwind(poll))
        });
        match polled.await {
            Err(_) => None,
            Ok(Poll::Ready(event)) => event,
            Ok(Poll::Pending) => {
                let (sender, stop) = (self.sender.clone(), self.performer.shared.stop.clone());
                tokio::spawn(async move {
                    if let Some(Some(event)) = stop.run_until_cancelled(performing).await {
                        // The actor is gone only when the engine stops.
                        let _ = sender.send(event);
                    }
                });
                None
            }
        }
    }

    fn show(&self, state: &State) {
        let (gauge, relaxed) = (&self.gauge, Ordering::Relaxed);
        gauge.open_payments.store(state.open_payments(), relaxed);
        gauge.included.store(state.included(), relaxed);
        gauge.open_slots.store(state.open_slots(), relaxed);
        gauge.waiting.store(state.waiting(), relaxed);
        gauge.watched.store(state.watched(), relaxed);
        let interval = state.block_interval().map_or(0, |d| d.as_millis());
        gauge
            .block_millis
            .store(usize::try_from(interval).unwrap_or_default(), relaxed);
        let rejection = state
            .rejection()
            .map(|(signer, reason)| format!("signer {signer}: {reason}"));
        *gauge
            .rejection
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = rejection;
    }
}
