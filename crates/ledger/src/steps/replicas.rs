//! Who is alive, who uses which signer, and who takes over whose work. Every
//! moment here is the store's own clock's.

use std::time::Duration;

use serde_json::json;
use tollway_core::{Address, Network, PaymentId, Timestamp, mistake};

use super::fresh_name;
use super::payments::{self, page};
use crate::sql::{Statement, by_seq, int, millis, sql};
use crate::store::Step;
use crate::{Lease, LedgerError, PaymentRecord, Replica, ReplicaId};

fn until(now: Timestamp, ttl: Duration) -> i64 {
    let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
    int(now.millis().saturating_add(ttl))
}

/// Where one engine runs at a time, whoever joined before is dead.
pub(crate) async fn join(
    step: &mut Step,
    name: &str,
    ttl: Duration,
) -> Result<Replica, LedgerError> {
    let now = step.store_now().await?;
    if !step.is_shared() {
        let dead = sql("UPDATE replicas SET alive_until = 0 WHERE alive_until > 0");
        step.run(dead).await?;
    }
    let replica = Replica {
        id: ReplicaId::from_text(fresh_name("rep", now)?),
        name: name.to_owned(),
    };
    let insert =
        sql("INSERT INTO replicas (id, name, alive_until, joined_at) VALUES ($1, $2, $3, $4)")
            .bind(replica.id.to_string())
            .bind(replica.name.clone())
            .bind(until(now, ttl))
            .bind(millis(now));
    step.run(insert).await?;
    let facts = json!({ "name": name });
    step.tell(replica.id.as_str(), "joined", facts, now).await?;
    Ok(replica)
}

pub(crate) async fn beat(
    step: &mut Step,
    replica: &ReplicaId,
    ttl: Duration,
) -> Result<(), LedgerError> {
    let now = step.store_now().await?;
    let update = sql("UPDATE replicas SET alive_until = $2 WHERE id = $1");
    let update = update.bind(replica.to_string()).bind(until(now, ttl));
    match step.run(update).await? {
        0 => Err(LedgerError::NotFound(replica.to_string())),
        _ => Ok(()),
    }
}

pub(crate) async fn leave(step: &mut Step, replica: &ReplicaId) -> Result<(), LedgerError> {
    let now = step.store_now().await?;
    let held = sql("SELECT * FROM leases WHERE replica = $1").bind(replica.to_string());
    for row in step.list(held).await? {
        let lease = Lease {
            replica: replica.clone(),
            epoch: row.number("epoch")?,
            network: row.network("network")?,
            signer: row.address("signer")?,
        };
        release(step, &lease).await?;
    }
    let free = sql("UPDATE payments SET replica = NULL WHERE is_open = 1 AND replica = $1");
    step.run(free.bind(replica.to_string())).await?;
    let dead = sql("UPDATE replicas SET alive_until = 0 WHERE id = $1");
    step.run(dead.bind(replica.to_string())).await?;
    step.tell(replica.as_str(), "left", json!({}), now).await
}

/// The name of a signer in the story: `signer:NETWORK:SIGNER`.
fn subject(network: &Network, signer: &Address) -> String {
    format!("signer:{network}:{signer}")
}

pub(crate) async fn lease(
    step: &mut Step,
    replica: &ReplicaId,
    network: &Network,
    signer: &Address,
) -> Result<Option<Lease>, LedgerError> {
    let now = step.store_now().await?;
    let found = sql("SELECT l.replica, l.epoch, r.alive_until FROM leases l
         LEFT JOIN replicas r ON r.id = l.replica WHERE l.network = $1 AND l.signer = $2")
    .bind(network.to_string())
    .bind(signer.to_string());
    let mut lease = Lease {
        replica: replica.clone(),
        epoch: 1,
        network: network.clone(),
        signer: signer.clone(),
    };
    if let Some(row) = step.find(found).await? {
        lease.epoch = row.number("epoch")?;
        let holder = row.opt_text("replica")?;
        if holder.as_deref() == Some(replica.as_str()) {
            return Ok(Some(lease));
        }
        let alive_until = row.opt_number("alive_until")?.unwrap_or(0);
        if holder.is_some() && alive_until > now.millis() {
            return Ok(None);
        }
        lease.epoch += 1;
    }
    hold(step, &lease, now).await?;
    Ok(Some(lease))
}

/// Makes it the signer's lease. What the holder before left under the signer is
/// free to be adopted.
async fn hold(step: &mut Step, lease: &Lease, now: Timestamp) -> Result<(), LedgerError> {
    let store = sql(
        "INSERT INTO leases (network, signer, replica, epoch, leased_at)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (network, signer) DO UPDATE SET replica = excluded.replica,
             epoch = excluded.epoch, leased_at = excluded.leased_at",
    )
    .bind(lease.network.to_string())
    .bind(lease.signer.to_string())
    .bind(lease.replica.to_string())
    .bind(int(lease.epoch))
    .bind(millis(now));
    step.run(store).await?;
    step.run(under(OTHERS, lease)).await?;
    let facts = json!({ "replica": lease.replica, "epoch": lease.epoch });
    step.tell(
        &subject(&lease.network, &lease.signer),
        "leased",
        facts,
        now,
    )
    .await
}

/// Frees what a lease's holder has open under its signer.
const OWN: &str = "UPDATE payments SET replica = NULL WHERE is_open = 1
     AND slot_network = $1 AND slot_signer = $2 AND replica = $3";
/// Frees what everybody else has.
const OTHERS: &str = "UPDATE payments SET replica = NULL WHERE is_open = 1
     AND slot_network = $1 AND slot_signer = $2 AND replica <> $3";

fn under(frees: &'static str, lease: &Lease) -> Statement {
    sql(frees)
        .bind(lease.network.to_string())
        .bind(lease.signer.to_string())
        .bind(lease.replica.to_string())
}

async fn release(step: &mut Step, lease: &Lease) -> Result<(), LedgerError> {
    let now = step.store_now().await?;
    let update = sql(
        "UPDATE leases SET replica = NULL WHERE network = $1 AND signer = $2 AND replica = $3
             AND epoch = $4",
    );
    if step.run(keyed(update, lease)).await? == 0 {
        return Ok(());
    }
    step.run(under(OWN, lease)).await?;
    let facts = json!({ "replica": lease.replica, "epoch": lease.epoch });
    step.tell(
        &subject(&lease.network, &lease.signer),
        "released",
        facts,
        now,
    )
    .await
}

fn keyed(statement: Statement, lease: &Lease) -> Statement {
    statement
        .bind(lease.network.to_string())
        .bind(lease.signer.to_string())
        .bind(lease.replica.to_string())
        .bind(int(lease.epoch))
}

/// Whether the lease still is the signer's, in the commit of this very step.
/// Where several machines write at once, the step takes the lease's row: then
/// whoever takes the signer over waits for this commit, or this one fails.
pub(crate) async fn check(step: &mut Step, lease: &Lease) -> Result<(), LedgerError> {
    let is_held = if step.is_shared() {
        let take = sql("UPDATE leases SET leased_at = leased_at
             WHERE network = $1 AND signer = $2 AND replica = $3 AND epoch = $4");
        step.run(keyed(take, lease)).await? == 1
    } else {
        let held = sql("SELECT epoch FROM leases
             WHERE network = $1 AND signer = $2 AND replica = $3 AND epoch = $4");
        step.find(keyed(held, lease)).await?.is_some()
    };
    if is_held || mistake::is("stale_epoch_accepted") {
        return Ok(());
    }
    Err(LedgerError::LeaseLost {
        signer: lease.signer.to_string(),
    })
}

pub(crate) async fn adopt(
    step: &mut Step,
    replica: &ReplicaId,
    network: &Network,
    limit: u32,
) -> Result<Vec<PaymentRecord>, LedgerError> {
    let now = step.store_now().await?;
    let orphans = sql(
        "SELECT p.id, p.seq FROM payments p WHERE p.is_open = 1 AND p.network = $1
             AND (p.replica IS NULL OR (p.replica <> $2 AND p.replica NOT IN (
                 SELECT id FROM replicas WHERE alive_until > $3)))
             AND (p.slot_nonce IS NULL OR EXISTS (
                 SELECT 1 FROM leases l WHERE l.network = p.slot_network
                     AND l.signer = p.slot_signer AND l.replica = $2))",
    )
    .bind(network.to_string())
    .bind(replica.to_string())
    .bind(millis(now));
    let orphans = by_seq(step.list(orphans).await?)?;
    let limit = usize::try_from(page(limit)).unwrap_or_default();
    let mut adopted = Vec::new();
    for row in orphans.into_iter().take(limit) {
        let id = PaymentId::from_text(row.text("id")?);
        let mut payment = payments::load(step, &id).await?;
        let update = sql("UPDATE payments SET replica = $2 WHERE id = $1");
        let update = update.bind(payment.id.to_string());
        step.run(update.bind(replica.to_string())).await?;
        let facts = json!({ "by": replica, "from": payment.replica });
        step.tell(payment.id.as_str(), "adopted", facts, now)
            .await?;
        payment.replica = Some(replica.clone());
        adopted.push(payment);
    }
    Ok(adopted)
}

pub(crate) async fn give_up(
    step: &mut Step,
    id: &PaymentId,
    acting: Option<&ReplicaId>,
) -> Result<(), LedgerError> {
    const WHAT: &str = "give it up";
    let now = step.store_now().await?;
    let payment = payments::standing(step, id).await?;
    payment.check_owner(acting, WHAT)?;
    if !payment.is_open() {
        return Err(payment.conflict(WHAT));
    }
    let update = sql("UPDATE payments SET replica = NULL WHERE id = $1");
    step.run(update.bind(id.to_string())).await?;
    step.tell(id.as_str(), "given_up", json!({}), now).await
}
