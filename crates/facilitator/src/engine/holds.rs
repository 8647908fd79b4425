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

use super::callers::OpenPlace;

/// Parts of the book, each with a lock of its own.
const SHARDS: usize = 16;
/// Accounts that one call tidies at most.
const TIDIED: usize = 4;

/// The end of time: held until the payment ends.
const OPEN: Timestamp = Timestamp::from_millis(u64::MAX);

/// One promise.
#[derive(Debug)]
struct Hold {
    /// The identity's fingerprint.
    id: u64,
    amount: Amount,
    until: Timestamp,
    /// It is in a block: the chain's balance is less by it already.
    paid: bool,
}

impl Hold {
    /// What it takes from the balance that the chain shows.
    fn takes(&self) -> Amount {
        if self.paid { Amount::ZERO } else { self.amount }
    }
}

/// Most payers have one payment at a time: a list is the least that it takes.
#[derive(Debug)]
struct Account {
    holds: Vec<Hold>,
    /// Nothing ends before this.
    earliest: Timestamp,
    held: Amount,
    /// What is being verified.
    pending: Amount,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            holds: Vec::new(),
            earliest: OPEN,
            held: Amount::ZERO,
            pending: Amount::ZERO,
        }
    }
}

#[derive(Debug, Default)]
struct Shard {
    accounts: HashMap<u64, Account>,
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
    /// A payment comes to be verified.
    pub(super) fn enter(
        self: &Arc<Self>,
        identity: &Identity,
        asset: &Address,
        amount: Amount,
        now: Timestamp,
    ) -> Entry {
        let account = self.account_of(&identity.network, asset, &identity.payer);
        let id = self.fingerprint(identity);
        let mut shard = self.shard(account);
        tidy(&mut shard, now);
        let known = shard.accounts.entry(account).or_default();
        known.expire(now);
        let others = known.pending;
        known.pending = add(known.pending, amount);
        Entry {
            book: Arc::clone(self),
            account,
            id,
            amount,
            held: known.without(id),
            others,
        }
    }

    /// The payment is open until [`Holds::release`].
    pub(super) fn open(&self, identity: &Identity, asset: &Address, amount: Amount) {
        let account = self.account_of(&identity.network, asset, &identity.payer);
        let id = self.fingerprint(identity);
        let mut shard = self.shard(account);
        let known = shard.accounts.entry(account).or_default();
        known.hold(id, amount, OPEN);
    }

    /// An open payment came into a block, or left it again.
    pub(super) fn paid(&self, identity: &Identity, asset: &Address, is_paid: bool) {
        let account = self.account_of(&identity.network, asset, &identity.payer);
        let id = self.fingerprint(identity);
        let mut shard = self.shard(account);
        if let Some(known) = shard.accounts.get_mut(&account) {
            known.pay(id, is_paid);
        }
    }

    /// What of an account's open payments is in blocks, but for this one.
    pub(super) fn paid_besides(&self, identity: &Identity, asset: &Address) -> Amount {
        let account = self.account_of(&identity.network, asset, &identity.payer);
        let id = self.fingerprint(identity);
        let shard = self.shard(account);
        let Some(known) = shard.accounts.get(&account) else {
            return Amount::ZERO;
        };
        let paid = known.holds.iter().filter(|hold| hold.paid && hold.id != id);
        paid.fold(Amount::ZERO, |sum, hold| add(sum, hold.amount))
    }

    /// The payment ended, or was refused.
    pub(super) fn release(&self, identity: &Identity, asset: &Address) {
        let account = self.account_of(&identity.network, asset, &identity.payer);
        let id = self.fingerprint(identity);
        let mut shard = self.shard(account);
        let Some(known) = shard.accounts.get_mut(&account) else {
            return;
        };
        known.forget(id);
        if known.is_empty() {
            shard.accounts.remove(&account);
        }
    }

    /// A short name of an identity, for this process only.
    pub(super) fn fingerprint(&self, identity: &Identity) -> u64 {
        self.hasher.hash_one(identity)
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
        let known = shard.accounts.entry(self.account).or_default();
        known.hold(self.id, self.amount, until);
        known.without(self.id)
    }

    /// It is not good after all.
    pub(super) fn refuse(&self) {
        let mut shard = self.book.shard(self.account);
        if let Some(known) = shard.accounts.get_mut(&self.account) {
            known.forget(self.id);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut shard = self.book.shard(self.account);
        let Some(known) = shard.accounts.get_mut(&self.account) else {
            return;
        };
        known.pending = known.pending.checked_sub(self.amount).unwrap_or_default();
        if known.is_empty() {
            shard.accounts.remove(&self.account);
        }
    }
}

impl Account {
    fn is_empty(&self) -> bool {
        self.holds.is_empty() && self.pending.is_zero()
    }

    fn without(&self, id: u64) -> Amount {
        let own = self.holds.iter().find(|hold| hold.id == id);
        let own = own.map_or(Amount::ZERO, Hold::takes);
        self.held.checked_sub(own).unwrap_or_default()
    }

    /// A hold only becomes longer: an open payment that is verified again stays open.
    fn hold(&mut self, id: u64, amount: Amount, until: Timestamp) {
        self.earliest = self.earliest.min(until);
        if let Some(known) = self.holds.iter_mut().find(|hold| hold.id == id) {
            let rest = self.held.checked_sub(known.takes()).unwrap_or_default();
            known.amount = amount;
            self.held = add(rest, known.takes());
            known.until = known.until.max(until);
            return;
        }
        if self.holds.is_empty() {
            self.holds.reserve_exact(1);
        }
        self.holds.push(Hold {
            id,
            amount,
            until,
            paid: false,
        });
        self.held = add(self.held, amount);
    }

    fn pay(&mut self, id: u64, is_paid: bool) {
        if let Some(known) = self.holds.iter_mut().find(|hold| hold.id == id) {
            let rest = self.held.checked_sub(known.takes()).unwrap_or_default();
            known.paid = is_paid;
            self.held = add(rest, known.takes());
        }
    }

    fn forget(&mut self, id: u64) {
        if let Some(at) = self.holds.iter().position(|hold| hold.id == id) {
            let hold = self.holds.swap_remove(at);
            self.held = self.held.checked_sub(hold.takes()).unwrap_or_default();
        }
    }

    fn expire(&mut self, now: Timestamp) {
        if now < self.earliest {
            return;
        }
        self.holds.retain(|hold| hold.until > now);
        let sum = |sum, hold: &Hold| add(sum, hold.takes());
        self.held = self.holds.iter().fold(Amount::ZERO, sum);
        let ends = self.holds.iter().map(|hold| hold.until);
        self.earliest = ends.min().unwrap_or(OPEN);
    }
}

/// Accounts whose holds have passed are forgotten, a few with each call.
fn tidy(shard: &mut Shard, now: Timestamp) {
    for _ in 0..TIDIED {
        let Some((until, account)) = shard.tidy.front().copied() else {
            return;
        };
        if until > now {
            return;
        }
        shard.tidy.pop_front();
        if let Some(known) = shard.accounts.get_mut(&account) {
            known.expire(now);
            if known.is_empty() {
                shard.accounts.remove(&account);
            }
        }
    }
}

fn add(a: Amount, b: Amount) -> Amount {
    a.checked_add(b).unwrap_or(Amount::MAX)
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
        let first = book.enter(&identity(1), &asset(), ten(), at(0));
        assert_eq!((first.held, first.others), (Amount::ZERO, Amount::ZERO));
        assert_eq!(first.hold(at(100)), Amount::ZERO);
        drop(first);
        assert_eq!(
            book.enter(&identity(2), &asset(), ten(), at(50)).held,
            ten()
        );
        let itself = book.enter(&identity(1), &asset(), ten(), at(50));
        assert_eq!(itself.held, Amount::ZERO);
        drop(itself);
        let later = book.enter(&identity(2), &asset(), ten(), at(100));
        assert_eq!(later.held, Amount::ZERO);
    }

    #[test]
    fn two_at_the_same_time_see_each_other() {
        let book = Arc::<Holds>::default();
        let first = book.enter(&identity(1), &asset(), ten(), at(0));
        let second = book.enter(&identity(2), &asset(), ten(), at(0));
        assert_eq!((second.held, second.others), (Amount::ZERO, ten()));
        assert_eq!(first.hold(at(100)), Amount::ZERO);
        assert_eq!(second.hold(at(100)), ten());
        second.refuse();
        drop((first, second));
        assert_eq!(book.enter(&identity(3), &asset(), ten(), at(1)).held, ten());
    }

    #[test]
    fn an_open_payment_is_held_until_it_ends_and_then_nothing_is_kept() {
        let book = Arc::<Holds>::default();
        let entry = book.enter(&identity(1), &asset(), ten(), at(0));
        entry.hold(at(100));
        book.open(&identity(1), &asset(), ten());
        drop(entry);
        assert_eq!(
            book.enter(&identity(2), &asset(), ten(), at(9999)).held,
            ten()
        );
        book.release(&identity(1), &asset());
        assert_eq!(
            book.enter(&identity(2), &asset(), ten(), at(9999)).held,
            Amount::ZERO
        );
        let kept: usize = book
            .shards
            .iter()
            .map(|s| s.lock().unwrap().accounts.len())
            .sum();
        assert_eq!(kept, 0);
    }
}
