//! What the stories of failing nodes have in common: a facilitator before a node
//! that fails for a while, payments before, meanwhile and after, and a judge who
//! asks the chain itself, the ledger and the callers.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tollway_core::wire::PaymentRequirements;
use tollway_devnet::{DEV_ACCOUNTS, DevAccount, Mining};
use tollway_test_chaos::{Chaos, Fault};

use crate::harness::town::{NETWORK, PAYEE, Town, TownOptions, set};
use crate::harness::{Program, seconds, until};
use crate::rpc_faults_caller::{Caller, Told, payment, transfers};

/// Between two blocks.
pub const BLOCK: Duration = Duration::from_millis(150);
/// What the first payment pays; each further one pays one more, so that
/// transfers and records can be told apart.
const FIRST_AMOUNT: u64 = 10_000;
/// Who pays, in turn.
const PAYERS: [DevAccount; 5] = [
    DEV_ACCOUNTS[2],
    DEV_ACCOUNTS[3],
    DEV_ACCOUNTS[4],
    DEV_ACCOUNTS[5],
    DEV_ACCOUNTS[6],
];

/// A facilitator, and the node that it asks.
pub struct Case {
    /// The chain, which is honest, and the ledger.
    pub town: Town,
    /// The node that fails.
    pub node: Chaos,
    facilitator: Program,
    url: String,
    /// How long after the fault everything must have ended.
    pub bound: Duration,
    paid: u64,
    callers: Vec<(u64, JoinHandle<Told>)>,
    /// Whether a success may be undone by a replaced block.
    undoes: bool,
    /// Whether the only node says that money which moved did not.
    misled: bool,
}

/// Who is asked beside the failing node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// Nobody.
    Nobody,
    /// An honest node, which comes second.
    Honest,
}

impl Case {
    /// A facilitator whose one node is the failing one.
    pub async fn new(seed: u64) -> Self {
        Self::with(seed, Beside::Nobody, &[]).await
    }

    /// A facilitator with another node, or further arguments.
    pub async fn with(seed: u64, beside: Beside, more: &[&str]) -> Self {
        let town = Town::with(TownOptions {
            mining: Mining::Interval(BLOCK),
            ..TownOptions::default()
        })
        .await;
        let node = Chaos::before(&town.chain, seed).await.unwrap();
        let mut args = town.facilitator_args("");
        let urls = match beside {
            Beside::Nobody => node.url(),
            Beside::Honest => format!("{},{}", node.url(), town.rpc()),
        };
        set(&mut args, "--network", &format!("{NETWORK}={urls}"));
        args.extend(more.iter().map(|arg| (*arg).to_owned()));
        let (facilitator, url) = Program::serve(town.command(&args)).await;
        Self {
            town,
            node,
            facilitator,
            url,
            bound: seconds(40),
            paid: 0,
            callers: Vec::new(),
            undoes: false,
            misled: false,
        }
    }

    /// The only node lies about what moved, so that a refusal may be its fault.
    pub const fn misled(mut self) -> Self {
        self.misled = true;
        self
    }

    /// Blocks with payments may be replaced in this case.
    pub const fn undoing(mut self) -> Self {
        self.undoes = true;
        self
    }

    /// Somebody pays, and asks until there is an answer that is final.
    pub async fn pays(&mut self) {
        let index = self.paid;
        self.paid += 1;
        let amount = FIRST_AMOUNT + index;
        let payer = PAYERS[usize::try_from(index).unwrap() % PAYERS.len()];
        let requirements = self.requirements(amount);
        let payment = payment(&payer, &requirements).await;
        let body = json!({
            "x402Version": 2, "paymentPayload": payment, "paymentRequirements": requirements,
        });
        let caller = Caller {
            url: format!("{}/settle", self.url),
            body,
            key: format!("story-{index}"),
            chain: self.town.chain.clone(),
            amount,
            undoes: self.undoes,
        };
        self.callers.push((amount, tokio::spawn(caller.ask())));
    }

    /// Several pay at the same time.
    pub async fn several_pay(&mut self, count: usize) {
        for _ in 0..count {
            self.pays().await;
        }
    }

    fn requirements(&self, amount: u64) -> PaymentRequirements {
        let dollar = self.town.chain.dollar();
        let extra = json!({ "name": dollar.name, "version": dollar.version });
        PaymentRequirements {
            scheme: "exact".to_owned(),
            network: NETWORK.to_owned(),
            amount: amount.to_string(),
            asset: dollar.address.to_checksum(None),
            pay_to: PAYEE.to_owned(),
            max_timeout_seconds: 300,
            extra: extra.as_object().cloned(),
        }
    }

    /// Waits for the last answer of everybody, from now on as long as the bound allows.
    pub async fn hear(&mut self) -> BTreeMap<u64, Told> {
        let end = tokio::time::Instant::now() + self.bound;
        let mut told = BTreeMap::new();
        for (amount, mut caller) in std::mem::take(&mut self.callers) {
            let heard = tokio::time::timeout_at(end, &mut caller).await;
            caller.abort();
            let nothing = || Told::Nothing("it still asks".to_owned());
            told.insert(amount, heard.map_or_else(|_| nothing(), Result::unwrap));
        }
        told
    }

    /// Waits until a fault has struck.
    pub async fn struck(&self, fault: Fault) {
        until(self.bound, "it strikes", async || {
            self.node.struck(fault) > 0
        })
        .await;
    }

    /// Waits until everybody is told a success, while whatever is wrong goes on.
    pub async fn all_succeed(&mut self, within: Duration, when: &str) -> BTreeMap<u64, Told> {
        let usual = std::mem::replace(&mut self.bound, within);
        let heard = self.hear().await;
        self.bound = usual;
        let success = |told: &Told| matches!(told, Told::Success(_));
        if !heard.values().all(success) {
            panic!("{when}: {heard:?}\n{}", self.last_words().await);
        }
        heard
    }

    /// The ledger's story of what is open, and the end of the log.
    async fn last_words(&self) -> String {
        let mut words = String::new();
        for row in self.town.payments("facilitator.db").await {
            if row["state"] != "settled" {
                let id = row["id"].as_str().unwrap();
                let whole = self.town.payment("facilitator.db", id).await;
                words.push_str(&format!("{whole}\n"));
            }
        }
        let log = self.facilitator.stderr();
        let tail: Vec<&str> = log.lines().rev().take(12).collect();
        format!("{words}log, newest first:\n{}", tail.join("\n"))
    }

    /// The whole of a usual case: a payment in peace, one and then many at once
    /// while the fault lasts, one after it.
    pub async fn usual(mut self, fault: Fault, lasting: Duration) {
        self.pays().await;
        let heard = self.all_succeed(self.bound, "in peace").await;
        self.node.begin(fault);
        self.pays().await;
        tokio::time::sleep(BLOCK).await;
        self.several_pay(8).await;
        self.struck(fault).await;
        tokio::time::sleep(lasting).await;
        self.node.calm();
        self.pays().await;
        self.judge(heard).await;
    }

    /// The same where a refusal would be a mistake: an honest node could be asked.
    pub async fn all_succeed_in_the_end(mut self, fault: Fault) {
        self.node.begin(fault);
        self.several_pay(3).await;
        self.struck(fault).await;
        tokio::time::sleep(seconds(4)).await;
        self.node.calm();
        let heard = self.all_succeed(self.bound, "after the fault").await;
        self.judge(heard).await;
    }

    /// Waits until everybody has an answer, and judges.
    pub async fn judge(mut self, mut heard: BTreeMap<u64, Told>) {
        heard.extend(self.hear().await);
        let end = Instant::now() + self.bound;
        loop {
            let verdict = self.verdict(&heard).await;
            let Err(wrong) = verdict else {
                return;
            };
            if Instant::now() > end {
                panic!("{wrong}\n{}", self.last_words().await);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The money moved once for each that was told so, and for nobody else; the
    /// ledger says the same; nothing is open.
    async fn verdict(&self, heard: &BTreeMap<u64, Told>) -> Result<(), String> {
        let records = self.records().await;
        let moved = transfers(&self.town.chain);
        let wrong = |what: &str| {
            let seen = format!("heard {heard:?}\nledger {records:?}\nchain {moved:?}");
            Err(format!("{what}\n{seen}"))
        };
        for (amount, told) in heard {
            let by = moved.get(amount).map_or(&[][..], Vec::as_slice);
            let state = records.get(amount).map_or("none", String::as_str);
            let fits = match told {
                Told::Success(hash) => {
                    state == "settled" && by.len() == 1 && (self.undoes || by[0] == *hash)
                }
                Told::Refused(_) => {
                    let over = matches!(state, "refused" | "expired" | "none");
                    over && (by.is_empty() || self.misled)
                }
                Told::Nothing(_) => false,
            };
            if !fits {
                return wrong(&format!(
                    "payment of {amount}: told {told:?}, but it is {state}"
                ));
            }
        }
        match moved.values().all(|by| by.len() == 1) && moved.len() <= heard.len() {
            true => Ok(()),
            false => wrong("money moved twice, or for nobody"),
        }
    }

    /// Amount and state of each payment of the ledger.
    async fn records(&self) -> BTreeMap<u64, String> {
        let rows = self.town.payments("facilitator.db").await;
        let row = |row: &Value| {
            let amount = row["amount"].as_str().unwrap().parse().unwrap();
            (amount, row["state"].as_str().unwrap().to_owned())
        };
        rows.iter().map(row).collect()
    }
}

/// Plays every fault in a case of its own, side by side; seeds tell them apart.
pub fn each(faults: &[Fault], play: impl AsyncFn(u64, Fault) + Copy + Send) {
    let case = |(seed, fault): (u64, Fault)| {
        let run = async move || play(seed, fault).await;
        (fault.name(), run)
    };
    side_by_side((1..).zip(faults.iter().copied()).map(case).collect());
}

/// How many cases run at a time: mostly they wait.
const AT_ONCE: usize = 8;

/// Runs cases side by side, each in a thread of its own, and says which failed.
pub fn side_by_side(cases: Vec<(String, impl AsyncFnOnce() + Send)>) {
    let waiting = Mutex::new(VecDeque::from(cases));
    let failed = Mutex::new(Vec::new());
    let work = || {
        while let Some((name, case)) = { waiting.lock().unwrap().pop_front() } {
            let began = Instant::now();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let run = AssertUnwindSafe(|| runtime.unwrap().block_on(case()));
            match catch_unwind(run) {
                Ok(()) => println!("{name}: {:.1?}", began.elapsed()),
                Err(_) => failed.lock().unwrap().push(name),
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(work);
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(
        failed.is_empty(),
        "these failed, see above: {}",
        failed.join(", ")
    );
}
