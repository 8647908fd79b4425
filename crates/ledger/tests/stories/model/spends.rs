//! Spends and limits beside their model, which adds everything up each time.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use tollway_core::SpendId;
use tollway_ledger::{
    Limit, LimitScope, NewSpend, Reservation, SpendState, SpendStore as _, Store,
};

use super::{Answer, answer, done, on_a_fresh_ledger, on_postgres};
use tollway_test_records::{address, at, atomic, limit, signed, spend};

const SCOPES: usize = 6;

#[derive(Clone, Debug)]
enum Command {
    Reserve {
        request: u64,
        host: u8,
        agent: u8,
        amount: u128,
        limits: Vec<(usize, Option<u64>, u128)>,
    },
    Sign(usize, u64),
    Present(usize),
    Unclear(usize),
    Pay(usize, u128),
    Release(usize),
    /// The clock goes on, or is set back.
    Time(i64),
}

fn command() -> impl Strategy<Value = Command> {
    let spend = 0..12_usize;
    let limits = (0..SCOPES, prop::option::of(1..40_u64), 0..120_u128);
    let reserve = (0..9_u64, 0..2_u8, 0..2_u8, 0..30_u128, vec(limits, 0..3));
    prop_oneof![
        8 => reserve.prop_map(|(request, host, agent, amount, limits)| Command::Reserve {
            request, host, agent, amount, limits
        }),
        6 => (spend.clone(), 0..20_u64).prop_map(|(s, n)| Command::Sign(s, n)),
        2 => spend.clone().prop_map(Command::Present),
        1 => spend.clone().prop_map(Command::Unclear),
        6 => (spend.clone(), 0..31_u128).prop_map(|(s, paid)| Command::Pay(s, paid)),
        2 => spend.prop_map(Command::Release),
        4 => (-30..60_i64).prop_map(Command::Time),
    ]
}

fn scope(n: usize) -> LimitScope {
    match n {
        0 => LimitScope::Account,
        1 => LimitScope::Agent("0".to_owned()),
        2 => LimitScope::Agent("1".to_owned()),
        3 => LimitScope::Host("0".to_owned()),
        4 => LimitScope::Host("1".to_owned()),
        _ => LimitScope::Payee(address(2)),
    }
}

fn limit_of((n, window, max): (usize, Option<u64>, u128)) -> Limit {
    Limit {
        scope: scope(n),
        window: window.map(Duration::from_millis),
        max: atomic(max),
    }
}

struct Spend {
    request: u64,
    host: u8,
    agent: u8,
    amount: u128,
    state: SpendState,
    identity: Option<u64>,
    paid: Option<(u128, u64)>,
}

impl Spend {
    fn is_signed_and_open(&self) -> bool {
        use SpendState::{Presented, Signed, Unknown};
        matches!(self.state, Signed | Presented | Unknown)
    }

    fn is_in(&self, n: usize) -> bool {
        match n {
            1 | 2 => usize::from(self.agent) == n - 1,
            3 | 4 => usize::from(self.host) == n - 3,
            _ => true,
        }
    }
}

#[derive(Default)]
struct Model {
    spends: Vec<Spend>,
    clock: u64,
    seen: u64,
}

impl Model {
    /// What counts within a limit: (paid, held).
    fn total(&self, scope: usize, window: Option<u64>) -> (u128, u128) {
        let now = self.clock.max(self.seen);
        let within = |at: u64| window.is_none_or(|w| at + w > now);
        let ours = self.spends.iter().filter(|s| s.is_in(scope));
        ours.fold((0, 0), |(paid, held), spend| match spend.state {
            SpendState::Released => (paid, held),
            SpendState::Paid => match spend.paid {
                Some((amount, at)) if within(at) => (paid + amount, held),
                _ => (paid, held),
            },
            _ => (paid, held + spend.amount),
        })
    }

    fn apply(&mut self, command: &Command) -> Answer {
        match *command {
            Command::Reserve {
                request,
                host,
                agent,
                amount,
                ref limits,
            } => {
                let open = |s: &Spend| s.request == request && s.is_signed_and_open();
                if let Some(open) = self.spends.iter().position(open) {
                    return Ok(format!("open {open}"));
                }
                self.seen = self.seen.max(self.clock);
                let new = Spend {
                    request,
                    host,
                    agent,
                    amount,
                    state: SpendState::Reserved,
                    identity: None,
                    paid: None,
                };
                for (scope, window, max) in limits.iter().filter(|(scope, _, _)| new.is_in(*scope))
                {
                    let (paid, held) = self.total(*scope, *window);
                    if paid + held + amount > *max {
                        return Ok(format!("exceeded at {}", paid + held));
                    }
                }
                self.spends.push(new);
                Ok("reserved".to_owned())
            }
            Command::Sign(s, n) => {
                let is_taken = self.spends.iter().any(|s| s.identity == Some(n));
                let spend = self.at(s, |s| s.state == SpendState::Reserved && !is_taken)?;
                spend.state = SpendState::Signed;
                spend.identity = Some(n);
                Ok(done(()))
            }
            Command::Present(s) => {
                self.at(s, Spend::is_signed_and_open)?.state = SpendState::Presented;
                Ok(done(()))
            }
            Command::Unclear(s) => {
                self.at(s, Spend::is_signed_and_open)?.state = SpendState::Unknown;
                Ok(done(()))
            }
            Command::Pay(s, paid) => {
                let now = self.clock.max(self.seen);
                let spend = self.at(s, |s| {
                    let again = s.paid.is_some_and(|(amount, _)| amount == paid);
                    again || (s.is_signed_and_open() && paid <= s.amount)
                })?;
                if spend.paid.is_none() {
                    spend.state = SpendState::Paid;
                    spend.paid = Some((paid, now));
                    self.seen = now;
                }
                Ok(done(()))
            }
            Command::Release(s) => {
                self.at(s, |s| s.state != SpendState::Paid)?.state = SpendState::Released;
                Ok(done(()))
            }
            Command::Time(by) => {
                self.clock = self.clock.saturating_add_signed(by);
                Ok(done(()))
            }
        }
    }

    fn at(&mut self, s: usize, fits: impl Fn(&Spend) -> bool) -> Result<&mut Spend, &'static str> {
        let spend = self.spends.get_mut(s).ok_or("not found")?;
        if fits(spend) {
            Ok(spend)
        } else {
            Err("conflict")
        }
    }
}

struct Real {
    ledger: Store,
    ids: Vec<SpendId>,
}

impl Real {
    fn id(&self, s: usize) -> SpendId {
        let known = self.ids.get(s).cloned();
        known.unwrap_or_else(|| SpendId::from_text("spd_nobody"))
    }

    fn reserved(&mut self, reservation: Reservation) -> String {
        match reservation {
            Reservation::Reserved(id) => {
                self.ids.push(id);
                "reserved".to_owned()
            }
            Reservation::Open(record) => {
                let place = self.ids.iter().position(|id| *id == record.id);
                format!("open {}", place.unwrap())
            }
            Reservation::Exceeded { used, .. } => format!("exceeded at {used}"),
            other => panic!("no rule was given: {other:?}"),
        }
    }

    async fn apply(&mut self, command: &Command, clock: u64) -> Answer {
        let (ledger, now) = (self.ledger.clone(), at(clock));
        match *command {
            Command::Reserve {
                request,
                host,
                agent,
                amount,
                ref limits,
            } => {
                let new = NewSpend {
                    host: host.to_string(),
                    agent: agent.to_string(),
                    amount: atomic(amount),
                    ..spend(request)
                };
                let limits: Vec<_> = limits.iter().copied().map(limit_of).collect();
                let reserved = ledger.reserve(new, &limits, now).await;
                answer(reserved, |r| self.reserved(r))
            }
            Command::Sign(s, n) => answer(ledger.signed(&self.id(s), signed(n), now).await, done),
            Command::Present(s) => answer(ledger.presented(&self.id(s), now).await, done),
            Command::Unclear(s) => answer(ledger.unclear(&self.id(s), "?", now).await, done),
            Command::Pay(s, paid) => answer(
                ledger.paid(&self.id(s), atomic(paid), None, now).await,
                done,
            ),
            Command::Release(s) => answer(ledger.release(&self.id(s), "proved", now).await, done),
            Command::Time(_) => Ok(done(())),
        }
    }

    async fn assert_like(&self, model: &Model) {
        for n in 0..SCOPES {
            for window in [None, Some(25)] {
                let asked = Limit {
                    scope: scope(n),
                    window: window.map(Duration::from_millis),
                    ..limit(0)
                };
                let found = crate::spends::total(&self.ledger, &asked, model.clock).await;
                assert_eq!(found, model.total(n, window), "{asked:?}");
            }
        }
        for (id, expected) in self.ids.iter().zip(&model.spends) {
            let found = self.ledger.spend(id).await.unwrap().unwrap();
            assert_eq!(found.state, expected.state);
            assert_eq!(found.paid, expected.paid.map(|(amount, _)| atomic(amount)));
            assert_eq!(found.signed, expected.identity.map(signed));
        }
    }
}

async fn side_by_side(ledger: Store, commands: Vec<Command>) {
    let mut model = Model {
        clock: 1_000,
        ..Model::default()
    };
    let mut real = Real {
        ledger,
        ids: Vec::new(),
    };
    for command in &commands {
        let expected = model.apply(command);
        let found = real.apply(command, model.clock).await;
        assert_eq!(found, expected, "{command:?}");
        real.assert_like(&model).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..Default::default() })]

    #[test]
    fn spends_are_like_their_model(commands in vec(command(), 1..80)) {
        on_a_fresh_ledger(|ledger| side_by_side(ledger, commands));
    }
}

#[test]
fn spends_are_like_their_model_on_postgres() {
    on_postgres(&vec(command(), 1..60), side_by_side);
}
