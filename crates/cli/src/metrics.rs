//! The process's metrics, for `/metrics`: one table of all that our programs export.

use std::collections::BTreeMap;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tollway_core::assets;
use tollway_ledger::Store;

use crate::exit::Failure;

/// Old samples are folded this often.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);
/// Upper bounds of what takes time, in seconds.
const SECONDS: [f64; 14] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0,
];

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts of what took at most so long.
    Histogram,
}

/// A metric that our programs export.
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its labels. All are bounded: networks, assets and signers of the settings, patterns of routes,
    /// codes of the one table, and words of ours.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

/// Shorthand for the table.
const fn metric(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric {
        name,
        kind,
        labels,
        help,
    }
}

use Kind::{Counter, Gauge, Histogram};

/// All of them, as docs/operations.md lists them.
#[rustfmt::skip]
pub const TABLE: &[Metric] = &[
    metric("tollway_gate_requests_total", Counter, &["route", "outcome"], "Requests of priced routes: challenged (402 with terms), paid, token, refused"),
    metric("tollway_gate_refusals_total", Counter, &["code"], "Payments that a gate did not take, by error code"),
    metric("tollway_gate_sign_ins_total", Counter, &["outcome", "code"], "Sign-ins of who paid before: accepted, or refused with an error code"),
    metric("tollway_gate_events_total", Counter, &["kind"], "What happened at a gate"),
    metric("tollway_gate_settle_seconds", Histogram, &[], "From asking for a settlement until its outcome was known"),
    metric("tollway_gate_open_settlements", Gauge, &["age"], "Settlements that have not ended, by time since they were claimed"),
    metric("tollway_gate_oldest_settlement_seconds", Gauge, &[], "Age of the oldest of them"),
    metric("tollway_gate_unknown_settlements", Gauge, &[], "Settlements whose outcome nobody could say when it was last looked"),
    metric("tollway_gate_webhook_lag_seconds", Gauge, &[], "Age of the oldest notice that the seller's server did not take"),
    metric("tollway_exposure_open", Gauge, &["network", "asset"], "Handed out and not settled, in units of the asset"),
    metric("tollway_requests_total", Counter, &["step", "network", "scheme", "outcome", "code"], "Calls to verify and settle"),
    metric("tollway_request_seconds", Histogram, &["step", "network"], "How long they took"),
    metric("tollway_payments_ended_total", Counter, &["network", "state"], "Payments that were settled, refused or expired"),
    metric("tollway_payments_by_age", Gauge, &["network", "state", "age"], "Open payments: accepted ones wait for a transaction, submitted ones for an outcome"),
    metric("tollway_oldest_payment_seconds", Gauge, &["network", "state"], "Age of the oldest of them"),
    metric("tollway_payments_taken_back_total", Counter, &["network"], "Settled payments whose block was replaced"),
    metric("tollway_open_payments", Gauge, &["network"], "Payments that have not ended"),
    metric("tollway_open_slots", Gauge, &["network"], "Transactions whose nonce is not known to be used"),
    metric("tollway_broadcasts_total", Counter, &["network", "answer"], "What nodes answered to transactions"),
    metric("tollway_settlement_items_total", Counter, &["network", "outcome"], "Payments in transactions that moved them, or that cost gas for nothing"),
    metric("tollway_signer_balance_coins", Gauge, &["network", "signer"], "What a settling account has for gas, in the network's coin"),
    metric("tollway_signer_payments_left", Gauge, &["network", "signer"], "How many payments that is enough for, at what they cost since the start"),
    metric("tollway_low_signers", Gauge, &["network"], "Settling accounts that are low on gas and not used"),
    metric("tollway_network_ready", Gauge, &["network"], "Whether the network's node can be used: 1 or 0"),
    metric("tollway_head_block", Gauge, &["network"], "The newest block that was seen"),
    metric("tollway_head_seen_timestamp_seconds", Gauge, &["network"], "When it was first seen, in seconds since 1970"),
    metric("tollway_ledger_writable", Gauge, &[], "Whether the ledger takes steps: 1 or 0"),
    metric("tollway_ledger_commit_seconds", Histogram, &[], "How long the ledger's commits took"),
    metric("tollway_ledger_commits_total", Counter, &[], "The ledger's commits"),
    metric("tollway_ledger_steps_total", Counter, &[], "Steps that shared them"),
    metric("tollway_ledger_failures_total", Counter, &[], "Steps of the engine that the ledger did not take"),
    metric("tollway_tls_certificate_ends_seconds", Gauge, &[], "When the certificate ends, in seconds since 1970"),
    metric("tollway_tls_handshakes_failed_total", Counter, &["outcome"], "TLS handshakes that failed or were late"),
    metric("tollway_settings_read_total", Counter, &["outcome"], "Settings that were read anew: taken or refused"),
    metric("tollway_settings_refused", Gauge, &[], "Whether what is in the files now was refused: 1 or 0"),
    metric("tollway_draining", Gauge, &[], "Whether the server is going out of service: 1 or 0"),
];

/// Installs the recorder and keeps it tidy.
pub fn install() -> Result<PrometheusHandle, Failure> {
    let failed = |e: &dyn std::fmt::Display| {
        Failure::new(format!("Metrics cannot start: {e}; report this."))
    };
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .map_err(|e| failed(&e))?
        .install_recorder()
        .map_err(|e| failed(&e))?;
    for metric in TABLE {
        let says = match metric.labels {
            [] => metric.help.to_owned(),
            labels => format!("{} (by {})", metric.help, labels.join(", ")),
        };
        match metric.kind {
            Counter => metrics::describe_counter!(metric.name, says),
            Gauge => metrics::describe_gauge!(metric.name, says),
            Histogram => metrics::describe_histogram!(metric.name, says),
        }
    }
    let upkeep = handle.clone();
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(UPKEEP_INTERVAL);
        loop {
            ticks.tick().await;
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}

/// How often the ledger is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Looks at a ledger now and then, as long as somebody does.
pub async fn watch(ledger: Store) {
    let mut ticks = tokio::time::interval(LOOK_INTERVAL);
    let mut shown = BTreeMap::new();
    loop {
        ticks.tick().await;
        let is_writable = ledger.is_writable();
        metrics::gauge!("tollway_ledger_writable").set(if is_writable { 1.0 } else { 0.0 });
        let stats = ledger.stats();
        metrics::counter!("tollway_ledger_commits_total").absolute(stats.commits);
        metrics::counter!("tollway_ledger_steps_total").absolute(stats.steps);
        show_exposures(&ledger, &mut shown).await;
    }
}

/// What is open in the assets that are known. What was open and is not is zero.
async fn show_exposures(ledger: &Store, shown: &mut BTreeMap<(String, String), String>) {
    let Ok(open) = ledger.open_exposures().await else {
        return;
    };
    for amount in shown.values_mut() {
        "0".clone_into(amount);
    }
    for exposure in open {
        if let Some(asset) = assets::find(&exposure.network, &exposure.asset) {
            let place = (asset.network.to_string(), asset.symbol.to_string());
            shown.insert(place, exposure.amount.to_decimal(asset.decimals));
        }
    }
    for ((network, asset), amount) in shown {
        metrics::gauge!("tollway_exposure_open", "network" => network.clone(), "asset" => asset.clone())
            .set(amount.parse().unwrap_or(0.0));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use super::*;

    fn top() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    fn read(path: &str) -> String {
        std::fs::read_to_string(top().join(path)).unwrap()
    }

    /// All words of a text that are names of ours.
    fn names(text: &str) -> BTreeSet<String> {
        let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let words = text.split(|c: char| !is_part(c));
        let ours = words.filter(|word| word.starts_with("tollway_"));
        ours.map(str::to_owned).collect()
    }

    fn exported() -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        for metric in TABLE {
            assert!(
                all.insert(metric.name.to_owned()),
                "{} is there twice",
                metric.name
            );
            if metric.kind == Histogram {
                all.extend(
                    ["bucket", "sum", "count"].map(|part| format!("{}_{part}", metric.name)),
                );
            }
        }
        all
    }

    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => sources(&path, found),
                false if path.extension().is_some_and(|e| e == "rs") => found.push(path),
                false => {}
            }
        }
    }

    #[test]
    fn the_table_has_every_metric_that_is_measured_and_no_other() {
        let mut files = Vec::new();
        for room in [
            "cli",
            "core",
            "evm",
            "facilitator",
            "gate",
            "ledger",
            "payer",
            "rpc",
            "starknet",
        ] {
            sources(&top().join("crates").join(room).join("src"), &mut files);
        }
        let mut measured = BTreeSet::new();
        for file in files
            .iter()
            .filter(|file| !file.ends_with("cli/src/metrics.rs"))
        {
            let text = std::fs::read_to_string(file).unwrap();
            let quoted = text.split('"').filter(|part| part.starts_with("tollway_"));
            let plain = quoted.filter(|part| names(part).contains(*part));
            measured.extend(plain.filter(|name| name.contains(['_'])).map(str::to_owned));
        }
        let own = [
            "tollway_ledger_writable",
            "tollway_ledger_commits_total",
            "tollway_ledger_steps_total",
            "tollway_exposure_open",
        ];
        measured.extend(own.map(str::to_owned));
        // The dashboard's cookie.
        measured.remove("tollway_dashboard");
        let listed: BTreeSet<String> = TABLE.iter().map(|m| m.name.to_owned()).collect();
        assert_eq!(measured, listed);
    }

    #[test]
    fn dashboard_and_alerts_use_only_what_is_exported() {
        let exported = exported();
        for (file, least) in [
            ("packaging/grafana/dashboard.json", 20),
            ("packaging/alerts.yml", 12),
        ] {
            let used = names(&read(file));
            let unknown: Vec<_> = used.difference(&exported).collect();
            assert!(unknown.is_empty(), "{file}: {unknown:?}");
            assert!(used.len() >= least, "{file} uses {}", used.len());
        }
        let dashboard: serde_json::Value =
            serde_json::from_str(&read("packaging/grafana/dashboard.json")).unwrap();
        let panels = dashboard["panels"].as_array().unwrap();
        for panel in panels.iter().filter(|panel| panel["type"] != "row") {
            let targets = panel["targets"].as_array().unwrap();
            assert!(!targets.is_empty() && panel["title"].is_string(), "{panel}");
            for target in targets {
                assert!(
                    !names(target["expr"].as_str().unwrap()).is_empty(),
                    "{panel}"
                );
            }
        }
    }

    #[test]
    fn the_page_for_operators_lists_every_metric() {
        let page = read("docs/operations.md");
        for metric in TABLE {
            let labels = match metric.labels {
                [] => "–".to_owned(),
                labels => format!("`{}`", labels.join("`, `")),
            };
            let kind = format!("{:?}", metric.kind).to_lowercase();
            let row = format!(
                "| `{}` | {kind} | {labels} | {} |",
                metric.name, metric.help
            );
            assert!(
                page.contains(&row),
                "docs/operations.md lacks this row:\n{row}"
            );
        }
        let listed = names(&page);
        let unknown: Vec<_> = listed.difference(&exported()).cloned().collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}
