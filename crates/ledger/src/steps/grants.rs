//! The steps of grants.

use serde_json::{Value, json};
use tollway_core::{Amount, GrantId, Timestamp, mistake};

use super::grant_rows::{by_id, by_identifier, by_identity, open, record};
use super::payments::digest;
use super::{fresh_name, meters, passes, transfers};
use crate::failure::corrupt;
use crate::sql::{Statement, json as text, millis, sql};
use crate::store::Step;
use crate::{
    Claim, Evidence, GrantRecord, GrantState, LedgerError, NewGrant, Release, StoredAnswer,
};

pub(super) async fn load(step: &mut Step, id: &GrantId) -> Result<GrantRecord, LedgerError> {
    match step.find(by_id(id)).await? {
        Some(row) => record(&row),
        None => Err(LedgerError::NotFound(id.to_string())),
    }
}

/// The grant, unless its owner is another than the handle's: whoever was taken
/// for dead and wakes leaves alone what was taken over from it.
pub(super) async fn own(
    step: &mut Step,
    id: &GrantId,
    owner: Option<&str>,
    what: &'static str,
) -> Result<GrantRecord, LedgerError> {
    let grant = load(step, id).await?;
    match owner {
        Some(owner) if owner != grant.grant.owner => Err(LedgerError::Conflict {
            subject: grant.id.to_string(),
            state: "another gate's".to_owned(),
            step: what,
        }),
        _ => Ok(grant),
    }
}

pub(super) fn conflict(grant: &GrantRecord, step: &'static str) -> LedgerError {
    LedgerError::Conflict {
        subject: grant.id.to_string(),
        state: grant.state.to_string(),
        step,
    }
}

/// `upfront` settles before it serves; every other flow serves first.
fn settles_first(grant: &GrantRecord) -> bool {
    grant.grant.flow == "upfront"
}

pub(crate) async fn claim(
    step: &mut Step,
    new: &NewGrant,
    now: Timestamp,
) -> Result<Claim, LedgerError> {
    let claimed = GrantRecord {
        id: GrantId::from_text(fresh_name("grt", now)?),
        grant: new.clone(),
        state: GrantState::Claimed,
        evidence: None,
        receipt: None,
        refusal: None,
        reclaimable: false,
        has_answer: false,
        claimed_at: now,
    };
    // The unique indexes decide; what is reclaimable is in none of them.
    if step.run(insertion(&claimed)?).await? == 0 && !mistake::is("two_grants") {
        return holder(step, &claimed.grant).await;
    }
    Ok(Claim::New(claimed))
}

/// Whether a grant is so far nothing but a claim that anybody may make and that
/// may come to nothing: then it has no story yet.
fn has_no_story(grant: &GrantRecord) -> bool {
    match grant.state {
        GrantState::Claimed => true,
        GrantState::Settling => settles_first(grant) && grant.receipt.is_none(),
        _ => false,
    }
}

/// Tells what was kept back of a grant's story; called before every step but
/// those that leave it without one.
pub(super) async fn begin_story(step: &mut Step, grant: &GrantRecord) -> Result<(), LedgerError> {
    if !has_no_story(grant) {
        return Ok(());
    }
    let new = &grant.grant;
    let facts = json!({
        "route": new.route,
        "network": new.identity.network,
        "asset": new.expected.asset,
        "from": new.expected.from,
        "to": new.expected.to,
        "amount": new.expected.amount,
        "flow": new.flow,
        "owner": new.owner,
    });
    let id = grant.id.as_str();
    step.tell(id, "claimed", facts, grant.claimed_at).await?;
    let settling = sql("SELECT settling_at FROM grants WHERE id = $1");
    let row = step.find(settling.bind(id.to_owned())).await?;
    let settling_at = match &row {
        Some(row) => row.opt_number("settling_at")?,
        None => None,
    };
    match settling_at.map(Timestamp::from_millis) {
        Some(at) => step.tell(id, "settling", json!({}), at).await,
        None => Ok(()),
    }
}

/// Who holds what a claim asked for.
async fn holder(step: &mut Step, asked: &NewGrant) -> Result<Claim, LedgerError> {
    if let Some(holder) = identifier_holder(step, asked).await? {
        return Ok(Claim::IdentifierTaken(holder));
    }
    let row = step.find(by_identity(&asked.identity)).await?;
    let row = row.ok_or_else(|| corrupt("grant", "neither new nor known"))?;
    record(&row).map(Claim::Existing)
}

/// Another payload's grant that holds the identifier. What can be claimed
/// again holds nothing.
async fn identifier_holder(
    step: &mut Step,
    new: &NewGrant,
) -> Result<Option<GrantRecord>, LedgerError> {
    let Some(identifier) = &new.payment_identifier else {
        return Ok(None);
    };
    let Some(row) = step.find(by_identifier(identifier)).await? else {
        return Ok(None);
    };
    let holder = record(&row)?;
    let same_payload =
        holder.grant.identity == new.identity && holder.grant.payload_digest == new.payload_digest;
    Ok((!holder.reclaimable && !same_payload).then_some(holder))
}

fn insertion(claimed: &GrantRecord) -> Result<Statement, LedgerError> {
    let grant = &claimed.grant;
    let pass = grant.pass.as_ref().map(text).transpose()?;
    Ok(sql(
        "INSERT INTO grants (id, identity, network, scope, payer, nonce, asset, from_account,
             to_account, amount, deadline, route, method, url, body_digest, payload_digest,
             payment_identifier, flow, owner, pass, state, is_open, reclaimable, claimed_at,
             updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
             $18, $19, $20, 'claimed', 1, 0, $21, $21)
         ON CONFLICT DO NOTHING",
    )
    .bind(claimed.id.to_string())
    .bind(digest(&grant.identity))
    .bind(grant.identity.network.to_string())
    .bind(grant.identity.scope.clone())
    .bind(grant.identity.payer.to_string())
    .bind(grant.identity.nonce.clone())
    .bind(grant.expected.asset.to_string())
    .bind(grant.expected.from.to_string())
    .bind(grant.expected.to.to_string())
    .bind(grant.expected.amount.to_string())
    .bind(millis(grant.deadline))
    .bind(grant.route.clone())
    .bind(grant.method.clone())
    .bind(grant.url.clone())
    .bind(grant.body_digest.clone())
    .bind(grant.payload_digest.clone())
    .bind(grant.payment_identifier.clone())
    .bind(grant.flow.clone())
    .bind(grant.owner.clone())
    .bind(pass)
    .bind(millis(claimed.claimed_at)))
}

pub(crate) async fn served(
    step: &mut Step,
    id: &GrantId,
    owner: Option<&str>,
    answer: Option<&StoredAnswer>,
    charged: Option<Amount>,
    now: Timestamp,
) -> Result<(), LedgerError> {
    const WHAT: &str = "serve it";
    let grant = own(step, id, owner, WHAT).await?;
    let expected = if settles_first(&grant) {
        GrantState::Settling
    } else {
        GrantState::Claimed
    };
    let permitted = grant.grant.expected.amount;
    if grant.state != expected || charged.is_some_and(|charged| charged > permitted) {
        return Err(conflict(&grant, WHAT));
    }
    begin_story(step, &grant).await?;
    let mut facts = json!({
        "status": answer.map(|a| a.status),
        "stored_bytes": answer.map(|a| a.body.len()),
    });
    if let Some(charged) = charged {
        facts["charged"] = json!(charged.to_string());
    }
    if let Some(answer) = answer {
        store_answer(step, id, answer, now).await?;
    }
    let update = sql(
        "UPDATE grants SET state = 'served', amount = COALESCE($3, amount), updated_at = $2
         WHERE id = $1",
    )
    .bind(id.to_string())
    .bind(millis(now))
    .bind(charged.map(|charged| charged.to_string()));
    step.run(update).await?;
    step.tell(id.as_str(), "served", facts, now).await
}

async fn store_answer(
    step: &mut Step,
    id: &GrantId,
    answer: &StoredAnswer,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let headers: Vec<_> = answer
        .headers
        .iter()
        .map(|(name, value)| (name, hex::encode(value)))
        .collect();
    let insert = sql(
        "INSERT INTO answers (grant_id, status, headers, body, stored_at)
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(id.to_string())
    .bind(i64::from(answer.status))
    .bind(text(&headers)?)
    .bind(answer.body.clone())
    .bind(millis(now));
    step.run(insert).await.map(|_| ())
}

pub(crate) async fn settling(
    step: &mut Step,
    id: &GrantId,
    owner: Option<&str>,
    now: Timestamp,
) -> Result<(), LedgerError> {
    const WHAT: &str = "settle it";
    let grant = own(step, id, owner, WHAT).await?;
    let expected = if settles_first(&grant) {
        GrantState::Claimed
    } else {
        GrantState::Served
    };
    if grant.state != expected {
        return Err(conflict(&grant, WHAT));
    }
    let update = sql(
        "UPDATE grants SET state = 'settling', settling_at = $2, updated_at = $2 WHERE id = $1",
    );
    step.run(update.bind(id.to_string()).bind(millis(now)))
        .await?;
    if has_no_story(&grant) {
        return Ok(());
    }
    step.tell(id.as_str(), "settling", json!({}), now).await
}

/// A grant whose answer leaves before it is settled: it opened a pass, or it is
/// metered. Settling begins there and then.
pub(super) async fn settles_at_once(
    step: &mut Step,
    mut grant: GrantRecord,
    now: Timestamp,
) -> Result<GrantRecord, LedgerError> {
    let update = sql(
        "UPDATE grants SET state = 'settling', settling_at = $2, updated_at = $2 WHERE id = $1",
    );
    step.run(update.bind(grant.id.to_string()).bind(millis(now)))
        .await?;
    step.tell(grant.id.as_str(), "settling", json!({}), now)
        .await?;
    grant.state = GrantState::Settling;
    Ok(grant)
}

fn is_in_background(grant: &GrantRecord) -> bool {
    grant.grant.flow == "background"
}

pub(crate) async fn release(
    step: &mut Step,
    id: &GrantId,
    owner: Option<&str>,
    evidence: &Evidence,
    receipt: &Value,
    now: Timestamp,
) -> Result<Release, LedgerError> {
    const WHAT: &str = "release it";
    let grant = own(step, id, owner, WHAT).await?;
    let allowed = match grant.state {
        GrantState::Settling => !settles_first(&grant),
        // Where nothing was owed there was nothing to settle.
        GrantState::Served => settles_first(&grant) || *evidence == Evidence::Nothing,
        _ => false,
    };
    if !allowed {
        return Err(conflict(&grant, WHAT));
    }
    if !count(step, &grant, evidence).await? {
        return Ok(Release::Anothers);
    }
    let update = sql(
        "UPDATE grants SET state = 'released', is_open = 0, evidence = $2, receipt = $3,
             updated_at = $4 WHERE id = $1",
    )
    .bind(id.to_string())
    .bind(text(evidence)?)
    .bind(text(receipt)?)
    .bind(millis(now));
    step.run(update).await?;
    if is_in_background(&grant) {
        passes::settled(step, id, receipt, now).await?;
    }
    meters::ended(step, &grant, Amount::ZERO, now).await?;
    let mut facts = json!({ "evidence": evidence });
    if meters::is_metered(&grant) {
        facts["charged"] = json!(grant.grant.expected.amount);
    }
    step.tell(id.as_str(), "released", facts, now).await?;
    let pass = match &grant.grant.pass {
        Some(sold) if !is_in_background(&grant) => {
            Some(passes::bought(step, &grant, sold, receipt, now).await?)
        }
        _ => None,
    };
    Ok(Release::Released(pass.map(Box::new)))
}

/// Counts the Transfer that a grant rests on; false if it is another's.
async fn count(
    step: &mut Step,
    grant: &GrantRecord,
    evidence: &Evidence,
) -> Result<bool, LedgerError> {
    match evidence.transfer() {
        Some((transaction, index)) if !mistake::is("release_counts_no_log") => {
            transfers::count(step, grant.into(), transaction, index).await
        }
        _ => Ok(true),
    }
}

pub(crate) async fn settled_first(
    step: &mut Step,
    id: &GrantId,
    owner: Option<&str>,
    evidence: &Evidence,
    receipt: &Value,
    now: Timestamp,
) -> Result<bool, LedgerError> {
    const WHAT: &str = "write down that it is paid";
    let grant = own(step, id, owner, WHAT).await?;
    let may_be_paid = matches!(grant.state, GrantState::Settling | GrantState::Served);
    if !may_be_paid || !settles_first(&grant) {
        return Err(conflict(&grant, WHAT));
    }
    if !count(step, &grant, evidence).await? {
        return Ok(false);
    }
    begin_story(step, &grant).await?;
    let update =
        sql("UPDATE grants SET evidence = $2, receipt = $3, updated_at = $4 WHERE id = $1")
            .bind(id.to_string())
            .bind(text(evidence)?)
            .bind(text(receipt)?)
            .bind(millis(now));
    step.run(update).await?;
    let facts = json!({ "transaction": receipt.get("transaction"), "evidence": evidence });
    step.tell(id.as_str(), "receipt", facts, now).await?;
    Ok(true)
}

/// How a grant is refused.
#[derive(Clone)]
pub(crate) struct Refused {
    pub code: String,
    pub message: String,
    pub reclaimable: bool,
    /// Of what was paid all the same, where a transaction is known.
    pub receipt: Option<Value>,
}

pub(crate) async fn refuse(
    step: &mut Step,
    id: &GrantId,
    owner: Option<&str>,
    why: &Refused,
    now: Timestamp,
) -> Result<(), LedgerError> {
    const WHAT: &str = "refuse it";
    let code = why.code.as_str();
    let grant = own(step, id, owner, WHAT).await?;
    if matches!(grant.state, GrantState::Released | GrantState::Refused) {
        return Err(conflict(&grant, WHAT));
    }
    // Its token, or some of its answer, has left: nobody claims it again.
    let has_left = is_in_background(&grant) || meters::has_begun(&grant);
    let reclaimable = why.reclaimable && !has_left;
    let leaves_no_story = reclaimable && has_no_story(&grant) && why.receipt.is_none();
    if !leaves_no_story {
        begin_story(step, &grant).await?;
    }
    if let Some(receipt) = &why.receipt {
        keep_receipt(step, id, receipt, now).await?;
    }
    let facts = json!({ "code": code, "reclaimable": reclaimable });
    let update = sql(
        "UPDATE grants SET state = 'refused', is_open = 0, refusal_code = $2,
             refusal_message = $3, reclaimable = $4, updated_at = $5 WHERE id = $1",
    )
    .bind(id.to_string())
    .bind(code.to_owned())
    .bind(why.message.clone())
    .bind(i64::from(reclaimable))
    .bind(millis(now));
    step.run(update).await?;
    if is_in_background(&grant) {
        passes::failed(step, &grant.grant.identity, code, now).await?;
    }
    // What was handed out of it is lost.
    meters::ended(step, &grant, grant.grant.expected.amount, now).await?;
    // No answer leaves any more, so none is kept.
    let delete = sql("DELETE FROM answers WHERE grant_id = $1");
    step.run(delete.bind(id.to_string())).await?;
    if leaves_no_story {
        return Ok(());
    }
    step.tell(id.as_str(), "refused", facts, now).await
}

pub(crate) async fn remember_receipt(
    step: &mut Step,
    id: &GrantId,
    owner: Option<&str>,
    receipt: &Value,
    now: Timestamp,
) -> Result<(), LedgerError> {
    const WHAT: &str = "remember a receipt";
    let grant = own(step, id, owner, WHAT).await?;
    let is_settled_first = grant.state == GrantState::Served && settles_first(&grant);
    if grant.state != GrantState::Settling && !is_settled_first {
        return Err(conflict(&grant, WHAT));
    }
    begin_story(step, &grant).await?;
    keep_receipt(step, id, receipt, now).await
}

async fn keep_receipt(
    step: &mut Step,
    id: &GrantId,
    receipt: &Value,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let update = sql("UPDATE grants SET receipt = $2, updated_at = $3 WHERE id = $1")
        .bind(id.to_string())
        .bind(text(receipt)?)
        .bind(millis(now));
    step.run(update).await?;
    let facts = json!({
        "transaction": receipt.get("transaction"),
        "code": receipt.get("errorReason"),
    });
    step.tell(id.as_str(), "receipt", facts, now).await
}

/// Who lives: those that are named, and where several machines share the ledger,
/// every replica that beats, by the store's clock.
async fn living(step: &mut Step, named: &[String]) -> Result<Vec<String>, LedgerError> {
    let mut alive = named.to_vec();
    if step.is_shared() {
        let replicas = sql("SELECT id FROM replicas WHERE alive_until > $1");
        let store_now = millis(step.store_now().await?);
        for row in step.list(replicas.bind(store_now)).await? {
            alive.push(row.text("id")?);
        }
    }
    Ok(alive)
}

/// Makes a grant one's own unless its owner lives. In one step with the look at
/// who lives: of several that try, one gets it.
pub(crate) async fn take_over(
    step: &mut Step,
    id: &GrantId,
    heir: &str,
    alive: &[String],
    now: Timestamp,
) -> Result<Option<GrantRecord>, LedgerError> {
    let mut grant = load(step, id).await?;
    let is_over = matches!(grant.state, GrantState::Released | GrantState::Refused);
    if is_over || grant.grant.owner == heir {
        return Ok(Some(grant));
    }
    if living(step, alive).await?.contains(&grant.grant.owner) {
        return Ok(None);
    }
    let update = sql("UPDATE grants SET owner = $2 WHERE id = $1");
    step.run(update.bind(id.to_string()).bind(heir.to_owned()))
        .await?;
    let from = std::mem::replace(&mut grant.grant.owner, heir.to_owned());
    if !has_no_story(&grant) {
        let facts = json!({ "by": heir, "from": from });
        step.tell(id.as_str(), "taken_over", facts, now).await?;
    }
    Ok(Some(grant))
}

/// With the flow `upfront`, what was served was settled before: it stays.
pub(crate) async fn refuse_orphans(
    step: &mut Step,
    alive: &[String],
    now: Timestamp,
) -> Result<u64, LedgerError> {
    let alive = living(step, alive).await?;
    let mut refused = 0;
    for row in step.list(open()).await? {
        let grant = record(&row)?;
        if !is_before_settling(&grant) || alive.contains(&grant.grant.owner) {
            continue;
        }
        let why = Refused {
            code: "server_stopped".to_owned(),
            message: "The server stopped before it could answer; send the same payment again."
                .to_owned(),
            reclaimable: true,
            receipt: None,
        };
        refuse(step, &grant.id, None, &why, now).await?;
        refused += 1;
    }
    Ok(refused)
}

fn is_before_settling(grant: &GrantRecord) -> bool {
    match grant.state {
        GrantState::Claimed => true,
        GrantState::Served => !settles_first(grant),
        _ => false,
    }
}
