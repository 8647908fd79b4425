//! Tollway beside its peers: one command, one run, one table.
//!
//! `cargo run --release -p tollway-bench [-- --quick] [-- --only NAME]` builds
//! the peers from their published packages, starts every server in turn
//! against the same embedded chain, and prints figures, ratios and which bars
//! are met. The steady figure is CPU per request, read from the kernel's
//! account of the server's process: load generator and server share the
//! machine's cores.

mod connection;
mod foreign;
mod load;
mod node;
mod options;
mod payments;
mod process;
mod report;
mod sections;
mod steady;
mod usdc;
mod ways;

use std::path::PathBuf;

use options::Options;
use process::Spec;
use report::Table;

#[tokio::main]
async fn main() {
    let options = Options::read(&sections::NAMES);
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    if !options.as_built {
        process::build(&root);
    }
    let bench = Bench {
        options,
        specs: Spec::all(&root),
    };
    let mut table = Table::default();
    sections::run(&bench, &mut table).await;
    process::clean();
    table.print();
}

/// What every section needs.
pub struct Bench {
    /// How much to run.
    pub options: Options,
    /// What was built.
    pub specs: Vec<Spec>,
}

impl Bench {
    /// The facilitators with these names.
    pub fn facilitators(&self, names: &[&str]) -> impl Iterator<Item = &Spec> {
        self.specs
            .iter()
            .filter(move |spec| spec.settles && names.contains(&spec.name))
    }

    /// Our facilitator.
    pub fn ours(&self) -> &Spec {
        self.facilitators(&["tollway"]).next().expect("tollway")
    }

    /// The sellers.
    pub fn sellers(&self) -> impl Iterator<Item = &Spec> {
        self.specs.iter().filter(|spec| !spec.settles)
    }
}

/// Every facilitator.
pub const ALL: [&str; 4] = ["tollway", "x402-rs", "r402", "official TypeScript"];
/// Those that settle everything that is sent to them at once.
pub const SETTLE_ALL: [&str; 3] = ["tollway", "x402-rs", "r402"];
