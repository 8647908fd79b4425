//! Pages of records, the latest begun first, however many there are.

use super::Store;
use super::looks::{grant_state, look, payment_state};
use crate::LedgerError;
use crate::figures::{Listing, Side};
use crate::look::{LookKind, LookRow};
use crate::sql::{int, millis, sql};

/// Most records of one page.
const MOST: u32 = 1_000;

/// Payments, by a condition that one index answers. A plus before the time keeps
/// SQLite from the index over all times where few are asked for.
macro_rules! payments {
    ($plus:literal, $condition:literal) => {
        concat!(
            "SELECT r.seq, r.id, r.state, r.network, r.asset, r.from_account, r.to_account,
                 r.amount, r.updated_at, r.transaction_id, r.settled, r.refusal_code,
                 g.route AS place, r.accepted_at AS began_at
             FROM payments r LEFT JOIN grants g ON g.identity = r.identity AND g.reclaimable = 0
             WHERE ",
            $condition,
            "(",
            $plus,
            "r.accepted_at, r.seq) < ($1, $2) AND ",
            $plus,
            "r.accepted_at >= $3
                 AND ($4 = '' OR r.state = $4) AND ($5 = '' OR r.network = $5)
                 AND ($6 = '' OR r.from_account = $6) AND ($7 = '' OR g.route = $7)
             ORDER BY ",
            $plus,
            "r.accepted_at DESC, r.seq DESC LIMIT $8"
        )
    };
}

macro_rules! grants {
    ($plus:literal, $condition:literal) => {
        concat!(
            "SELECT r.seq, r.id, r.state, r.network, r.asset, r.from_account, r.to_account,
                 r.amount, r.updated_at, r.evidence, r.refusal_code, r.route AS place,
                 r.claimed_at AS began_at
             FROM grants r
             WHERE ",
            $condition,
            "(",
            $plus,
            "r.claimed_at, r.seq) < ($1, $2) AND ",
            $plus,
            "r.claimed_at >= $3
                 AND ($4 = '' OR r.state = $4) AND ($5 = '' OR r.network = $5)
                 AND ($6 = '' OR r.from_account = $6) AND ($7 = '' OR r.route = $7)
             ORDER BY ",
            $plus,
            "r.claimed_at DESC, r.seq DESC LIMIT $8"
        )
    };
}

/// The question whose index has the fewest rows for what is asked.
fn question(listing: &Listing, state: &str) -> &'static str {
    let has_payer = listing.payer.is_some();
    match (listing.side, state) {
        (Side::Settlements, _) if has_payer => payments!("", "r.from_account = $6 AND "),
        (Side::Settlements, "accepted" | "submitted") => payments!("+", "r.is_open = 1 AND "),
        (Side::Settlements, "refused" | "expired") => {
            payments!("", "r.state IN ('refused', 'expired') AND ")
        }
        (Side::Settlements, _) => payments!("", ""),
        (Side::Sales, _) if has_payer => grants!("", "r.from_account = $6 AND "),
        (Side::Sales, "claimed" | "served" | "settling") => grants!("+", "r.is_open = 1 AND "),
        (Side::Sales, _) if listing.route.is_some() => grants!("", "r.route = $7 AND "),
        (Side::Sales, "refused") => grants!("", "r.state = 'refused' AND "),
        (Side::Sales, _) => grants!("", ""),
    }
}

/// One record by its name, in the words of a look.
const PAYMENT: &str = "SELECT r.seq, r.id, r.state, r.network, r.asset, r.from_account,
         r.to_account, r.amount, r.updated_at, r.transaction_id, r.settled, r.refusal_code,
         g.route AS place, r.accepted_at AS began_at
     FROM payments r LEFT JOIN grants g ON g.identity = r.identity AND g.reclaimable = 0
     WHERE r.id = $1";
const GRANT: &str = "SELECT r.seq, r.id, r.state, r.network, r.asset, r.from_account,
         r.to_account, r.amount, r.updated_at, r.evidence, r.refusal_code, r.route AS place,
         r.claimed_at AS began_at
     FROM grants r WHERE r.id = $1";
const SPEND: &str = "SELECT r.seq, r.id, r.state, r.network, r.asset, r.account AS from_account,
         r.payee AS to_account, r.amount, r.updated_at, r.paid, r.transaction_id,
         r.host AS place, r.reserved_at AS began_at
     FROM spends r WHERE r.id = $1";

impl Store {
    /// A record by its name.
    ///
    /// # Errors
    /// The ledger's, if it cannot be read.
    pub async fn look_up(&self, id: &str) -> Result<Option<LookRow>, LedgerError> {
        let (kind, by_id) = match id.split('_').next() {
            Some("pay") => (LookKind::Payment, PAYMENT),
            Some("grt") => (LookKind::Grant, GRANT),
            Some("spd") => (LookKind::Spend, SPEND),
            _ => return Ok(None),
        };
        let row = self.find(sql(by_id).bind(id.to_owned())).await?;
        row.as_ref().map(|row| look(kind, row)).transpose()
    }

    /// The names of a purchase's other half: a payment's grants, or a grant's
    /// payment. At most ten.
    ///
    /// # Errors
    /// The ledger's, if it cannot be read.
    pub async fn other_half(&self, row: &LookRow) -> Result<Vec<String>, LedgerError> {
        let other = match row.kind {
            LookKind::Payment => {
                "SELECT g.id FROM payments p JOIN grants g ON g.identity = p.identity
                 WHERE p.id = $1 ORDER BY g.seq LIMIT 10"
            }
            LookKind::Grant => {
                "SELECT p.id FROM grants g JOIN payments p ON p.identity = g.identity
                 WHERE g.id = $1 LIMIT 10"
            }
            LookKind::Spend => return Ok(Vec::new()),
        };
        let rows = self.list(sql(other).bind(row.id.clone())).await?;
        rows.iter().map(|row| row.text("id")).collect()
    }

    /// A page of records, the latest begun first.
    ///
    /// # Errors
    /// The ledger's, if it cannot be read.
    pub async fn page(&self, listing: &Listing) -> Result<Vec<LookRow>, LedgerError> {
        let (kind, state) = match listing.side {
            Side::Settlements => (LookKind::Payment, payment_state(listing.state)),
            Side::Sales => (LookKind::Grant, grant_state(listing.state)),
        };
        let Some(state) = state else {
            return Ok(Vec::new());
        };
        let (at, seq) = match listing.before {
            Some(cursor) => (millis(cursor.at), int(cursor.seq)),
            None => (millis(listing.window.until), 0),
        };
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let page = sql(question(listing, state))
            .bind(at)
            .bind(seq)
            .bind(millis(listing.window.since))
            .bind(state)
            .bind(text(&listing.network))
            .bind(text(&listing.payer))
            .bind(text(&listing.route))
            .bind(i64::from(listing.limit.clamp(1, MOST)));
        let rows = self.list(page).await?;
        rows.iter().map(|row| look(kind, row)).collect()
    }
}

#[cfg(test)]
mod tests {
    use tollway_core::Timestamp;

    use super::*;
    use crate::figures::Window;

    fn asked(side: Side) -> Listing {
        Listing {
            side,
            window: Window {
                since: Timestamp::default(),
                until: Timestamp::from_millis(1),
            },
            state: None,
            payer: None,
            route: None,
            network: None,
            before: None,
            limit: 50,
        }
    }

    /// How SQLite would find a page; a sorted page that is read in order needs no
    /// further steps.
    fn plan(listing: &Listing, state: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let url = format!("sqlite:{}", path.display());
            Store::open(&url).await.unwrap().close().await;
        });
        let conn = rusqlite::Connection::open(&path).unwrap();
        let explained = format!("EXPLAIN QUERY PLAN {}", question(listing, state));
        let mut explained = conn.prepare(&explained).unwrap();
        let mut rows = explained.raw_query();
        let mut steps = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            steps.push(row.get::<_, String>("detail").unwrap());
        }
        steps.join("; ")
    }

    #[test]
    fn every_page_is_read_in_the_order_of_an_index() {
        let of_payer = |side| Listing {
            payer: Some("0x".to_owned()),
            ..asked(side)
        };
        let of_route = Listing {
            route: Some("/".to_owned()),
            ..asked(Side::Sales)
        };
        for (listing, state, index) in [
            (asked(Side::Settlements), "", "payments_newest"),
            (asked(Side::Settlements), "settled", "payments_newest"),
            (asked(Side::Settlements), "refused", "payments_failed"),
            (of_payer(Side::Settlements), "", "payments_of_payer"),
            (of_payer(Side::Settlements), "refused", "payments_of_payer"),
            (asked(Side::Sales), "", "grants_newest"),
            (asked(Side::Sales), "refused", "grants_refused"),
            (of_payer(Side::Sales), "released", "grants_of_payer"),
            (of_route, "refused", "grants_of_route"),
        ] {
            let plan = plan(&listing, state);
            assert!(plan.contains(index), "{listing:?} {state}: {plan}");
            assert!(!plan.contains("TEMP B-TREE"), "{listing:?} {state}: {plan}");
        }
        // What is open is little: it is sorted when it is found.
        for (side, state, index) in [
            (Side::Settlements, "submitted", "payments_open"),
            (Side::Sales, "settling", "grants_open"),
        ] {
            let plan = plan(&asked(side), state);
            assert!(plan.contains(index), "{side:?}: {plan}");
        }
    }
}
