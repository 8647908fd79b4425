//! The user that a server runs as: it refuses to be root.

use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

/// Numbers of a user and its group; none where the test's own user will do.
#[derive(Clone, Copy, Debug)]
pub struct User(Option<(u32, u32)>);

impl User {
    /// `nobody`, if this process is root.
    pub fn for_a_server() -> Self {
        let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
        Self(is_root.then(nobody))
    }

    /// Gives a file or folder to the user.
    pub fn own(self, path: &Path) {
        if let Self(Some((user, group))) = self {
            chown(path, Some(user), Some(group)).unwrap();
        }
    }

    /// A command that runs as the user, without this process's environment.
    pub fn command(self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/bin:/bin");
        command.env("LC_ALL", "C").env("TZ", "UTC");
        if let Self(Some((user, group))) = self {
            command.uid(user).gid(group);
        }
        command
    }
}

fn nobody() -> (u32, u32) {
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let nobody = users.lines().find(|line| line.starts_with("nobody:"));
    let fields: Vec<_> = nobody.expect("there is a user nobody").split(':').collect();
    (fields[2].parse().unwrap(), fields[3].parse().unwrap())
}
