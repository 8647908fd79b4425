//! Builds what a task runs, and keeps copies: another build must not replace a
//! program while it is used.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;
use tollway_sweep::Tools;

/// Where the workspace is.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The binary with its places to crash at, and the checker.
pub async fn tools(folder: &Path) -> Result<Tools, String> {
    let failpoints = [
        "--package",
        "tollway",
        "--bin",
        "tollway",
        "--features",
        "failpoints",
    ];
    Ok(Tools {
        tollway: program(&failpoints, folder).await?,
        checker: program(&["--package", "tollway-checker"], folder).await?,
    })
}

/// Builds one program and copies it to `folder`.
async fn program(selection: &[&str], folder: &Path) -> Result<PathBuf, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(root())
        .args(["build", "--message-format", "json-render-diagnostics"])
        .args(selection)
        .stderr(Stdio::inherit())
        .output()
        .await
        .map_err(|e| format!("cargo: {e}"))?;
    if !output.status.success() {
        return Err(format!("{} could not be built", selection.join(" ")));
    }
    let built = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .next_back()
        .ok_or_else(|| format!("{} is no program", selection.join(" ")))?;
    let copy = folder.join(built.file_name().unwrap_or_default());
    std::fs::copy(&built, &copy).map_err(|e| format!("{}: {e}", built.display()))?;
    Ok(copy)
}
