//! One round: payments in flight, deaths, and the judgement.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tollway_checker::client::Recorder;
use tollway_devnet::DEV_ACCOUNTS;

use crate::Failure;
use crate::bot::{Stranger, Trick};
use crate::buyer::{PAYEE, Payment};
use crate::life::{ELSEWHERE, Life, SHORT_SECONDS};
use crate::load::{Shop, terms};
use crate::place::own_place;
use crate::plan::{Chance, Plan, Scene, Setup};
use crate::server::{Server, Started};
use crate::verdict::{end, judge};
use crate::weather::Weather;
use crate::world::{Tools, World};

/// Payments that are in flight at once.
pub const IN_FLIGHT: usize = 32;
/// How long an authorization is valid.
const VALID_SECONDS: u64 = 290;
/// Every so-manieth payment is shown by two clients at once.
const TWICE: usize = 8;

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
    let (shop, other, mut life) = open_shop(tools, plan, &world).await?;
    let (payments, tricks) = sign(&world, &shop, plan, &mut chance)?;
    let began = Instant::now();
    let mut payments = payments.into_iter().enumerate().peekable();
    if plan.scene == Scene::Freed
        && let Some((_, first)) = payments.next()
    {
        life.free_a_nonce(&shop, first).await?;
    }
    let mut clients = JoinSet::new();
    for (n, payment) in payments {
        let shop = if n % 2 == 0 { &shop } else { &other };
        if n % TWICE == TWICE - 1 {
            clients.spawn(shop.clone().show(payment.clone()));
        }
        clients.spawn(shop.clone().show(payment));
    }
    match plan.scene {
        Scene::Expiring => life.run_out().await?,
        Scene::Orphaned => life.leave_orphans().await?,
        _ => {}
    }
    let (_blocks, calm) = blocks(&world, plan, &shop, tricks)?;
    let last = life.die_and_return().await?;
    let _ = calm.await;
    let ended = end(&world, plan.scene, clients).await;
    let took = began.elapsed();
    let mut violations = judge(tools, &world).await?;
    if let Err(late) = ended {
        violations.push(late);
    }
    let (kills, reached, mut said) = (life.kills, life.reached, std::mem::take(&mut life.said));
    said.push_str(&last.kill().await);
    if let Some(partner) = partner {
        said.push_str(&partner.kill().await);
    }
    drop(life);
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

/// Blocks as long as what is returned lives, and word when the scene's trouble
/// is over.
fn blocks(
    world: &World,
    plan: &Plan,
    shop: &Shop,
    tricks: Vec<Trick>,
) -> Result<(JoinSet<()>, oneshot::Receiver<()>), Failure> {
    let mut weather = Weather {
        chain: world.chain.clone(),
        pause: world.pause,
        scene: plan.scene,
        chance: Chance::new(plan.seed ^ 1),
        left: Arc::clone(&shop.left),
        stranger: Stranger::new(&DEV_ACCOUNTS[5])?,
        tricks,
    };
    let (over, calm) = oneshot::channel();
    let mut blocks = JoinSet::new();
    blocks.spawn(async move {
        weather.storm().await;
        let _ = over.send(());
        weather.calm().await;
    });
    Ok((blocks, calm))
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

/// The client's side, a part of which asks the other server where there is one,
/// and the server's, which tells it where it is. A gate is started once before,
/// to know its terms; who must be the first to take the signer is not.
async fn open_shop<'a>(
    tools: &'a Tools,
    plan: &'a Plan,
    world: &'a World,
) -> Result<(Shop, Shop, Life<'a>), Failure> {
    let mut listen = own_place();
    let mut wanted = None;
    if plan.setup != Setup::Takeover {
        let args = world.args(plan.setup, &listen);
        let first = Server::start(tools, world.dir.path(), &args, None).await?;
        let Started::Up(first) = first else {
            return Err("the server died by itself".into());
        };
        listen = first.host.clone();
        if plan.setup.is_gate() {
            wanted = Some(terms(&first.host, plan.setup).await?);
        }
        first.kill().await;
    }
    let recorder = Recorder::create(&world.path("client.jsonl"));
    let (host, seen) = watch::channel(None);
    let (other, seen_other) = watch::channel(None);
    let (admin, seen_admin) = watch::channel(None);
    let shop = Shop {
        host: seen,
        recorder: Arc::new(recorder.map_err(|e| e.to_string())?),
        setup: plan.setup,
        terms: wanted,
        left: Arc::new(AtomicUsize::new(IN_FLIGHT + IN_FLIGHT / TWICE + 1)),
        admin: seen_admin,
        admin_token: world.admin_token.clone(),
    };
    let beside = match plan.setup {
        Setup::Takeover => Shop {
            host: seen_other,
            ..shop.clone()
        },
        _ => shop.clone(),
    };
    let life = Life {
        tools,
        plan,
        world,
        chance: Chance::new(plan.seed ^ 2),
        host,
        admin,
        other,
        listen,
        left: Arc::clone(&shop.left),
        kills: 0,
        reached: false,
        said: String::new(),
    };
    Ok((shop, beside, life))
}

/// Signs all payments, and the tricks that strangers play on a few of them.
fn sign(
    world: &World,
    shop: &Shop,
    plan: &Plan,
    chance: &mut Chance,
) -> Result<(Vec<Payment>, Vec<Trick>), Failure> {
    let scene = plan.scene;
    let mut payments = Vec::new();
    let mut tricks = Vec::new();
    let seconds = match scene {
        Scene::Expiring => SHORT_SECONDS,
        _ => VALID_SECONDS,
    };
    let robbed = match scene {
        Scene::Robbed | Scene::Helped => world.poor.len(),
        // By the prelude.
        Scene::Freed => 1,
        _ => 0,
    };
    for n in 0..IN_FLIGHT {
        let poor = world.poor[..robbed].get(n);
        let buyer = poor.unwrap_or(&world.buyers[n % world.buyers.len()]);
        let payment = match poor {
            _ if plan.setup == Setup::Meter => buyer.permit_by_meter(seconds, chance),
            Some(helped) if scene == Scene::Helped => {
                helped.permit_with_approval(&world.chain, seconds, chance)?
            }
            _ => buyer.sign(PAYEE, seconds, chance),
        };
        match poor {
            Some(robbed) if scene == Scene::Robbed => {
                let by = robbed.sign(ELSEWHERE, VALID_SECONDS, chance).authorization;
                let nonce = payment.nonce;
                tricks.extend(by.map(|by| Trick::Robbed { nonce, by }));
            }
            None if n % 11 == 10 && scene != Scene::Replaced => {
                tricks.extend(payment.authorization.clone().map(Trick::Ahead));
            }
            _ => {}
        }
        shop.record(&payment)?;
        payments.push(payment);
    }
    Ok((payments, tricks))
}
