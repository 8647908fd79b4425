//! What was written down, read from the ledger's own tables.

use serde_json::Value;

use crate::authorization;
use crate::tables::{Texts, tables};

/// An engine's payment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payment {
    /// Its name.
    pub id: String,
    /// What it spends.
    pub auth: String,
    /// Who is paid.
    pub to: String,
    /// Atomic units.
    pub amount: u128,
    /// Unix milliseconds.
    pub deadline: u64,
    /// `accepted`, `submitted`, `settled`, `refused` or `expired`.
    pub state: String,
    /// The transaction that settled it.
    pub transaction: Option<String>,
    /// Whether success was handed out.
    pub handed_out: bool,
}

/// A nonce of a settling account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// Whose.
    pub signer: String,
    /// Which.
    pub nonce: u64,
    /// Nothing more will come of it.
    pub closed: bool,
    /// Every transaction that was signed under it.
    pub hashes: Vec<String>,
    /// Payments that it carries, by name.
    pub payments: Vec<String>,
}

/// A gate's grant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// Its name.
    pub id: String,
    /// What it was opened with.
    pub auth: String,
    /// `claimed`, `served`, `settling`, `released` or `refused`.
    pub state: String,
    /// It opened nothing and may be opened anew.
    pub reclaimable: bool,
    /// It pays for a pass.
    pub sells_pass: bool,
    /// What may be lost with it: network, asset and payer.
    pub purse: Purse,
    /// Atomic units: the price, or what a meter counted.
    pub amount: u128,
    /// What may be charged of it, where a meter counts; written when it is promised.
    pub meter: Option<Promise>,
}

/// What was promised of a metered answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Promise {
    /// Atomic units at most.
    pub permitted: u128,
    /// It is still to be paid.
    pub is_open: bool,
}

/// A gate's pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pass {
    /// Its name.
    pub id: String,
    /// The grant that it came with.
    pub grant: String,
    /// What may be lost with it: network, asset and payer.
    pub purse: Purse,
    /// Atomic units.
    pub amount: u128,
    /// Requests that it was sold for, and those that are left.
    pub quota: Option<(u64, u64)>,
    /// Its payment failed.
    pub failed: bool,
    /// The money moved.
    pub settled: bool,
    /// Its promise counts as lost.
    pub lost: bool,
    /// The seller took it back.
    pub withdrawn: bool,
}

/// Network, asset and payer; nobody for the sum of all.
pub type Purse = (String, String, String);

/// An entry of the story.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Who wrote it.
    pub writer: String,
    /// Its number there, from 1.
    pub seq: u64,
    /// When, in Unix milliseconds.
    pub at: u64,
    /// About what.
    pub subject: String,
    /// What happened.
    pub kind: String,
    /// Facts, as they were hashed.
    pub data: String,
    /// Over all of that and the entry before.
    pub hash: String,
}

/// A process that wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writer {
    /// Its name.
    pub name: String,
    /// The hash that its first event follows.
    pub follows: String,
}

/// A whole ledger.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// The engine's payments, oldest first.
    pub payments: Vec<Payment>,
    /// The engine's nonces, by signer and number.
    pub slots: Vec<Slot>,
    /// The gate's grants, oldest first.
    pub grants: Vec<Grant>,
    /// The gate's passes, oldest first.
    pub passes: Vec<Pass>,
    /// What the ledger says is promised and open.
    pub exposures: Vec<(Purse, u128)>,
    /// What it says was promised and never paid, of all days.
    pub losses: Vec<(Purse, u128)>,
    /// What it says that helping payers may have cost, of all days: wei, by payer,
    /// and of nobody for the sum.
    pub help: Vec<(String, u128)>,
    /// The story, by writer and number.
    pub events: Vec<Event>,
    /// Who wrote it.
    pub writers: Vec<Writer>,
}

const PAYMENTS: &str = "SELECT id, payer, nonce, to_account, amount, CAST(deadline AS TEXT), state,
    transaction_id, settled, CAST(handed_out_at AS TEXT) FROM payments ORDER BY seq";
const SLOTS: &str = "SELECT signer, CAST(nonce AS TEXT), CAST(closed AS TEXT), payments FROM slots
    ORDER BY network, signer, slots.nonce";
const RAWS: &str = "SELECT signer, CAST(nonce AS TEXT), hash FROM slot_raws
    ORDER BY signer, slot_raws.nonce, position";
const GRANTS: &str =
    "SELECT payer, nonce, state, CAST(reclaimable AS TEXT), id, pass, network, asset,
    amount FROM grants ORDER BY seq";
const METERS: &str = "SELECT grant_id, permitted, CAST(is_promised AS TEXT) FROM meters";
const PASSES: &str = "SELECT id, grant_id, network, asset, payer, amount, CAST(quota AS TEXT),
    CAST(uses_left AS TEXT), status, CAST(is_settled AS TEXT), CAST(lost_on AS TEXT),
    CAST(is_withdrawn AS TEXT) FROM passes ORDER BY id";
const EXPOSURES: &str = "SELECT network, asset, payer, amount FROM exposures";
const LOSSES: &str = "SELECT network, asset, payer, amount FROM losses";
const HELP: &str = "SELECT payer, fee FROM gas WHERE payer = 'help' OR payer LIKE 'help:%'";
const EVENTS: &str = "SELECT writer, CAST(seq AS TEXT), CAST(at AS TEXT), subject, kind, data, hash
    FROM events ORDER BY writer, events.seq";
const WRITERS: &str = "SELECT writer, follows_hash FROM writers ORDER BY opened_at";

impl Ledger {
    /// Reads `sqlite:PATH` or `postgres://…`, and changes nothing.
    ///
    /// # Errors
    /// If it is not a ledger that can be read.
    pub async fn read(url: &str) -> Result<Self, String> {
        let queries = [
            PAYMENTS, SLOTS, RAWS, GRANTS, METERS, PASSES, EXPOSURES, LOSSES, HELP, EVENTS, WRITERS,
        ];
        let [
            payments,
            slots,
            raws,
            grants,
            meters,
            passes,
            exposures,
            losses,
            help,
            events,
            writers,
        ] = tables(url, queries).await?;
        Ok(Self {
            payments: payments.iter().map(payment).collect(),
            slots: slots.iter().map(|row| slot(row, &raws)).collect(),
            grants: grants.iter().map(|row| grant(row, &meters)).collect(),
            passes: passes.iter().map(pass).collect(),
            exposures: exposures.iter().map(sum).collect(),
            losses: losses.iter().map(sum).collect(),
            help: help.iter().map(helped).collect(),
            events: events.iter().map(event).collect(),
            writers: writers.iter().map(writer).collect(),
        })
    }

    /// The pass that a grant paid for.
    pub fn pass(&self, grant: &Grant) -> Option<&Pass> {
        self.passes.iter().find(|pass| pass.grant == grant.id)
    }

    /// The payment of an authorization.
    pub fn payment(&self, auth: &str) -> Option<&Payment> {
        self.payments.iter().find(|payment| payment.auth == auth)
    }
}

fn column(row: &Texts, at: usize) -> String {
    row.get(at).cloned().flatten().unwrap_or_default()
}

fn count(row: &Texts, at: usize) -> u64 {
    column(row, at).parse().unwrap_or_default()
}

fn payment(row: &Texts) -> Payment {
    let evidence: Value = serde_json::from_str(&column(row, 8)).unwrap_or_default();
    let settled = evidence["transaction"].as_str().map(str::to_lowercase);
    let transaction = row
        .get(7)
        .cloned()
        .flatten()
        .map(|hash| hash.to_lowercase());
    Payment {
        id: column(row, 0),
        auth: authorization(&column(row, 1), &column(row, 2)),
        to: column(row, 3).to_lowercase(),
        amount: column(row, 4).parse().unwrap_or_default(),
        deadline: count(row, 5),
        state: column(row, 6),
        transaction: settled.or(transaction),
        handed_out: row.get(9).cloned().flatten().is_some(),
    }
}

fn slot(row: &Texts, raws: &[Texts]) -> Slot {
    let own = raws.iter().filter(|raw| raw[..2] == row[..2]);
    Slot {
        signer: column(row, 0).to_lowercase(),
        nonce: count(row, 1),
        closed: column(row, 2) == "1",
        hashes: own.map(|raw| column(raw, 2).to_lowercase()).collect(),
        payments: serde_json::from_str(&column(row, 3)).unwrap_or_default(),
    }
}

fn grant(row: &Texts, meters: &[Texts]) -> Grant {
    let meter = meters.iter().find(|meter| meter[0] == row[4]);
    Grant {
        auth: authorization(&column(row, 0), &column(row, 1)),
        state: column(row, 2),
        reclaimable: column(row, 3) == "1",
        id: column(row, 4),
        sells_pass: !column(row, 5).is_empty(),
        purse: (column(row, 6), column(row, 7), column(row, 0)),
        amount: column(row, 8).parse().unwrap_or_default(),
        meter: meter.map(|meter| Promise {
            permitted: column(meter, 1).parse().unwrap_or_default(),
            is_open: column(meter, 2) == "1",
        }),
    }
}

fn pass(row: &Texts) -> Pass {
    let left = (!column(row, 7).is_empty()).then(|| count(row, 7));
    Pass {
        id: column(row, 0),
        grant: column(row, 1),
        purse: (column(row, 2), column(row, 3), column(row, 4)),
        amount: column(row, 5).parse().unwrap_or_default(),
        quota: left.map(|left| (count(row, 6), left)),
        failed: column(row, 8) == "revoked",
        settled: column(row, 9) == "1",
        lost: !column(row, 10).is_empty(),
        withdrawn: column(row, 11) == "1",
    }
}

fn sum(row: &Texts) -> (Purse, u128) {
    let purse = (column(row, 0), column(row, 1), column(row, 2));
    (purse, column(row, 3).parse().unwrap_or_default())
}

fn helped(row: &Texts) -> (String, u128) {
    let name = column(row, 0).to_lowercase();
    let payer = name.trim_start_matches("help").trim_start_matches(':');
    let cost = column(row, 1).parse().unwrap_or_default();
    (payer.to_owned(), cost)
}

fn event(row: &Texts) -> Event {
    Event {
        writer: column(row, 0),
        seq: count(row, 1),
        at: count(row, 2),
        subject: column(row, 3),
        kind: column(row, 4),
        data: column(row, 5),
        hash: column(row, 6),
    }
}

fn writer(row: &Texts) -> Writer {
    Writer {
        name: column(row, 0),
        follows: column(row, 1),
    }
}
