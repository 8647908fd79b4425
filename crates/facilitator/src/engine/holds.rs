//! What is promised of a payer's balance: by payments that were verified a
//! moment ago, and by those that are open. In memory; what is only verified is
//! forgotten after a while.
//!
//! A balance must cover what is held and the new payment. So that two payments
//! that are verified at the same time see each other, what is being verified
//! counts too; but as it may be refused, a payment that is refused only because
//! of it is verified once more without ([`Entry::others`]).

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tollway_core::{Address, Amount, Identity, Network, PaymentId, Timestamp};

use super::account::Account;
use super::callers::OpenPlace;

/// Parts of the book, each with a lock of its own.
const SHARDS: usize = 16;
/// Accounts that one call tidies at most.
const TIDIED: usize = 4;
/// Holds of one account at most.
const MOST_OF_ONE: usize = 16_384;
/// Holds of one part of the book at most.
const MOST_IN_SHARD: usize = 32_768;

/// The end of time: held until the payment ends.
const OPEN: Timestamp = Timestamp::from_millis(u64::MAX);

#[derive(Debug, Default)]
struct Shard {
    accounts: HashMap<u64, Account>,
    /// Of all accounts.
    holds: usize,
    /// When an account may have become empty.
    tidy: VecDeque<(Timestamp, u64)>,
}

/// The book of what is promised.
#[derive(Debug)]
pub(super) struct Holds {
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

impl Default for Holds {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }
}

/// A payment that is being verified. Dropping it ends that.
#[derive(Debug)]
pub(super) struct Entry {
    book: Arc<Holds>,
    account: u64,
    id: u64,
    amount: Amount,
    /// What was held when it came, by others.
    pub(super) held: Amount,
    /// What others had in verification when it came.
    pub(super) others: Amount,
}

impl Holds {
    /// A payment comes to be verified. `None` where the book is full.
    pub(super) fn enter(
        self: &Arc<Self>,
        identity: &Identity,
        asset: &Address,
        amount: Amount,
        now: Timestamp,
    ) -> Option<Entry> {
        let account = self.account_of(&identity.network, asset, &identity.payer);
        let id = self.fingerprint(identity);
        let mut shard = self.shard(account);
        shard.tidy(now);
        let is_full = shard.holds >= MOST_IN_SHARD;
        let (held, others) = shard.change(account, |known| {
            known.expire(now);
            let room = !is_full && known.count() < MOST_OF_ONE;
            room.then(|| (known.without(id), known.begin(amount)))
        })?;
        Some(Entry {
            book: Arc::clone(self),
            account,
            id,
            amount,
            held,
            others,
        })
    }

    /// The payment is open until [`Holds::release`].
    pub(super) fn open(&self, identity: &Identity, asset: &Address, amount: Amount) {
        self.of(identity, asset, |known, id| known.hold(id, amount, OPEN));
    }

    /// An open payment came into a block, or left it again.
    pub(super) fn paid(&self, identity: &Identity, asset: &Address, is_paid: bool) {
        self.of(identity, asset, |known, id| known.pay(id, is_paid));
    }

    /// What of an account's open payments is in blocks, but for this one.
    pub(super) fn paid_besides(&self, identity: &Identity, asset: &Address) -> Amount {
        self.of(identity, asset, |known, id| known.paid_besides(id))
    }

    /// The payment ended, or was refused.
    pub(super) fn release(&self, identity: &Identity, asset: &Address) {
        self.of(identity, asset, |known, id| known.forget(id));
    }

    /// A short name of an identity, for this process only.
    pub(super) fn fingerprint(&self, identity: &Identity) -> u64 {
        self.hasher.hash_one(identity)
    }

    fn of<T>(
        &self,
        identity: &Identity,
        asset: &Address,
        change: impl FnOnce(&mut Account, u64) -> T,
    ) -> T {
        let account = self.account_of(&identity.network, asset, &identity.payer);
        let id = self.fingerprint(identity);
        let mut shard = self.shard(account);
        shard.change(account, |known| change(known, id))
    }

    fn account_of(&self, network: &Network, asset: &Address, payer: &Address) -> u64 {
        self.hasher
            .hash_one((network.as_str(), asset.as_str(), payer.as_str()))
    }

    fn shard(&self, account: u64) -> MutexGuard<'_, Shard> {
        let index = usize::try_from(account % SHARDS as u64).unwrap_or_default();
        self.shards[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// It is good: its amount is held until then. What is held by others now,
    /// which is more than at first if others were verified meanwhile.
    pub(super) fn hold(&self, until: Timestamp) -> Amount {
        let mut shard = self.book.shard(self.account);
        shard.tidy.push_back((until, self.account));
        shard.change(self.account, |known| {
            known.hold(self.id, self.amount, until);
            known.without(self.id)
        })
    }

    /// It is not good after all.
    pub(super) fn refuse(&self) {
        let mut shard = self.book.shard(self.account);
        shard.change(self.account, |known| known.forget(self.id));
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut shard = self.book.shard(self.account);
        shard.change(self.account, |known| known.end(self.amount));
    }
}

impl Shard {
    /// Changes an account, keeps count, and forgets it where nothing is left.
    fn change<T>(&mut self, account: u64, change: impl FnOnce(&mut Account) -> T) -> T {
        let known = self.accounts.entry(account).or_default();
        let before = known.len();
        let said = change(known);
        self.holds = (self.holds + known.len()).saturating_sub(before);
        if known.is_empty() {
            self.accounts.remove(&account);
        }
        said
    }

    /// Accounts whose holds have passed are forgotten, a few with each call.
    fn tidy(&mut self, now: Timestamp) {
        for _ in 0..TIDIED {
            match self.tidy.front() {
                Some((until, account)) if *until <= now => {
                    let account = *account;
                    self.tidy.pop_front();
                    self.change(account, |known| known.expire(now));
                }
                _ => return,
            }
        }
    }
}

/// Payments that are open in this process, by what makes them unique.
#[derive(Debug, Default)]
pub(super) struct Open {
    ids: Mutex<HashMap<u64, (PaymentId, OpenPlace)>>,
}

impl Open {
    pub(super) fn add(&self, fingerprint: u64, id: PaymentId, place: OpenPlace) {
        self.lock().insert(fingerprint, (id, place));
    }

    pub(super) fn remove(&self, fingerprint: u64) {
        self.lock().remove(&fingerprint);
    }

    pub(super) fn get(&self, fingerprint: u64) -> Option<PaymentId> {
        self.lock().get(&fingerprint).map(|(id, _)| id.clone())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, (PaymentId, OpenPlace)>> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(nonce: u32) -> Identity {
        let network = Network::eip155(84532);
        Identity {
            scope: "asset".to_owned(),
            payer: network.address(&format!("0x{:040x}", 7)).unwrap(),
            nonce: nonce.to_string(),
            network,
        }
    }

    fn asset() -> Address {
        Network::eip155(84532)
            .address(&format!("0x{:040x}", 9))
            .unwrap()
    }

    fn ten() -> Amount {
        Amount::from_atomic(10)
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn what_was_verified_is_held_for_a_while_and_never_against_itself() {
        let book = Arc::<Holds>::default();
        let first = book.enter(&identity(1), &asset(), ten(), at(0)).unwrap();
        assert_eq!((first.held, first.others), (Amount::ZERO, Amount::ZERO));
        assert_eq!(first.hold(at(100)), Amount::ZERO);
        drop(first);
        assert_eq!(
            book.enter(&identity(2), &asset(), ten(), at(50))
                .unwrap()
                .held,
            ten()
        );
        let itself = book.enter(&identity(1), &asset(), ten(), at(50)).unwrap();
        assert_eq!(itself.held, Amount::ZERO);
        drop(itself);
        let later = book.enter(&identity(2), &asset(), ten(), at(100)).unwrap();
        assert_eq!(later.held, Amount::ZERO);
    }

    #[test]
    fn two_at_the_same_time_see_each_other() {
        let book = Arc::<Holds>::default();
        let first = book.enter(&identity(1), &asset(), ten(), at(0)).unwrap();
        let second = book.enter(&identity(2), &asset(), ten(), at(0)).unwrap();
        assert_eq!((second.held, second.others), (Amount::ZERO, ten()));
        assert_eq!(first.hold(at(100)), Amount::ZERO);
        assert_eq!(second.hold(at(100)), ten());
        second.refuse();
        drop((first, second));
        assert_eq!(
            book.enter(&identity(3), &asset(), ten(), at(1))
                .unwrap()
                .held,
            ten()
        );
    }

    #[test]
    fn an_open_payment_is_held_until_it_ends_and_then_nothing_is_kept() {
        let book = Arc::<Holds>::default();
        let entry = book.enter(&identity(1), &asset(), ten(), at(0)).unwrap();
        entry.hold(at(100));
        book.open(&identity(1), &asset(), ten());
        drop(entry);
        assert_eq!(
            book.enter(&identity(2), &asset(), ten(), at(9999))
                .unwrap()
                .held,
            ten()
        );
        book.release(&identity(1), &asset());
        assert_eq!(
            book.enter(&identity(2), &asset(), ten(), at(9999))
                .unwrap()
                .held,
            Amount::ZERO
        );
        let kept: usize = book
            .shards
            .iter()
            .map(|s| s.lock().unwrap().accounts.len())
            .sum();
        assert_eq!(kept, 0);
    }

    #[test]
    fn however_many_one_payer_has_each_is_found_and_there_is_an_end() {
        let book = Arc::<Holds>::default();
        for n in 0..u32::try_from(MOST_OF_ONE).unwrap() {
            let entry = book.enter(&identity(n), &asset(), ten(), at(0)).unwrap();
            assert_eq!(entry.held, Amount::from_atomic(10 * u128::from(n)));
            entry.hold(at(100));
        }
        let more = identity(u32::MAX);
        assert!(book.enter(&more, &asset(), ten(), at(50)).is_none());
        book.paid(&identity(1), &asset(), true);
        assert_eq!(book.paid_besides(&more, &asset()), ten());
        book.release(&identity(2), &asset());
        let entry = book.enter(&more, &asset(), ten(), at(50)).unwrap();
        let left = Amount::from_atomic(10 * (MOST_OF_ONE as u128 - 2));
        assert_eq!(entry.held, left);
        drop(entry);
        let later = book.enter(&more, &asset(), ten(), at(2000)).unwrap();
        assert_eq!(later.held, Amount::ZERO);
        drop(later);
        let shards = book.shards.iter().map(|s| s.lock().unwrap());
        let kept: usize = shards.map(|s| s.accounts.len() + s.holds).sum();
        assert_eq!(kept, 0);
    }
}
