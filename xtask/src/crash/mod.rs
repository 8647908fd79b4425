//! `cargo xtask crash`: rounds until every place was died at often enough.

mod needs;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tollway_sweep::plan::Chance;
use tollway_sweep::{Death, Plan, Round, Scene, Setup, Tools, places, play};

use crate::build;

/// Rounds that are played again for one that did not come to its place.
const MOST_TRIES: u32 = 8;
/// Who settles in rounds that die at random times.
const SETUPS: [Setup; 7] = [
    Setup::Facilitator,
    Setup::Gate,
    Setup::Upfront,
    Setup::Passes,
    Setup::Meter,
    Setup::Pair,
    Setup::Takeover,
];
/// What goes on in them.
const SCENES: [Scene; 4] = [Scene::Busy, Scene::Replaced, Scene::Robbed, Scene::Taken];
/// Violations of one round that are told.
const SHOWN: usize = 4;

/// How a sweep is run.
#[derive(clap::Args)]
pub struct Arguments {
    /// Times that the server must have died at each place.
    #[arg(long, default_value_t = 3)]
    hits: u32,
    /// Further rounds with deaths at random times.
    #[arg(long, default_value_t = 30)]
    rounds: u32,
    /// All chance comes from here.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Rounds at once.
    #[arg(long, default_value_t = 3)]
    jobs: usize,
    /// Only places whose name holds this.
    #[arg(long)]
    only: Option<String>,
    /// A binary with its places to crash at, instead of building one.
    #[arg(long, requires = "checker")]
    tollway: Option<PathBuf>,
    /// A checker, instead of building one.
    #[arg(long, requires = "tollway")]
    checker: Option<PathBuf>,
}

/// A planned round, and for which place it is.
struct Wish {
    place: Option<String>,
    plan: Plan,
    tries: u32,
}

/// Runs it; whether all promises were kept and every place was reached.
pub async fn run(arguments: &Arguments) -> Result<bool, String> {
    let began = Instant::now();
    let folder = build::root().join("target/xtask");
    std::fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
    let tools = match (&arguments.tollway, &arguments.checker) {
        (Some(tollway), Some(checker)) => build::given(tollway, checker, &folder)?,
        _ => build::tools(&folder).await?,
    };
    let mut places = places::all(&build::root())?;
    places.retain(|place| {
        let only = arguments.only.as_ref();
        needs::is_served(place) && only.is_none_or(|only| place.contains(only.as_str()))
    });
    let mut sweep = Sweep::new(arguments, &places);
    sweep.play(tools, arguments.jobs).await?;
    sweep.report(began.elapsed());
    Ok(sweep.is_sound())
}

/// What came of it so far.
struct Sweep {
    waiting: VecDeque<Wish>,
    hits: BTreeMap<String, u32>,
    wanted: u32,
    rounds: u32,
    kills: u32,
    slowest: Duration,
    violations: Vec<String>,
    chance: Chance,
}

impl Sweep {
    fn new(arguments: &Arguments, places: &[String]) -> Self {
        let mut chance = Chance::new(arguments.seed);
        let mut waiting = VecDeque::new();
        for n in 0..arguments.hits {
            for place in places {
                let hit = match n {
                    _ if needs::is_rare(place) => 1,
                    0 => 1,
                    1 => 2,
                    _ => chance.between(2, 5),
                };
                let death = Death::At {
                    place: place.clone(),
                    hit: u32::try_from(hit).unwrap_or(1),
                };
                waiting.push_back(Wish {
                    place: Some(place.clone()),
                    plan: plan(&mut chance, needs::settings(place, n), death),
                    tries: 0,
                });
            }
        }
        for _ in 0..arguments.rounds {
            let setup = *chance.one_of(&SETUPS);
            let scene = *chance.one_of(&SCENES);
            let death = Death::After(chance.millis(5, 2_500));
            waiting.push_back(Wish {
                place: None,
                plan: plan(&mut chance, (setup, scene), death),
                tries: 0,
            });
        }
        // What waits for long waits beside the others.
        let is_quick = |wish: &Wish| !needs::is_long(wish.place.as_deref(), wish.plan.setup);
        waiting.make_contiguous().sort_by_key(is_quick);
        Self {
            waiting,
            hits: places.iter().map(|place| (place.clone(), 0)).collect(),
            wanted: arguments.hits,
            rounds: 0,
            kills: 0,
            slowest: Duration::ZERO,
            violations: Vec::new(),
            chance,
        }
    }

    async fn play(&mut self, tools: Tools, jobs: usize) -> Result<(), String> {
        let mut running = JoinSet::new();
        loop {
            while running.len() < jobs.max(1) {
                let Some(wish) = self.waiting.pop_front() else {
                    break;
                };
                let tools = tools.clone();
                running.spawn(async move { (play(&tools, &wish.plan).await, wish) });
            }
            let Some(done) = running.join_next().await else {
                return Ok(());
            };
            let (round, wish) = done.map_err(|e| e.to_string())?;
            self.take(wish, round);
        }
    }

    fn take(&mut self, mut wish: Wish, round: Result<Round, String>) {
        self.rounds += 1;
        let what = match &wish.plan.death {
            Death::At { place, hit } => format!("{place} {hit}"),
            Death::After(time) => format!("after {time:?}"),
        };
        let head = format!("{:>4} {:?} {what}", self.rounds, wish.plan.setup);
        let round = match round {
            Ok(round) => round,
            Err(failure) => {
                eprintln!("{head}: {failure}");
                self.violations
                    .push(format!("{head}: not played: {failure}"));
                return;
            }
        };
        self.kills += round.kills;
        self.slowest = self.slowest.max(round.took);
        let missed = match wish.place.is_some() && !round.reached {
            true => ", its place not reached",
            false => "",
        };
        eprintln!("{head}: {} kills in {:?}{missed}", round.kills, round.took);
        let more = round.violations.len().saturating_sub(SHOWN);
        for violation in round.violations.iter().take(SHOWN) {
            eprintln!("     {violation}");
            let seed = wish.plan.seed;
            self.violations
                .push(format!("{head} seed {seed}: {violation}"));
        }
        if let Some(remains) = &round.remains {
            eprintln!("     and {more} more; see {}", remains.display());
        }
        let Some(place) = wish.place.clone() else {
            return;
        };
        if round.reached {
            *self.hits.entry(place).or_default() += 1;
        } else if let Death::At { hit, .. } = &mut wish.plan.death
            && wish.tries < MOST_TRIES
        {
            // Not that often, or not with this one: sooner, and elsewhere.
            *hit = 1;
            wish.tries += 1;
            (wish.plan.setup, wish.plan.scene) = needs::settings(&place, wish.tries);
            wish.plan.seed = self.chance.any();
            self.waiting.push_front(wish);
        }
    }

    fn unreached(&self) -> Vec<&str> {
        let short = self.hits.iter().filter(|(_, hits)| **hits < self.wanted);
        short.map(|(place, _)| place.as_str()).collect()
    }

    fn is_sound(&self) -> bool {
        self.violations.is_empty() && self.unreached().is_empty()
    }

    fn report(&self, took: Duration) {
        for violation in &self.violations {
            println!("BROKEN {violation}");
        }
        for place in self.unreached() {
            println!(
                "NOT REACHED {place} ({} of {})",
                self.hits[place], self.wanted
            );
        }
        println!(
            "{} rounds, {} kills at {} places and at random times, {} violations, slowest round {:?}, {:?} in all",
            self.rounds,
            self.kills,
            self.hits.len(),
            self.violations.len(),
            self.slowest,
            took,
        );
    }
}

fn plan(chance: &mut Chance, (setup, scene): (Setup, Scene), death: Death) -> Plan {
    Plan {
        seed: chance.any(),
        setup,
        scene,
        death,
        deaths: u32::try_from(chance.between(1, 3)).unwrap_or(1),
    }
}
