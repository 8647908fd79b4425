//! The parts of a run, each a page of the table.

mod blocks;
mod burst;
mod challenge;
mod durable;
mod gas;
mod growth;
mod memory;
mod methods;
mod profile;
mod purchase;
mod records;
mod settle;
mod starknet;
mod tokens;
mod verify;

use crate::Bench;
use crate::report::Table;

/// Their names, in the order they run in.
pub const NAMES: [&str; 14] = [
    "verify",
    "challenge",
    "tokens",
    "purchase",
    "settle",
    "blocks",
    "burst",
    "gas",
    "methods",
    "durable",
    "memory",
    "growth",
    "starknet",
    "profile",
];

/// Runs what is wanted.
pub async fn run(bench: &Bench, table: &mut Table) {
    for name in NAMES {
        if !bench.options.wants(name) {
            continue;
        }
        eprintln!("— {name}");
        match name {
            "verify" => verify::run(bench, table).await,
            "challenge" => challenge::run(bench, table).await,
            "tokens" => tokens::run(bench, table).await,
            "purchase" => purchase::run(bench, table).await,
            "settle" => settle::run(bench, table).await,
            "blocks" => blocks::run(bench, table).await,
            "burst" => burst::run(bench, table).await,
            "gas" => gas::run(bench, table).await,
            "methods" => methods::run(bench, table).await,
            "durable" => durable::run(bench, table).await,
            "memory" => memory::run(bench, table).await,
            "growth" => growth::run(bench, table).await,
            "starknet" => starknet::run(bench, table).await,
            _ => profile::run(bench, table).await,
        }
    }
}
