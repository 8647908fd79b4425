//! The end of a round: everything has ended, and the checker judges.

use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::Command;
use tokio::task::JoinSet;
use tollway_checker::Ledger;

use crate::Failure;
use crate::buyer::ASSET;
use crate::plan::Scene;
use crate::world::{HELPER, Tools, World};

/// How long everything may take to end after the last start: the promise is a
/// minute.
const ENDED: Duration = Duration::from_secs(65);

/// Waits until every client has its answer and the ledger has nothing open.
pub async fn end(
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
pub fn open(ledger: &Ledger) -> usize {
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
pub async fn judge(tools: &Tools, world: &World) -> Result<Vec<String>, Failure> {
    let output = Command::new(&tools.checker)
        .args(["--rpc", &world.rpc()])
        .args(["--asset", &format!("{ASSET:#x}")])
        .args(["--signer", &World::signer()])
        .args(["--helper", &format!("{:#x}", HELPER.address)])
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
