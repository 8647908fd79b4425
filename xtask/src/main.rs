//! Proofs that take longer than a test: `cargo xtask crash`, `cargo xtask mistakes`.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod build;
mod crash;
mod mistakes;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Proofs that take longer than a test.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Kill the server at every place there is, and let the checker judge what is left.
    Crash(crash::Arguments),
    /// Make every deliberate bug, and name the test that catches it.
    Mistakes(mistakes::Arguments),
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Crash(arguments) => crash::run(&arguments).await,
        Task::Mistakes(arguments) => mistakes::run(&arguments).await,
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::from(2)
        }
    }
}
