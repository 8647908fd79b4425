//! The server's lives and deaths.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use alloy_primitives::{Address, address};
use tokio::sync::watch;
use tollway_checker::Ledger;
use tollway_devnet::DEV_ACCOUNTS;

use crate::Failure;
use crate::bot;
use crate::buyer::{ASSET, Payment};
use crate::load::Shop;
use crate::plan::{Chance, Death, Plan, Scene, Setup};
use crate::server::{Server, Started, tail};
use crate::verdict::open;
use crate::weather::{STALLED, waiting};
use crate::world::{Tools, World};

/// Where robbed money goes.
pub const ELSEWHERE: Address = address!("0x00000000000000000000000000000000000be115");
/// How long authorizations are valid that are to run out.
pub const SHORT_SECONDS: u64 = 12;
/// How long the server lives without coming to its place before the round goes on.
const MOST_LIFE: Duration = Duration::from_secs(25);
/// Grace after the last payment ended: some places come after it.
const AFTER_LAST: Duration = Duration::from_millis(1_500);
/// Longest wait for one thing of a prelude.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that dies again and again on one ledger.
pub struct Life<'a> {
    /// The programs.
    pub tools: &'a Tools,
    /// What is to happen.
    pub plan: &'a Plan,
    /// Where.
    pub world: &'a World,
    /// Later deaths come from here.
    pub chance: Chance,
    /// Tells clients where the server is.
    pub host: watch::Sender<Option<String>>,
    /// Tells whoever takes passes back where to ask.
    pub admin: watch::Sender<Option<String>>,
    /// Tells the others where the one is that does not die.
    pub other: watch::Sender<Option<String>>,
    /// Where it listens.
    pub listen: String,
    /// Payments that have not ended.
    pub left: Arc<AtomicUsize>,
    /// Deaths so far.
    pub kills: u32,
    /// Whether it died first where it was meant to.
    pub reached: bool,
    /// The ends of what it wrote to stderr.
    pub said: String,
}

impl Life<'_> {
    /// Dies as often as the plan says; returns the life that stays.
    pub async fn die_and_return(&mut self) -> Result<Box<Server>, Failure> {
        if self.plan.setup == Setup::Takeover {
            return self.die_for_good().await;
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

    /// It has the signer, dies and does not come back: the other one goes on
    /// with everything.
    async fn die_for_good(&mut self) -> Result<Box<Server>, Failure> {
        let death = self.plan.death.clone();
        let first = self.start(Some(&death)).await?;
        let args = self.world.args(self.plan.setup, "127.0.0.1:0");
        let heir = Server::start(self.tools, self.world.dir.path(), &args, None).await?;
        let Started::Up(heir) = heir else {
            return Err("the heir died by itself".into());
        };
        self.other.send_replace(Some(heir.host.clone()));
        self.reached = match first {
            Some(server) => self.live(server, Some(&death)).await,
            None => true,
        };
        self.kills += u32::from(self.reached);
        self.host.send_replace(Some(heir.host.clone()));
        Ok(heir)
    }

    /// A life that ends with payments under way; then their time passes before
    /// any block comes, and what waited in the pool is forgotten.
    pub async fn run_out(&mut self) -> Result<(), Failure> {
        let passed = Instant::now() + Duration::from_secs(SHORT_SECONDS + 1);
        let life = Death::After(self.chance.millis(50, 1_000));
        let chain = &self.world.chain;
        if let Some(server) = self.start(None).await? {
            let sent = until("a transaction", || waiting(chain));
            let _ = tokio::time::timeout_at(passed.into(), sent).await;
            self.live(server, Some(&life)).await;
            self.kills += 1;
        }
        tokio::time::sleep_until(passed.into()).await;
        if self.chance.coin() {
            while let Some(hash) = waiting(chain) {
                chain.drop_transaction(hash);
            }
        }
        chain.increase_time(60).map_err(|e| e.to_string())?;
        Ok(())
    }

    /// A life that ends with payments under way, which whoever comes next takes
    /// over.
    pub async fn leave_orphans(&mut self) -> Result<(), Failure> {
        let chain = &self.world.chain;
        let server = self.start(None).await?;
        let server = server.ok_or("the server died by itself")?;
        until("a transaction", || waiting(chain)).await?;
        self.live(server, Some(&Death::After(Duration::ZERO))).await;
        self.kills += 1;
        Ok(())
    }

    /// A life in which a payment is refused that was sent: its payer's money was
    /// gone when its block came. That block is replaced while nobody runs, by one
    /// without the transaction: no payment waits on its nonce, and it is free.
    pub async fn free_a_nonce(&mut self, shop: &Shop, payment: Payment) -> Result<(), Failure> {
        let chain = &self.world.chain;
        let payer = self.world.poor.first().ok_or("nobody is poor")?;
        let robbed = payer.sign(ELSEWHERE, 300, &mut self.chance).authorization;
        let robbed = robbed.ok_or("nothing is robbed")?;
        let server = self.start(None).await?;
        let server = server.ok_or("the server died by itself")?;
        let client = tokio::spawn(shop.clone().show(payment));
        // Out of the pool, so that the robbery has a block of its own below it.
        let hash = until("its transaction", || waiting(chain)).await?;
        chain.drop_transaction(hash);
        let moved = chain.system_call(ASSET, bot::call(&robbed).into());
        moved.map_err(|e| e.to_string())?;
        chain.mine(1).map_err(|e| e.to_string())?;
        until("its transaction again", || waiting(chain)).await?;
        let number = chain.mine(1).map_err(|e| e.to_string())?;
        let began = Instant::now();
        while !client.is_finished() || open(&Ledger::read(&self.world.ledger()).await?) > 0 {
            if began.elapsed() > PATIENCE {
                return Err("the payment is not refused".into());
            }
            tokio::time::sleep(self.world.pause).await;
            chain.mine(1).map_err(|e| e.to_string())?;
        }
        client.await.map_err(|e| e.to_string())??;
        self.host.send_replace(None);
        self.said.push_str(tail(&server.kill().await));
        self.kills += 1;
        let depth = chain.block_number() + 1 - number;
        chain.reorg(depth, false).map_err(|e| e.to_string())?;
        match chain.nonce(DEV_ACCOUNTS[0].address) {
            0 => Ok(()),
            nonce => Err(format!("the nonce is not free again: {nonce}")),
        }
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
                self.admin.send_replace(server.admin.clone());
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
                    () = tokio::time::sleep(most_life(self.plan.scene)) => None,
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

fn most_life(scene: Scene) -> Duration {
    match scene {
        Scene::Stalled => MOST_LIFE + STALLED,
        _ => MOST_LIFE,
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

/// Waits for something that must come.
async fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> Result<T, Failure> {
    let began = Instant::now();
    loop {
        if let Some(found) = found() {
            return Ok(found);
        }
        if began.elapsed() > PATIENCE {
            return Err(format!("{what} does not come"));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
