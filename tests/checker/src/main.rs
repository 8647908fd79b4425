//! `tollway-checker`: names every promise that was broken; exit code 1 if any was.
//!
//! ```text
//! tollway-checker --rpc URL --asset ADDRESS --signer ADDRESS… [--helper ADDRESS…] --ledger sqlite:PATH… --client FILE
//! ```

use std::path::Path;
use std::process::ExitCode;

use tollway_checker::chain::Question;
use tollway_checker::{Chain, Client, Evidence, Ledger, check};

/// What to read.
#[derive(Default)]
struct Arguments {
    rpc: String,
    asset: String,
    signers: Vec<String>,
    helpers: Vec<String>,
    ledgers: Vec<String>,
    client: String,
}

fn arguments(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut found = Arguments::default();
    while let Some(flag) = words.next() {
        let value = words
            .next()
            .ok_or_else(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--rpc" => found.rpc = value,
            "--asset" => found.asset = value.to_lowercase(),
            "--signer" => found.signers.push(value.to_lowercase()),
            "--helper" => found.helpers.push(value.to_lowercase()),
            "--ledger" => found.ledgers.push(value),
            "--client" => found.client = value,
            _ => return Err(format!("{flag} is not a flag of this program")),
        }
    }
    Ok(found)
}

async fn evidence(arguments: &Arguments) -> Result<Evidence, String> {
    let client = Client::read(Path::new(&arguments.client))?;
    let mut ledgers = Vec::new();
    for url in &arguments.ledgers {
        ledgers.push(Ledger::read(url).await?);
    }
    let auths: Vec<String> = client.payments.keys().cloned().collect();
    let question = Question {
        url: &arguments.rpc,
        asset: &arguments.asset,
        signers: &arguments.signers,
        helpers: &arguments.helpers,
        auths: &auths,
    };
    let chain = Chain::read(&question).await?;
    Ok(Evidence {
        client,
        chain,
        ledgers,
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let read = match arguments(std::env::args().skip(1)) {
        Ok(arguments) => evidence(&arguments).await,
        Err(error) => Err(error),
    };
    let evidence = match read {
        Ok(evidence) => evidence,
        Err(error) => {
            eprintln!("tollway-checker: {error}");
            return ExitCode::from(2);
        }
    };
    let violations = check(&evidence);
    for violation in &violations {
        println!("{violation}");
    }
    let payments = evidence.client.payments.len();
    let moved = evidence.chain.transfers.len();
    eprintln!(
        "{payments} payments, {moved} transfers, {} violations",
        violations.len()
    );
    match violations.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(1),
    }
}
