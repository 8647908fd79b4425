//! One actor per network: it owns the machine's state, applies events one by
//! one and starts their effects. Each signer is a lane of its own within it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tollway_core::{Chain, Network};

use super::machine::{Effect, Event, State, step};
use super::perform::{Performer, open_records};
use super::shared::{NetworkGauge, NetworkHandle, Shared};

pub(super) struct Actor {
    performer: Performer,
    sender: mpsc::UnboundedSender<Event>,
    events: mpsc::UnboundedReceiver<Event>,
    gauge: Arc<NetworkGauge>,
}

impl Actor {
    /// An actor for a chain, and the way to it. It begins with [`Actor::run`].
    pub(super) fn new(shared: Arc<Shared>, chain: Arc<dyn Chain>) -> (Self, NetworkHandle) {
        // Unbounded, but bounded in fact: every event answers an effect, or is a
        // payment that was admitted below the queue limit.
        let (sender, events) = mpsc::unbounded_channel();
        let gauge = Arc::new(NetworkGauge::default());
        let handle = NetworkHandle {
            chain: Arc::clone(&chain),
            events: sender.clone(),
            gauge: Arc::clone(&gauge),
        };
        let performer = Performer {
            network: chain.network().clone(),
            shared,
            chain,
        };
        let actor = Self {
            performer,
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
            self.network().clone(),
            self.performer.chain.signers(),
            shared.config.rules.clone(),
        );
        let mut tick = tokio::time::interval(tick_length(&shared));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut recover = tokio::time::interval(shared.config.recover_interval);
        recover.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                biased;
                () = shared.stop.cancelled() => break,
                _ = recover.tick() => {
                    self.start_recovery();
                    continue;
                }
                _ = tick.tick(), if !state.is_idle() => Event::Tick,
                event = self.events.recv() => match event {
                    Some(event) => event,
                    None => break,
                },
            };
            let (next, effects) = step(state, shared.now(), event);
            state = next;
            self.show(&state);
            for effect in effects {
                self.start(effect);
            }
        }
    }

    fn network(&self) -> &Network {
        &self.performer.network
    }

    fn start(&self, effect: Effect) {
        if let Effect::NotifyWaiters { id, update } = effect {
            let shared = &self.performer.shared;
            return shared.moved(self.network(), id, update);
        }
        let performer = self.performer.clone();
        let sender = self.sender.clone();
        tokio::spawn(async move {
            let stop = performer.shared.stop.clone();
            let performed = stop.run_until_cancelled(performer.perform(effect)).await;
            if let Some(event) = performed.flatten() {
                // The actor is gone only when the engine stops.
                let _ = sender.send(event);
            }
        });
    }

    fn start_recovery(&self) {
        let shared = Arc::clone(&self.performer.shared);
        let sender = self.sender.clone();
        tokio::spawn(async move {
            match open_records(shared.store.as_ref()).await {
                Ok((payments, slots)) => {
                    let _ = sender.send(Event::Recovered { payments, slots });
                }
                Err(error) => tracing::error!(?error, "the ledger's open records were not read"),
            }
        });
    }

    fn show(&self, state: &State) {
        let relaxed = Ordering::Relaxed;
        self.gauge
            .open_payments
            .store(state.open_payments(), relaxed);
        self.gauge.open_slots.store(state.open_slots(), relaxed);
        let rejection = state
            .rejection()
            .map(|(signer, reason)| format!("signer {signer}: {reason}"));
        *self
            .gauge
            .rejection
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = rejection;
    }
}

fn tick_length(shared: &Shared) -> Duration {
    (shared.config.rules.poll_interval / 5)
        .clamp(Duration::from_millis(2), Duration::from_millis(50))
}
