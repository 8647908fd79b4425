//! The ledger's rules in memory: what a `SettlementStore` must do, as simply
//! as it can be said. Not durable.

use std::collections::{BTreeMap, HashMap, HashSet};

use tollway_core::{Address, Identity, PaymentId, Proof, Raw, Timestamp};
use tollway_ledger::{
    Acceptance, Conclusion, HandOut, LedgerError, NewPayment, PaymentRecord, PaymentState,
    SlotRecord, SlotRef,
};

use crate::fixtures::network;

#[derive(Clone, Debug, Default)]
pub struct ModelStore {
    pub payments: BTreeMap<PaymentId, PaymentRecord>,
    pub slots: BTreeMap<(Address, u64), SlotRecord>,
    by_identity: HashMap<String, PaymentId>,
    handed_out: HashMap<PaymentId, Option<String>>,
    closed: HashSet<(Address, u64)>,
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
    pub fn accept(&mut self, new: NewPayment, now: Timestamp) -> Answer<Acceptance> {
        let key = new.identity.key();
        if let Some(id) = self.by_identity.get(&key) {
            return Ok(Acceptance::Existing(self.payments[id].clone()));
        }
        let id = PaymentId::from_text(format!("pay_{:06}", self.payments.len()));
        let record = PaymentRecord {
            id: id.clone(),
            payment: new,
            state: PaymentState::Accepted,
            attempts: 0,
            slot: None,
            transaction: None,
            settled: None,
            refusal: None,
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

    pub fn allocate(&mut self, signer: &Address, confirmed: u64, now: Timestamp) -> SlotRecord {
        let mine = || {
            self.slots
                .range((signer.clone(), 0)..=(signer.clone(), u64::MAX))
        };
        if let Some((_, slot)) =
            mine().find(|((_, n), s)| *n >= confirmed && !s.closed && s.raws.is_empty())
        {
            return slot.clone();
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
        slot
    }

    pub fn store_raw(
        &mut self,
        place: &SlotRef,
        raw: &Raw,
        ids: &[PaymentId],
        now: Timestamp,
    ) -> Answer<()> {
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
            let fits = record.state == PaymentState::Accepted
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

    pub fn close(&mut self, place: &SlotRef) -> Answer<()> {
        let key = (place.1.clone(), place.2);
        let slot = self
            .slots
            .get_mut(&key)
            .ok_or_else(|| LedgerError::NotFound("slot".to_owned()))?;
        slot.closed = true;
        self.closed.insert(key);
        Ok(())
    }

    pub fn conclude(
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
        }
        record.settled = settled;
        record.refusal = refusal;
        record.updated_at = now;
        Ok(record.clone())
    }

    pub fn hand_out(&mut self, id: &PaymentId, key: Option<&str>) -> Answer<HandOut> {
        if self.load(id)?.state != PaymentState::Settled {
            return Err(conflict(id, "not settled", "hand out"));
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
