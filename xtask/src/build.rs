//! Builds what a task runs, and keeps copies: another build must not replace a
//! program while it is used.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use serde_json::Value;
use tokio::process::Command;
use tollway_sweep::Tools;

/// Where the workspace is.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The binary with its places to crash at, and the checker.
pub async fn tools(folder: &Path) -> Result<Tools, String> {
    tools_with("failpoints", folder).await
}

/// The same, and with the deliberate bugs in it.
pub async fn mistaken_tools(folder: &Path) -> Result<Tools, String> {
    tools_with("failpoints,seeded-mistakes", folder).await
}

async fn tools_with(features: &str, folder: &Path) -> Result<Tools, String> {
    let tollway = [
        "build",
        "--package",
        "tollway",
        "--bin",
        "tollway",
        "--features",
        features,
    ];
    let checker = ["build", "--package", "tollway-checker"];
    Ok(Tools {
        tollway: program(&tollway, folder).await?,
        checker: program(&checker, folder).await?,
        mistake: None,
        postgres: Arc::default(),
    })
}

/// Builds one program and copies it to `folder`.
async fn program(words: &[&str], folder: &Path) -> Result<PathBuf, String> {
    let messages = messages(words).await?;
    let built = messages.iter().rev();
    let built = built
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .next()
        .ok_or_else(|| format!("{} makes no program", words.join(" ")))?;
    copy(&built, folder)
}

/// Programs that were built before: the binary, and the checker.
pub fn given(tollway: &Path, checker: &Path, folder: &Path) -> Result<Tools, String> {
    Ok(Tools {
        tollway: copy(tollway, folder)?,
        checker: copy(checker, folder)?,
        mistake: None,
        postgres: Arc::default(),
    })
}

/// A running copy stays what it was.
fn copy(program: &Path, folder: &Path) -> Result<PathBuf, String> {
    // A server runs in its round's folder.
    let folder = std::fs::canonicalize(folder).map_err(|e| e.to_string())?;
    let program =
        std::fs::canonicalize(program).map_err(|e| format!("{}: {e}", program.display()))?;
    let copy = folder.join(program.file_name().unwrap_or_default());
    if copy == program {
        return Ok(copy);
    }
    let _ = std::fs::remove_file(&copy);
    std::fs::copy(&program, &copy).map_err(|e| format!("{}: {e}", program.display()))?;
    Ok(copy)
}

/// Runs cargo, and returns what it says of what it built.
pub async fn messages(words: &[&str]) -> Result<Vec<Value>, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // What `cargo run` told us of ourselves would change what is built: ring looks at it,
    // and with it all would be built anew that builds on ring.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    let output = command
        .current_dir(root())
        .args(words)
        .args(["--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .await
        .map_err(|e| format!("cargo: {e}"))?;
    if !output.status.success() {
        return Err(format!("cargo {} failed", words.join(" ")));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    Ok(messages.collect())
}
