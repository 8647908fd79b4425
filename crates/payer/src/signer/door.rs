//! Who comes in: every user that is served has places of its own, so that the
//! programs of one cannot keep those of another out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::answers::{busy, not_served};
use super::wire::Answer;

/// Most callers of one user at once.
const PLACES: usize = 32;
/// How often it is told that callers are turned away.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Where callers come in.
pub(super) struct Door {
    places: BTreeMap<u32, Arc<Semaphore>>,
    turned_away: u64,
    told: Option<Instant>,
}

impl Door {
    /// Serves these users.
    pub(super) fn new(users: &[u32]) -> Self {
        let places = |user: &u32| (*user, Arc::new(Semaphore::new(PLACES)));
        Self {
            places: users.iter().map(places).collect(),
            turned_away: 0,
            told: None,
        }
    }

    /// A place for a program of a user, or what it is told instead.
    pub(super) fn admit(&mut self, user: Option<u32>) -> Result<OwnedSemaphorePermit, Answer> {
        let places = user.and_then(|user| self.places.get(&user));
        let refusal = match places.map(|places| Arc::clone(places).try_acquire_owned()) {
            Some(Ok(place)) => return Ok(place),
            Some(Err(_)) => busy(),
            None => not_served(),
        };
        if let Some(callers) = self.count_one(Instant::now()) {
            tracing::warn!(callers, "callers were turned away");
        }
        Err(refusal)
    }

    /// Counts one that is turned away; how many that are since it was told, where it
    /// is to be told again: whoever reaches the socket could fill the log.
    fn count_one(&mut self, now: Instant) -> Option<u64> {
        self.turned_away += 1;
        let lately = self.told.is_some_and(|told| now - told < TOLD_EVERY);
        if lately {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.turned_away))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_of_one_user_take_no_place_of_anothers() {
        let mut door = Door::new(&[1, 2]);
        let mut come = |user| {
            door.admit(user).map_err(|refused| match refused {
                Answer::Refused(words) | Answer::Unavailable(words) => words.code,
                _ => String::new(),
            })
        };
        let taken: Vec<_> = (0..PLACES).map(|_| come(Some(1)).unwrap()).collect();
        assert_eq!(come(Some(1)).unwrap_err(), "signer_busy");
        assert!(come(Some(2)).is_ok());
        for stranger in [Some(3), None] {
            assert_eq!(come(stranger).unwrap_err(), "signer_caller");
        }
        drop(taken);
        assert!(come(Some(1)).is_ok());
    }

    #[test]
    fn however_many_are_turned_away_it_is_told_once_a_minute_with_their_number() {
        let mut door = Door::new(&[]);
        let begun = Instant::now();
        let mut told = Vec::new();
        for at in 0..=1_200 {
            let now = begun + Duration::from_millis(100 * at);
            told.extend(door.count_one(now));
        }
        assert_eq!(told, [1, 600, 600]);
    }
}
