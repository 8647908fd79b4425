//! The ledger's rules in memory: what a `SettlementStore` must do, as simply
//! as it can be said. Not durable.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use tollway_core::{Address, Amount, Identity, PaymentId, Proof, Raw, Timestamp};
use tollway_ledger::{
    Acceptance, Conclusion, Cost, Ended, Ending, GasSpent, HandOut, Lease, LedgerError, NewPayment,
    PaymentRecord, PaymentState, ReplicaId, SlotRecord, SlotRef,
};

use crate::fixtures::network;

#[derive(Clone, Debug, Default)]
pub struct ModelStore {
    pub payments: BTreeMap<PaymentId, PaymentRecord>,
    pub slots: BTreeMap<(Address, u64), SlotRecord>,
    by_identity: HashMap<String, PaymentId>,
    handed_out: HashMap<PaymentId, Option<String>>,
    closed: HashSet<(Address, u64)>,
    finals: HashSet<PaymentId>,
    /// Who uses each signer, and how many did.
    leases: BTreeMap<Address, (ReplicaId, u64)>,
    /// Whoever is not in here is dead.
    pub alive: BTreeSet<ReplicaId>,
    joined: u64,
    spent: GasSpent,
    spent_by: HashMap<Address, GasSpent>,
}

/// The one that the simple tests act as.
pub fn me() -> ReplicaId {
    ReplicaId::from_text("rep_1")
}

type Answer<T> = Result<T, LedgerError>;

fn conflict(subject: impl ToString, state: impl ToString, step: &'static str) -> LedgerError {
    LedgerError::Conflict {
        subject: subject.to_string(),
        state: state.to_string(),
        step,
    }
}

impl ModelStore {
    pub fn join(&mut self) -> ReplicaId {
        self.joined += 1;
        let id = ReplicaId::from_text(format!("rep_{}", self.joined));
        self.alive.insert(id.clone());
        id
    }

    pub fn lease(&mut self, replica: &ReplicaId, signer: &Address) -> Option<Lease> {
        let (holder, epoch) = self.leases.get(signer).cloned().unwrap_or((me(), 0));
        let same = epoch > 0 && holder == *replica;
        if epoch > 0 && !same && self.alive.contains(&holder) {
            return None;
        }
        let epoch = if same { epoch } else { epoch + 1 };
        self.leases.insert(signer.clone(), (replica.clone(), epoch));
        Some(Lease {
            replica: replica.clone(),
            epoch,
            network: network(),
            signer: signer.clone(),
        })
    }

    /// Whether it uses the signer.
    pub fn holds(&self, replica: &ReplicaId, signer: &Address) -> bool {
        self.leases.get(signer).is_some_and(|(r, _)| r == replica)
    }

    /// Another machine takes the signer, for as long as it lives.
    pub fn steal(&mut self, signer: &Address, thief: &ReplicaId) {
        let epoch = self.leases.get(signer).map_or(0, |(_, epoch)| *epoch);
        self.leases
            .insert(signer.clone(), (thief.clone(), epoch + 1));
    }

    fn check_lease(&self, lease: &Lease) -> Answer<()> {
        let held = self.leases.get(&lease.signer);
        match held == Some(&(lease.replica.clone(), lease.epoch)) {
            true => Ok(()),
            false => Err(LedgerError::LeaseLost {
                signer: lease.signer.to_string(),
            }),
        }
    }

    /// Takes over what nobody alive works on.
    pub fn adopt(&mut self, replica: &ReplicaId) -> Vec<PaymentRecord> {
        let (alive, leases) = (&self.alive, &self.leases);
        let mut adopted = Vec::new();
        for record in self.payments.values_mut() {
            let open = matches!(
                record.state,
                PaymentState::Accepted | PaymentState::Submitted
            );
            let left = record.replica.as_ref().is_none_or(|r| !alive.contains(r));
            let signs = match (&record.state, &record.slot) {
                (PaymentState::Submitted, Some((_, signer, _))) => leases
                    .get(signer)
                    .is_some_and(|(holder, _)| holder == replica),
                _ => true,
            };
            if open && left && signs {
                record.replica = Some(replica.clone());
                adopted.push(record.clone());
            }
        }
        adopted
    }

    pub fn give_up(&mut self, id: &PaymentId) -> Answer<()> {
        self.load(id)?.replica = None;
        Ok(())
    }

    pub fn accept(
        &mut self,
        replica: &ReplicaId,
        new: NewPayment,
        now: Timestamp,
    ) -> Answer<Acceptance> {
        let key = new.identity.key();
        if let Some(id) = self.by_identity.get(&key) {
            return Ok(Acceptance::Existing(self.payments[id].clone()));
        }
        let id = PaymentId::from_text(format!("pay_{:06}", self.payments.len()));
        let record = PaymentRecord {
            id: id.clone(),
            payment: new,
            state: PaymentState::Accepted,
            replica: Some(replica.clone()),
            attempts: 0,
            slot: None,
            transaction: None,
            settled: None,
            refusal: None,
            is_handed_out: false,
            is_watched: false,
            accepted_at: now,
            updated_at: now,
        };
        self.by_identity.insert(key, id.clone());
        self.payments.insert(id, record.clone());
        Ok(Acceptance::New(record))
    }

    pub fn payment(&self, id: &PaymentId) -> Option<PaymentRecord> {
        self.payments.get(id).cloned()
    }

    pub fn by_identity(&self, identity: &Identity) -> Option<PaymentRecord> {
        self.by_identity
            .get(&identity.key())
            .and_then(|id| self.payment(id))
    }

    fn load(&mut self, id: &PaymentId) -> Answer<&mut PaymentRecord> {
        let found = self.payments.get_mut(id);
        found.ok_or_else(|| LedgerError::NotFound(id.to_string()))
    }

    pub fn allocate(
        &mut self,
        lease: &Lease,
        confirmed: u64,
        now: Timestamp,
    ) -> Answer<SlotRecord> {
        self.check_lease(lease)?;
        let signer = &lease.signer;
        let mine = || {
            self.slots
                .range((signer.clone(), 0)..=(signer.clone(), u64::MAX))
        };
        if let Some((_, slot)) =
            mine().find(|((_, n), s)| *n >= confirmed && !s.closed && s.raws.is_empty())
        {
            return Ok(slot.clone());
        }
        let above = mine()
            .filter(|(_, s)| !s.closed)
            .map(|((_, n), _)| n + 1)
            .max();
        let mut nonce = above.unwrap_or(0).max(confirmed);
        while self.closed.contains(&(signer.clone(), nonce)) {
            nonce += 1;
        }
        let slot = SlotRecord {
            network: network(),
            signer: signer.clone(),
            nonce,
            raws: Vec::new(),
            payments: Vec::new(),
            closed: false,
            allocated_at: now,
        };
        self.slots.insert((signer.clone(), nonce), slot.clone());
        Ok(slot)
    }

    pub fn store_raw(
        &mut self,
        place: &SlotRef,
        raw: &Raw,
        ids: &[PaymentId],
        lease: &Lease,
        now: Timestamp,
    ) -> Answer<()> {
        self.check_lease(lease)?;
        let key = (place.1.clone(), place.2);
        let slot = self
            .slots
            .get(&key)
            .ok_or_else(|| LedgerError::NotFound("slot".to_owned()))?
            .clone();
        if slot.closed {
            return Err(conflict(place.2, "closed", "store"));
        }
        if slot.raws.contains(raw) {
            return Ok(());
        }
        if !ids.is_empty() && !slot.payments.is_empty() && slot.payments != ids {
            return Err(conflict(place.2, "carrying others", "store"));
        }
        for id in ids {
            let record = self.load(id)?;
            let ours = record.replica.as_ref() == Some(&lease.replica);
            let fits = ours && record.state == PaymentState::Accepted
                || (record.state == PaymentState::Submitted && record.slot.as_ref() == Some(place));
            if !fits {
                return Err(conflict(id, format!("{:?}", record.state), "sign"));
            }
        }
        for id in ids {
            let record = self.load(id)?;
            if record.state == PaymentState::Accepted {
                record.attempts += 1;
            }
            record.state = PaymentState::Submitted;
            record.slot = Some(place.clone());
            record.transaction = Some(raw.hash.clone());
            record.updated_at = now;
        }
        let slot = self.slots.get_mut(&key).unwrap();
        slot.raws.push(raw.clone());
        if slot.payments.is_empty() {
            slot.payments = ids.to_vec();
        }
        Ok(())
    }

    pub fn reopen_slot(
        &mut self,
        place: &SlotRef,
        lease: &Lease,
        now: Timestamp,
    ) -> Answer<SlotRecord> {
        self.check_lease(lease)?;
        let key = (place.1.clone(), place.2);
        self.closed.remove(&key);
        let slot = self.slots.entry(key).or_insert_with(|| SlotRecord {
            network: network(),
            signer: place.1.clone(),
            nonce: place.2,
            raws: Vec::new(),
            payments: Vec::new(),
            closed: false,
            allocated_at: now,
        });
        slot.closed = false;
        Ok(slot.clone())
    }

    pub fn reopen(&mut self, id: &PaymentId, _proof: &Proof, now: Timestamp) -> Answer<()> {
        let record = self.load(id)?;
        if record.state != PaymentState::Submitted {
            return Err(conflict(id, format!("{:?}", record.state), "reopen"));
        }
        record.state = PaymentState::Accepted;
        record.slot = None;
        record.updated_at = now;
        Ok(())
    }

    pub fn close(&mut self, place: &SlotRef, costs: &[Cost]) -> Answer<()> {
        let key = (place.1.clone(), place.2);
        let slot = self
            .slots
            .get_mut(&key)
            .ok_or_else(|| LedgerError::NotFound("slot".to_owned()))?;
        if slot.closed {
            return Ok(());
        }
        slot.closed = true;
        self.closed.insert(key);
        for cost in costs {
            let by = self.spent_by.entry(cost.payer.clone()).or_default();
            for spent in [&mut self.spent, by] {
                spent.fee = spent.fee.checked_add(cost.fee).unwrap();
                if cost.lost {
                    spent.lost = spent.lost.checked_add(cost.fee).unwrap();
                }
            }
        }
        Ok(())
    }

    fn conclude(
        &mut self,
        id: &PaymentId,
        conclusion: Conclusion,
        now: Timestamp,
    ) -> Answer<PaymentRecord> {
        let record = self.load(id)?;
        let (state, settled, refusal) = match conclusion {
            Conclusion::Settled(settled) => (PaymentState::Settled, Some(settled), None),
            Conclusion::SettledWithoutTransaction => (PaymentState::Settled, None, None),
            Conclusion::Refused { code, message } => {
                (PaymentState::Refused, None, Some((code, message)))
            }
            Conclusion::Expired => (PaymentState::Expired, None, None),
        };
        let open = matches!(
            record.state,
            PaymentState::Accepted | PaymentState::Submitted
        );
        if !open {
            let same = record.state == state && record.settled == settled;
            return if same {
                Ok(record.clone())
            } else {
                Err(conflict(id, format!("{:?}", record.state), "end"))
            };
        }
        record.state = state;
        if let Some(settled) = &settled {
            record.transaction = Some(settled.transaction.clone());
            if settled.by_third_party {
                record.slot = None;
            }
        }
        record.settled = settled;
        record.refusal = refusal;
        record.updated_at = now;
        Ok(record.clone())
    }

    pub fn conclude_all(&mut self, endings: Vec<Ending>, now: Timestamp) -> Vec<Ended> {
        let mut end = |ending: Ending| {
            let mut record = self.conclude(&ending.id, ending.conclusion, now)?;
            let settled = record.state == PaymentState::Settled;
            let handed = match ending.hand_out {
                Some(key) if settled => Some(self.hand_out(&ending.id, key.as_deref())?),
                _ => None,
            };
            record.is_handed_out = self.handed_out.contains_key(&ending.id);
            Ok((record, handed))
        };
        endings.into_iter().map(&mut end).collect()
    }

    pub fn take_back(&mut self, id: &PaymentId, now: Timestamp) -> Answer<()> {
        let record = self.load(id)?;
        if record.state != PaymentState::Settled || record.settled.is_none() {
            return Err(conflict(id, format!("{:?}", record.state), "take back"));
        }
        record.settled = None;
        record.updated_at = now;
        let slot = record.slot.clone();
        record.state = match slot {
            Some(_) => PaymentState::Submitted,
            None => PaymentState::Accepted,
        };
        if let Some((_, signer, nonce)) = slot {
            let key = (signer, nonce);
            self.slots.get_mut(&key).unwrap().closed = false;
            self.closed.remove(&key);
        }
        Ok(())
    }

    /// Settled, and not final yet.
    pub fn watched(&self) -> Vec<PaymentRecord> {
        let watched = |p: &&PaymentRecord| {
            p.state == PaymentState::Settled && p.settled.is_some() && !self.finals.contains(&p.id)
        };
        self.payments.values().filter(watched).cloned().collect()
    }

    pub fn mark_final(&mut self, ids: &[PaymentId]) {
        self.finals.extend(ids.iter().cloned());
    }

    pub fn gas_spent(&self, payer: Option<&Address>) -> GasSpent {
        match payer {
            Some(payer) => self.spent_by.get(payer).copied().unwrap_or_default(),
            None => self.spent,
        }
    }

    /// A new day.
    pub fn forget_gas(&mut self) {
        self.spent = GasSpent::default();
        self.spent_by.clear();
    }

    pub fn held(&self, payer: &Address, except: &Identity) -> Amount {
        self.open_payments()
            .iter()
            .filter(|p| p.payment.identity.payer == *payer && p.payment.identity != *except)
            .fold(Amount::ZERO, |sum, p| {
                sum.checked_add(p.payment.expected.amount).unwrap()
            })
    }

    pub fn hand_out(&mut self, id: &PaymentId, key: Option<&str>) -> Answer<HandOut> {
        let record = self.load(id)?;
        if record.state != PaymentState::Settled {
            return Err(conflict(id, "not settled", "hand out"));
        }
        let opener = record.payment.opener.as_deref();
        if opener.is_some() && key != opener {
            return Ok(HandOut::Duplicate);
        }
        Ok(match self.handed_out.get(id) {
            None => {
                self.handed_out
                    .insert(id.clone(), key.map(ToOwned::to_owned));
                HandOut::First
            }
            Some(Some(first)) if key == Some(first.as_str()) => HandOut::Again,
            Some(_) => HandOut::Duplicate,
        })
    }

    pub fn open_payments(&self) -> Vec<PaymentRecord> {
        let open = |p: &&PaymentRecord| {
            matches!(p.state, PaymentState::Accepted | PaymentState::Submitted)
        };
        self.payments.values().filter(open).cloned().collect()
    }

    pub fn open_slots(&self) -> Vec<SlotRecord> {
        self.slots.values().filter(|s| !s.closed).cloned().collect()
    }
}
