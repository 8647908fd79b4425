//! `tollway budget`: what an agent may spend, and what it has spent.

use serde_json::{Value, json};
use tollway_core::assets::AssetTable;
use tollway_core::{Amount, Clock as _, Network, SystemClock};
use tollway_ledger::{Limit, SpendRecord, SpendState, SpendStore as _, SpendTotal, Store};
use tollway_payer::{Policy, UnitPrice};

use super::Agent;
use super::flags::{BudgetCommand, BudgetSet};
use crate::assets;
use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::story::printable;
use crate::wiring;

/// Runs it.
pub async fn run(command: BudgetCommand, environment: &Environment) -> Result<Exit, Failure> {
    match command {
        BudgetCommand::Show {
            agent,
            ledger,
            json,
        } => {
            let agent = Agent::named(&agent, environment)?;
            let policy = agent.policy(&assets::table(&[], environment)?)?;
            let ledger = wiring::ledger(ledger.as_deref(), "payer.db", environment).await?;
            let standing = standing(&agent, &policy, &ledger).await?;
            match json {
                true => println!("{}", shown(&agent, &standing)),
                false => print(&agent, &standing),
            }
            ledger.close().await;
        }
        BudgetCommand::Set(set) => change(*set, environment)?,
        BudgetCommand::History {
            agent,
            ledger,
            limit,
            json,
        } => {
            let agent = Agent::named(&agent, environment)?;
            let ledger = wiring::ledger(ledger.as_deref(), "payer.db", environment).await?;
            let known = assets::table(&[], environment)?;
            for record in history(&agent.name, &ledger, limit).await? {
                match json {
                    true => println!("{}", entry(&record, &known)),
                    false => println!("{}", line(&record, &known)),
                }
            }
            ledger.close().await;
        }
    }
    Ok(Exit::Done)
}

/// A limit for all that an agent pays, and what counts within it.
pub struct Standing {
    limit: Limit,
    used: SpendTotal,
}

/// How an agent stands to each limit for all that it pays.
pub async fn standing(
    agent: &Agent,
    policy: &Policy,
    ledger: &Store,
) -> Result<Vec<Standing>, Failure> {
    let network = wiring::network("base")?;
    let none = nobody(&network)?;
    let mut all = Vec::new();
    for limit in policy.budget.overall(&agent.name) {
        let now = SystemClock.now();
        let used = ledger.total(&none, &network, &none, &limit, now).await;
        let used = used.map_err(unavailable)?;
        all.push(Standing { limit, used });
    }
    Ok(all)
}

/// A budget is of no account and no asset.
fn nobody(network: &Network) -> Result<tollway_core::Address, Failure> {
    let zero = format!("0x{}", "0".repeat(40));
    network.address(&zero).map_err(Failure::new)
}

fn unavailable(error: impl std::fmt::Display) -> Failure {
    Failure::coded(Exit::Failed, "ledger_unavailable", error)
}

impl Standing {
    fn left(&self) -> Amount {
        let SpendTotal { paid, held } = self.used;
        let used = paid.checked_add(held).unwrap_or(Amount::MAX);
        self.limit.max.checked_sub(used).unwrap_or(Amount::ZERO)
    }

    fn window(&self) -> &'static str {
        match self.limit.window {
            Some(_) => "24 hours",
            None => "in all",
        }
    }

    fn words(&self) -> String {
        let [max, paid, held, left] = self.amounts();
        format!("{paid} of {max} paid, {held} held, {left} left")
    }

    fn amounts(&self) -> [String; 4] {
        let SpendTotal { paid, held } = self.used;
        let all = [self.limit.max, paid, held, self.left()];
        all.map(|amount| UnitPrice::from_amount(amount).to_string())
    }

    fn json(&self) -> Value {
        let [max, paid, held, left] = self.amounts();
        let seconds = self.limit.window.map(|window| window.as_secs());
        json!({"window_seconds": seconds, "max": max, "paid": paid, "held": held, "left": left})
    }
}

/// The policy and the standing, for programs.
pub fn shown(agent: &Agent, standing: &[Standing]) -> Value {
    json!({
        "agent": agent.name,
        "budget": standing.iter().map(Standing::json).collect::<Vec<_>>(),
        "policy": agent.file,
    })
}

fn print(agent: &Agent, standing: &[Standing]) {
    let file = &agent.file;
    println!("{} ({})", agent.name, agent.path.display());
    println!("  a call    at most {}", file.limits.per_call);
    for one in standing {
        println!("  {:<9} {}", one.window(), one.words());
    }
    if standing.is_empty() {
        println!(
            "  in all    no limit; set one with `tollway budget set --agent {} --total 5`",
            agent.name
        );
    }
    let limits = [
        ("a host", &file.limits.per_host, &file.limits.per_host_day),
        (
            "a payee",
            &file.limits.per_payee,
            &file.limits.per_payee_day,
        ),
    ];
    for (of, total, day) in limits {
        let total = total.as_ref().map(|max| format!("at most {max} in all"));
        let day = day.as_ref().map(|max| format!("at most {max} in 24 hours"));
        let both: Vec<String> = total.into_iter().chain(day).collect();
        if !both.is_empty() {
            println!("  {of:<9} {}", both.join(", "));
        }
    }
    let lists = [
        ("hosts", &file.hosts),
        ("networks", &file.networks),
        ("assets", &file.assets),
        ("payees", &file.payees),
        ("consents", &file.consents),
        ("schemes", &file.schemes),
        ("methods", &file.methods),
    ];
    for (name, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        println!("  {name:<9} {}", list.join(", "));
    }
    println!(
        "  a price   rises to at most {} times the last one",
        file.max_price_rise
    );
    if file.pin_payees {
        println!("  a host    is paid only where it was paid first, or as `consents` says");
    }
}

/// What an agent paid and holds, newest first.
pub async fn history(agent: &str, ledger: &Store, limit: u32) -> Result<Vec<SpendRecord>, Failure> {
    let spends = ledger.spends_of(agent, limit).await;
    spends.map_err(unavailable)
}

/// A spend, for programs. What was signed is not in it.
pub fn entry(record: &SpendRecord, known: &AssetTable) -> Value {
    let spend = &record.spend;
    json!({
        "spend": record.id,
        "at": record.reserved_at.secs(),
        "state": record.state.to_string(),
        "cost": cost(record, known),
        "amount": record.paid.unwrap_or(spend.amount),
        "asset": spend.asset,
        "network": spend.network,
        "payee": spend.payee,
        "url": spend.url,
        "transaction": record.transaction,
    })
}

/// `0.01 USDC`, where the asset is known.
fn cost(record: &SpendRecord, known: &AssetTable) -> String {
    let spend = &record.spend;
    let amount = record.paid.unwrap_or(spend.amount);
    match known.find(&spend.network, &spend.asset) {
        Some(asset) => format!("{} {}", amount.to_decimal(asset.decimals), asset.symbol),
        None => format!("{amount} atomic units of {}", spend.asset),
    }
}

fn line(record: &SpendRecord, known: &AssetTable) -> String {
    let what = match record.state {
        SpendState::Paid => "paid",
        SpendState::Released => "given back",
        _ => "held",
    };
    format!(
        "{}  {}  {what} {}  to {}  {}",
        record.id,
        record.reserved_at.secs(),
        cost(record, known),
        record.spend.payee,
        printable(&record.spend.url),
    )
}

fn change(set: BudgetSet, environment: &Environment) -> Result<(), Failure> {
    let mut agent = Agent::named_or_new(&set.agent, environment)?;
    let file = &mut agent.file;
    let limits = &mut file.limits;
    if let Some(per_call) = set.per_call {
        limits.per_call = per_call;
    }
    for (kept, said) in [
        (&mut limits.per_day, set.per_day),
        (&mut limits.total, set.total),
        (&mut limits.per_host, set.per_host),
        (&mut limits.per_host_day, set.per_host_day),
        (&mut limits.per_payee, set.per_payee),
        (&mut limits.per_payee_day, set.per_payee_day),
    ] {
        if let Some(said) = said {
            *kept = Some(said).filter(|said| said != "none");
        }
    }
    for (kept, said) in [
        (&mut file.hosts, set.hosts),
        (&mut file.networks, set.networks),
        (&mut file.assets, set.assets),
        (&mut file.payees, set.payees),
        (&mut file.schemes, set.schemes),
        (&mut file.methods, set.methods),
    ] {
        if !said.is_empty() {
            *kept = said.into_iter().filter(|one| one != "any").collect();
        }
    }
    for consent in set.consents {
        if !file.consents.contains(&consent) {
            file.consents.push(consent);
        }
    }
    file.pin_payees = set.pin_payees.unwrap_or(file.pin_payees);
    file.allow_http = set.allow_http.unwrap_or(file.allow_http);
    file.lifetime_seconds = set.lifetime.unwrap_or(file.lifetime_seconds);
    if let Some(rise) = set.max_price_rise {
        file.max_price_rise = rise;
    }
    // What is written is known to be readable.
    agent.policy(&assets::table(&[], environment)?)?;
    agent.write()?;
    eprintln!("{} may spend as {} says", agent.name, agent.path.display());
    Ok(())
}
