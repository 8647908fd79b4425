//! One round: payments in flight, deaths, and the judgement.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use alloy_primitives::{Address, address};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tollway_checker::Ledger;
use tollway_checker::client::Recorder;
use tollway_devnet::{DEV_ACCOUNTS, Devnet, Mining};

use crate::Failure;
use crate::bot::{Stranger, Trick};
use crate::buyer::{ASSET, PAYEE, Payment};
use crate::load::{Shop, terms};
use crate::plan::{Chance, Death, Plan, Scene, Setup};
use crate::server::{Server, Started, tail};
use crate::world::{Tools, World};

/// Where robbed money goes.
const ELSEWHERE: Address = address!("0x00000000000000000000000000000000000be115");
/// Payments that are in flight at once.
const IN_FLIGHT: usize = 32;
/// How long an authorization is valid.
const VALID_SECONDS: u64 = 290;
/// Every so-manieth payment is shown by two clients at once.
const TWICE: usize = 8;
/// How long authorizations are valid that are to run out.
const SHORT_SECONDS: u64 = 9;
/// How long the server lives without coming to its place before the round goes on.
const MOST_LIFE: Duration = Duration::from_secs(25);
/// Grace after the last payment ended: some places come after it.
const AFTER_LAST: Duration = Duration::from_millis(1_500);
/// How long everything may take to end after the last start: the promise is a
/// minute.
const ENDED: Duration = Duration::from_secs(65);

/// How a round went.
#[derive(Clone, Debug)]
pub struct Round {
    /// How often the server was killed.
    pub kills: u32,
    /// Whether it died first where it was meant to.
    pub reached: bool,
    /// Promises that were broken, as the checker words them.
    pub violations: Vec<String>,
    /// From the first payment to the last end.
    pub took: Duration,
    /// What is left of the round, where a promise was broken.
    pub remains: Option<PathBuf>,
}

/// Plays a round.
///
/// # Errors
/// If it could not be played to its end.
pub async fn play(tools: &Tools, plan: &Plan) -> Result<Round, Failure> {
    let mut chance = Chance::new(plan.seed);
    let world = World::build(tools, plan, &mut chance).await?;
    let partner = partner(tools, plan, &world).await?;
    let (shop, host, listen) = open_shop(tools, plan, &world).await?;
    let payments = sign(&world, &shop, plan.scene, &mut chance)?;
    let began = Instant::now();
    let mut life = Life {
        tools,
        plan,
        world: &world,
        chance,
        host,
        listen,
        left: Arc::clone(&shop.left),
        kills: 0,
        reached: false,
        said: String::new(),
    };
    let mut clients = JoinSet::new();
    for (n, payment) in payments.into_iter().enumerate() {
        if n % TWICE == 0 {
            clients.spawn(shop.clone().show(payment.clone()));
        }
        clients.spawn(shop.clone().show(payment));
    }
    let weather = tokio::spawn(weather(
        world.chain.clone(),
        plan.scene,
        Chance::new(plan.seed ^ 1),
        Arc::clone(&shop.left),
    ));
    let last = life.die_and_return().await?;
    let _ = weather.await;
    let ended = end(&world, plan.scene, clients).await;
    let took = began.elapsed();
    let (kills, reached, mut said) = (life.kills, life.reached, std::mem::take(&mut life.said));
    let mut violations = judge(tools, &world).await?;
    if let Err(late) = ended {
        violations.push(late);
    }
    said.push_str(&last.kill().await);
    if let Some(partner) = partner {
        said.push_str(&partner.kill().await);
    }
    let mut remains = None;
    if !violations.is_empty() {
        let _ = std::fs::write(world.path("stderr.txt"), said);
        let _ = std::fs::write(
            world.path("plan.txt"),
            format!("{plan:#?}\n{}", violations.join("\n")),
        );
        remains = Some(world.keep());
    }
    Ok(Round {
        kills,
        reached,
        violations,
        took,
        remains,
    })
}

/// The other facilitator of a pair: it is first, so it has the signer.
async fn partner(
    tools: &Tools,
    plan: &Plan,
    world: &World,
) -> Result<Option<Box<Server>>, Failure> {
    if plan.setup != Setup::Pair {
        return Ok(None);
    }
    let args = world.args(plan.setup, "127.0.0.1:0");
    match Server::start(tools, world.dir.path(), &args, None).await? {
        Started::Up(server) => Ok(Some(server)),
        Started::Died => Err("the partner died by itself".into()),
    }
}

/// The client's side, and how it learns where the server is. A gate is started
/// once before, to know its terms.
async fn open_shop(
    tools: &Tools,
    plan: &Plan,
    world: &World,
) -> Result<(Shop, watch::Sender<Option<String>>, String), Failure> {
    let args = world.args(plan.setup, "127.0.0.1:0");
    let first = Server::start(tools, world.dir.path(), &args, None).await?;
    let Started::Up(first) = first else {
        return Err("the server died by itself".into());
    };
    let listen = first.host.clone();
    let terms = match plan.setup {
        Setup::Facilitator | Setup::Pair => None,
        Setup::Gate | Setup::Upfront => Some(terms(&first.host).await?),
    };
    first.kill().await;
    let recorder = Recorder::create(&world.path("client.jsonl"));
    let (host, seen) = watch::channel(None);
    let shop = Shop {
        host: seen,
        recorder: Arc::new(recorder.map_err(|e| e.to_string())?),
        setup: plan.setup,
        terms,
        left: Arc::new(AtomicUsize::new(IN_FLIGHT + IN_FLIGHT / TWICE + 1)),
    };
    Ok((shop, host, listen))
}

/// Signs all payments, and lets strangers loose on a few of them.
fn sign(
    world: &World,
    shop: &Shop,
    scene: Scene,
    chance: &mut Chance,
) -> Result<Vec<Payment>, Failure> {
    let mut payments = Vec::new();
    let mut tricks = Vec::new();
    let seconds = match scene {
        Scene::Expiring => SHORT_SECONDS,
        _ => VALID_SECONDS,
    };
    for n in 0..IN_FLIGHT {
        let poor = world.poor.get(n).filter(|_| scene == Scene::Robbed);
        let buyer = poor.unwrap_or(&world.buyers[n % world.buyers.len()]);
        let payment = buyer.sign(PAYEE, seconds, chance);
        if let Some(robbed) = poor {
            let by = robbed.sign(ELSEWHERE, VALID_SECONDS, chance).authorization;
            let nonce = payment.authorization.authorization.nonce.0;
            tricks.push(Trick::Robbed { nonce, by });
        } else if n % 11 == 10 && scene != Scene::Replaced {
            tricks.push(Trick::Ahead(payment.authorization.clone()));
        }
        shop.record(&payment)?;
        payments.push(payment);
    }
    tokio::spawn(Stranger::new(&DEV_ACCOUNTS[5])?.watch(world.chain.clone(), tricks));
    Ok(payments)
}

/// What the chain does by itself while payments are under way. Waits at the
/// end until that can be seen.
async fn weather(chain: Devnet, scene: Scene, mut chance: Chance, left: Arc<AtomicUsize>) {
    if matches!(scene, Scene::Replaced | Scene::Taken) {
        for _ in 0..6 {
            match scene {
                Scene::Replaced => {
                    paid_more(&chain).await;
                    tokio::time::sleep(chance.millis(150, 500)).await;
                    let _ = chain.reorg(chance.between(2, 6), chance.coin());
                }
                _ => {
                    tokio::time::sleep(chance.millis(150, 500)).await;
                    take_nonce(&chain).await;
                }
            }
        }
        tokio::time::sleep(AFTER_LAST).await;
    }
    left.fetch_sub(1, Ordering::Relaxed);
}

/// Waits until the payee has more than now, or for a second.
async fn paid_more(chain: &Devnet) {
    let before = chain.balance_of(PAYEE);
    for _ in 0..100 {
        if chain.balance_of(PAYEE) > before {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Uses the nonce of a transaction that waits: it can never land.
async fn take_nonce(chain: &Devnet) {
    for _ in 0..50 {
        if chain.waiting() > 0 {
            let signer = DEV_ACCOUNTS[0].address;
            return chain.set_nonce(signer, chain.nonce(signer) + 1);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The server's lives and deaths.
struct Life<'a> {
    tools: &'a Tools,
    plan: &'a Plan,
    world: &'a World,
    chance: Chance,
    host: watch::Sender<Option<String>>,
    listen: String,
    left: Arc<AtomicUsize>,
    kills: u32,
    reached: bool,
    said: String,
}

impl Life<'_> {
    /// Dies as often as the plan says; returns the life that stays.
    async fn die_and_return(&mut self) -> Result<Box<Server>, Failure> {
        if self.plan.scene == Scene::Expiring {
            self.run_out().await?;
        }
        let mut death = Some(self.plan.death.clone());
        for n in 1..=self.plan.deaths {
            let died = match self.start(death.as_ref()).await? {
                Some(server) => self.live(server, death.as_ref()).await,
                None => true,
            };
            self.kills += u32::from(died);
            self.reached |= died && n == 1;
            death = self.next_death(n);
        }
        for _ in 0..3 {
            if let Some(server) = self.start(None).await? {
                return Ok(server);
            }
        }
        Err("the server does not come back".into())
    }

    /// A life that ends with payments under way; then their time passes before
    /// any block comes, and what waited in the pool is forgotten.
    async fn run_out(&mut self) -> Result<(), Failure> {
        let life = Death::After(self.chance.millis(200, 1_500));
        if let Some(server) = self.start(None).await? {
            self.live(server, Some(&life)).await;
            self.kills += 1;
        }
        let passed = Duration::from_secs(SHORT_SECONDS + 1);
        tokio::time::sleep(passed).await;
        let chain = &self.world.chain;
        if self.chance.coin() {
            let pool = chain.request("tollway_pool", serde_json::json!([]));
            for waiting in pool.unwrap_or_default().as_array().into_iter().flatten() {
                let hash = waiting["hash"].as_str().and_then(|hash| hash.parse().ok());
                hash.map(|hash| chain.drop_transaction(hash));
            }
        }
        chain.increase_time(60).map_err(|e| e.to_string())?;
        chain.set_mining(Mining::Interval(Duration::from_millis(120)));
        Ok(())
    }

    fn next_death(&mut self, n: u32) -> Option<Death> {
        (n < self.plan.deaths).then(|| Death::After(self.chance.millis(20, 900)))
    }

    /// Starts it where it was before.
    async fn start(&mut self, death: Option<&Death>) -> Result<Option<Box<Server>>, Failure> {
        let args = self.world.args(self.plan.setup, &self.listen);
        let home = self.world.dir.path();
        match Server::start(self.tools, home, &args, death).await? {
            Started::Died => Ok(None),
            Started::Up(server) => {
                self.host.send_replace(Some(server.host.clone()));
                Ok(Some(server))
            }
        }
    }

    /// Lets it live until it dies as it has to; whether it did.
    async fn live(&mut self, mut server: Box<Server>, death: Option<&Death>) -> bool {
        let died = match death {
            Some(Death::After(time)) => {
                let _ = tokio::time::timeout(*time, server.died()).await;
                true
            }
            _ => {
                let died = tokio::select! {
                    died = server.died() => Some(died),
                    () = all_ended(&self.left, self.plan.scene) => None,
                    () = tokio::time::sleep(MOST_LIFE) => None,
                };
                // Some places come only when it stops.
                match died {
                    Some(died) => died,
                    None => server.stop().await,
                }
            }
        };
        self.host.send_replace(None);
        let said = server.kill().await;
        self.said.push_str(tail(&said));
        died
    }
}

async fn all_ended(left: &AtomicUsize, scene: Scene) {
    while left.load(Ordering::Relaxed) > 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let grace = match scene {
        Scene::Final => AFTER_LAST * 4,
        _ => AFTER_LAST,
    };
    tokio::time::sleep(grace).await;
}

/// Waits until every client has its answer and the ledger has nothing open.
async fn end(
    world: &World,
    scene: Scene,
    mut clients: JoinSet<Result<(), Failure>>,
) -> Result<(), Failure> {
    let until = Instant::now() + ENDED;
    let answered = async {
        while let Some(client) = clients.join_next().await {
            client.map_err(|e| e.to_string())??;
        }
        Ok::<_, Failure>(())
    };
    let answered = tokio::time::timeout(ENDED, answered).await;
    if let Ok(failed @ Err(_)) = answered {
        return failed;
    }
    // A server that has just started has yet to see that a settled payment's block
    // is gone: that nothing is open must last.
    let mut since: Option<Instant> = None;
    loop {
        let open = open(&Ledger::read(&world.ledger()).await?);
        if open == 0 && answered.is_ok() {
            if since.get_or_insert_with(Instant::now).elapsed() >= lasting(scene) {
                return Ok(());
            }
        } else {
            since = None;
        }
        if Instant::now() > until {
            let waiting = clients.len();
            return Err(format!(
                "all_ends: {open} records are open and {waiting} clients unanswered after {ENDED:?}"
            ));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// How long nothing must be open before the round is judged.
const fn lasting(scene: Scene) -> Duration {
    match scene {
        Scene::Replaced => Duration::from_secs(3),
        _ => Duration::ZERO,
    }
}

/// Records that have not ended.
fn open(ledger: &Ledger) -> usize {
    let payments = ledger.payments.iter();
    let payments = payments.filter(|p| matches!(p.state.as_str(), "accepted" | "submitted"));
    let slots = ledger
        .slots
        .iter()
        .filter(|s| !s.closed && !s.hashes.is_empty());
    let grants = ledger.grants.iter();
    let grants = grants.filter(|g| matches!(g.state.as_str(), "claimed" | "served" | "settling"));
    payments.count() + slots.count() + grants.count()
}

/// Runs the checker.
async fn judge(tools: &Tools, world: &World) -> Result<Vec<String>, Failure> {
    let output = Command::new(&tools.checker)
        .args(["--rpc", &world.rpc()])
        .args(["--asset", &format!("{ASSET:#x}")])
        .args(["--signer", &World::signer()])
        .args(["--ledger", &world.ledger()])
        .args([
            "--client",
            &world.path("client.jsonl").display().to_string(),
        ])
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(|e| format!("{}: {e}", tools.checker.display()))?;
    match output.status.code() {
        Some(0 | 1) => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            Ok(text.lines().map(str::to_owned).collect())
        }
        _ => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}
