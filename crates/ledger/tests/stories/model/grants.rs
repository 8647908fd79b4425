//! Grants beside their model.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;
use tollway_core::GrantId;
use tollway_ledger::{Claim, Evidence, GrantState, GrantStore as _, NewGrant, Release, Store};

use super::{Answer, answer, done, on_a_fresh_ledger, on_postgres};
use tollway_test_records::{at, grant, hash, identity};

#[derive(Clone, Debug)]
enum Command {
    Claim {
        identity: u64,
        digest: u8,
        name: Option<u8>,
        upfront: bool,
        owner: u8,
    },
    Served(usize, bool),
    Settling(usize),
    Release(usize, Rest),
    SettledFirst(usize, Rest),
    Refuse(usize, bool),
    Remember(usize),
    Orphans(Option<u8>),
    Forget(u64),
    ForgetRefused(u64),
}

/// What a release rests on: nothing that was owed, somebody's word, or one of the
/// logs of a transaction.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rest {
    Nothing,
    Word,
    Log(u64),
}

impl Rest {
    fn evidence(self) -> Evidence {
        let transaction = hash(1);
        match self {
            Self::Nothing => Evidence::Nothing,
            Self::Word => Evidence::FacilitatorSaid {
                facilitator: "https://f.example".to_owned(),
                transaction,
            },
            Self::Log(index) => Evidence::Receipt {
                transaction,
                log_index: Some(index),
            },
        }
    }
}

fn rest() -> impl Strategy<Value = Rest> {
    prop_oneof![
        1 => Just(Rest::Nothing),
        1 => Just(Rest::Word),
        2 => (0..2_u64).prop_map(Rest::Log),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    let grant = 0..6_usize;
    let claim = (
        0..3_u64,
        0..2_u8,
        prop::option::of(0..2_u8),
        any::<bool>(),
        0..2_u8,
    );
    prop_oneof![
        6 => claim.prop_map(|(identity, digest, name, upfront, owner)| Command::Claim {
            identity, digest, name, upfront, owner
        }),
        4 => (grant.clone(), any::<bool>()).prop_map(|(g, stored)| Command::Served(g, stored)),
        4 => grant.clone().prop_map(Command::Settling),
        4 => (grant.clone(), rest()).prop_map(|(g, rest)| Command::Release(g, rest)),
        2 => (grant.clone(), rest()).prop_map(|(g, rest)| Command::SettledFirst(g, rest)),
        3 => (grant.clone(), any::<bool>()).prop_map(|(g, again)| Command::Refuse(g, again)),
        1 => grant.prop_map(Command::Remember),
        1 => prop::option::of(0..2_u8).prop_map(Command::Orphans),
        1 => (0..80_u64).prop_map(Command::Forget),
        1 => (0..80_u64).prop_map(Command::ForgetRefused),
    ]
}

struct Grant {
    identity: u64,
    digest: u8,
    name: Option<u8>,
    upfront: bool,
    owner: u8,
    state: GrantState,
    reclaimable: bool,
    stored_at: Option<u64>,
    refused_at: u64,
    is_forgotten: bool,
    has_receipt: bool,
    evidence: Option<Rest>,
}

#[derive(Default)]
struct Model {
    grants: Vec<Grant>,
    /// Whose log it is, by its place.
    logs: BTreeMap<u64, u64>,
}

impl Model {
    fn apply(&mut self, command: &Command, now: u64) -> Answer {
        use GrantState::{Claimed, Refused, Released, Served, Settling};
        match *command {
            Command::Claim {
                identity,
                digest,
                name,
                upfront,
                owner,
            } => {
                let mut holders = self
                    .grants
                    .iter()
                    .enumerate()
                    .filter(|(_, g)| !g.reclaimable);
                let taken = holders.clone().find(|(_, g)| {
                    name.is_some() && g.name == name && (g.identity, g.digest) != (identity, digest)
                });
                if let Some((holder, _)) = taken {
                    return Ok(format!("identifier of {holder}"));
                }
                if let Some((holder, _)) = holders.find(|(_, g)| g.identity == identity) {
                    return Ok(format!("known {holder}"));
                }
                self.grants.push(Grant {
                    identity,
                    digest,
                    name,
                    upfront,
                    owner,
                    state: Claimed,
                    reclaimable: false,
                    stored_at: None,
                    refused_at: 0,
                    is_forgotten: false,
                    has_receipt: false,
                    evidence: None,
                });
                Ok("new".to_owned())
            }
            Command::Served(g, stored) => {
                let grant =
                    self.at(g, |g| g.state == if g.upfront { Settling } else { Claimed })?;
                grant.state = Served;
                grant.stored_at = stored.then_some(now);
                Ok(done(()))
            }
            Command::Settling(g) => {
                let grant = self.at(g, |g| g.state == if g.upfront { Claimed } else { Served })?;
                grant.state = Settling;
                Ok(done(()))
            }
            Command::Release(g, rest) => {
                let identity = self
                    .at(g, |g| {
                        g.state == if g.upfront { Served } else { Settling }
                            || (g.state == Served && rest == Rest::Nothing)
                    })?
                    .identity;
                if !self.counts(identity, rest) {
                    return Ok("another's".to_owned());
                }
                let grant = self.at(g, |_| true)?;
                grant.state = Released;
                grant.has_receipt = true;
                grant.evidence = Some(rest);
                Ok("released".to_owned())
            }
            Command::SettledFirst(g, rest) => {
                let may_be_paid = |g: &Grant| g.upfront && matches!(g.state, Settling | Served);
                let identity = self.at(g, may_be_paid)?.identity;
                let is_own = self.counts(identity, rest);
                if is_own {
                    let grant = self.at(g, |_| true)?;
                    grant.has_receipt = true;
                    grant.evidence = Some(rest);
                }
                Ok(is_own.to_string())
            }
            Command::Refuse(g, again) => {
                let grant = self.at(g, |g| !matches!(g.state, Released | Refused))?;
                refuse(grant, again, now);
                Ok(done(()))
            }
            Command::Remember(g) => {
                let settled = |g: &Grant| g.state == Settling || (g.upfront && g.state == Served);
                self.at(g, settled)?.has_receipt = true;
                Ok(done(()))
            }
            Command::Orphans(alive) => {
                let orphans = self.grants.iter_mut().filter(|g| {
                    (g.state == Claimed || (g.state == Served && !g.upfront))
                        && Some(g.owner) != alive
                });
                Ok(orphans.map(|g| refuse(g, true, now)).count().to_string())
            }
            Command::Forget(before) => {
                let old = self.grants.iter_mut().filter(|g| {
                    matches!(g.state, Released | Refused) && g.stored_at.is_some_and(|t| t < before)
                });
                Ok(old.map(|g| g.stored_at = None).count().to_string())
            }
            Command::ForgetRefused(before) => {
                let old = self
                    .grants
                    .iter_mut()
                    .filter(|g| g.reclaimable && !g.is_forgotten && g.refused_at < before);
                Ok(old.map(|g| g.is_forgotten = true).count().to_string())
            }
        }
    }

    /// Counts a log unless it is another authorization's.
    fn counts(&mut self, identity: u64, rest: Rest) -> bool {
        match rest {
            Rest::Log(index) => *self.logs.entry(index).or_insert(identity) == identity,
            Rest::Nothing | Rest::Word => true,
        }
    }

    fn at(&mut self, g: usize, fits: impl Fn(&Grant) -> bool) -> Result<&mut Grant, &'static str> {
        let grant = self.grants.get_mut(g).filter(|g| !g.is_forgotten);
        let grant = grant.ok_or("not found")?;
        if fits(grant) {
            Ok(grant)
        } else {
            Err("conflict")
        }
    }
}

fn refuse(grant: &mut Grant, again: bool, now: u64) {
    grant.refused_at = now;
    grant.state = GrantState::Refused;
    grant.reclaimable = again;
    grant.stored_at = None;
}

struct Real {
    ledger: Store,
    ids: Vec<GrantId>,
}

impl Real {
    fn id(&self, g: usize) -> GrantId {
        let known = self.ids.get(g).cloned();
        known.unwrap_or_else(|| GrantId::from_text("grt_nobody"))
    }

    fn claimed(&mut self, claim: Claim) -> String {
        let place = |id: &GrantId| self.ids.iter().position(|known| known == id).unwrap();
        match claim {
            Claim::New(record) => {
                self.ids.push(record.id);
                "new".to_owned()
            }
            Claim::Existing(record) => format!("known {}", place(&record.id)),
            Claim::IdentifierTaken(record) => format!("identifier of {}", place(&record.id)),
        }
    }

    async fn apply(&mut self, command: &Command, now: u64) -> Answer {
        let ledger = self.ledger.clone();
        let now = at(now);
        match *command {
            Command::Claim {
                identity,
                digest,
                name,
                upfront,
                owner,
            } => {
                let new = NewGrant {
                    payload_digest: digest.to_string(),
                    payment_identifier: name.map(|n| n.to_string()),
                    flow: if upfront { "upfront" } else { "authorization" }.to_owned(),
                    owner: owner.to_string(),
                    ..grant(identity)
                };
                answer(ledger.claim(new, now).await, |claim| self.claimed(claim))
            }
            Command::Served(g, stored) => {
                let stored = stored.then(tollway_test_records::answer);
                answer(ledger.served(&self.id(g), stored, None, now).await, done)
            }
            Command::Settling(g) => answer(ledger.settling(&self.id(g), now).await, done),
            Command::Release(g, rest) => {
                let released = ledger
                    .release(&self.id(g), &rest.evidence(), &json!({}), now)
                    .await;
                answer(released, |release| match release {
                    Release::Released(_) => "released".to_owned(),
                    Release::Anothers => "another's".to_owned(),
                })
            }
            Command::SettledFirst(g, rest) => {
                let settled = ledger
                    .settled_first(&self.id(g), &rest.evidence(), &json!({}), now)
                    .await;
                answer(settled, |is_own| is_own.to_string())
            }
            Command::Refuse(g, again) => {
                let refused = ledger
                    .refuse(&self.id(g), "code", "Sentence.", again, now)
                    .await;
                answer(refused, done)
            }
            Command::Remember(g) => answer(
                ledger.remember_receipt(&self.id(g), &json!({}), now).await,
                done,
            ),
            Command::Orphans(alive) => {
                let alive: Vec<_> = alive.iter().map(u8::to_string).collect();
                answer(ledger.refuse_orphans(&alive, now).await, |n| n.to_string())
            }
            Command::Forget(before) => {
                answer(ledger.forget_answers(at(before)).await, |n| n.to_string())
            }
            Command::ForgetRefused(before) => {
                answer(ledger.forget_refused(at(before)).await, |n| n.to_string())
            }
        }
    }

    async fn assert_like(&self, Model { grants: model, .. }: &Model) {
        for n in 0..3 {
            let mut ours: Vec<_> = (0..model.len())
                .filter(|g| model[*g].identity == n && !model[*g].is_forgotten)
                .collect();
            // The holder, or else the latest.
            ours.sort_by_key(|g| (!model[*g].reclaimable, *g));
            let found = self.ledger.grant_by_identity(&identity(n)).await.unwrap();
            let Some(holder) = ours.last() else {
                assert_eq!(found, None);
                continue;
            };
            let (found, expected) = (found.unwrap(), &model[*holder]);
            assert_eq!(found.id, self.ids[*holder]);
            assert_eq!(
                (found.state, found.reclaimable),
                (expected.state, expected.reclaimable)
            );
            assert_eq!(found.has_answer, expected.stored_at.is_some());
            assert_eq!(found.receipt.is_some(), expected.has_receipt);
            assert_eq!(found.evidence, expected.evidence.map(Rest::evidence));
            let answer = self.ledger.answer(&found.id).await.unwrap();
            assert_eq!(answer.is_some(), expected.stored_at.is_some());
        }
        let open = self.ledger.open_grants().await.unwrap();
        let open: Vec<_> = open.into_iter().map(|g| g.id).collect();
        let expected = self
            .ids
            .iter()
            .zip(model)
            .filter(|(_, g)| !matches!(g.state, GrantState::Released | GrantState::Refused));
        assert_eq!(open, expected.map(|(id, _)| id.clone()).collect::<Vec<_>>());
    }
}

async fn side_by_side(ledger: Store, commands: Vec<Command>) {
    let mut model = Model::default();
    let mut real = Real {
        ledger,
        ids: Vec::new(),
    };
    for (now, command) in commands.iter().enumerate() {
        let now = now as u64;
        let expected = model.apply(command, now);
        assert_eq!(real.apply(command, now).await, expected, "{command:?}");
        real.assert_like(&model).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn grants_are_like_their_model(commands in vec(command(), 1..80)) {
        on_a_fresh_ledger(|ledger| side_by_side(ledger, commands));
    }
}

#[test]
fn grants_are_like_their_model_on_postgres() {
    on_postgres(&vec(command(), 1..60), side_by_side);
}
