//! `tollway devnet`: an embedded EVM chain with test dollars.

use std::time::Duration;

use tollway_devnet::{DEV_ACCOUNTS, Devnet, Mining};

use crate::cli::DevnetArgs;
use crate::exit::{Exit, Failure};
use crate::serve;

/// Runs it until it is stopped.
pub async fn run(args: DevnetArgs) -> Result<Exit, Failure> {
    let stop = serve::stop_on_signal()?;
    let mining = mining(args.block_time.as_deref())?;
    let devnet = Devnet::builder()
        .chain_id(args.chain_id)
        .mining(mining)
        .build()
        .map_err(|e| Failure::new(format!("The chain cannot start: {e}; report this.")))?;
    let (listener, _) = serve::bind(&args.listen).await?;
    let server = devnet.serve(listener).map_err(|e| {
        Failure::new(format!(
            "The chain cannot be served: {e}; choose another --listen address."
        ))
    })?;
    println!(
        "tollway devnet: chain {} listening on {}",
        args.chain_id,
        server.url()
    );
    eprintln!(
        "Test dollar {} at {}",
        devnet.dollar().name,
        devnet.dollar().address
    );
    for account in &DEV_ACCOUNTS {
        eprintln!("  {}  key {}", account.address, account.key);
    }
    eprintln!("These keys are public knowledge: never send them anything of value.");
    stop.cancelled().await;
    server.shutdown().await;
    Ok(Exit::Done)
}

/// `2`, `0.4`: seconds with up to three decimals, read without floats.
fn mining(text: Option<&str>) -> Result<Mining, Failure> {
    let Some(text) = text else {
        return Ok(Mining::Automine);
    };
    let millis = text
        .parse::<tollway_core::money::Decimal>()
        .ok()
        .and_then(|seconds| seconds.to_atomic(3)?.as_u128())
        .and_then(|millis| u64::try_from(millis).ok())
        .filter(|millis| (10..=3_600_000).contains(millis))
        .ok_or_else(|| {
            Failure::usage(format!(
                "--block-time {text} is not a number of seconds from 0.01 to 3600; write for example 2."
            ))
        })?;
    Ok(Mining::Interval(Duration::from_millis(millis)))
}
