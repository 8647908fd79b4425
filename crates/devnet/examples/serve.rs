//! Serves a devnet: `cargo run -p tollway-devnet --example serve -- [ADDR] [CHAIN_ID] [BLOCK_MS]`.

use std::time::Duration;

use tollway_devnet::{DEV_ACCOUNTS, Devnet, Mining};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let addr = args.next().unwrap_or_else(|| "127.0.0.1:0".into());
    let chain_id = args.next().map_or(Ok(84_532), |id| id.parse())?;
    let mining = match args.next() {
        Some(milliseconds) => Mining::Interval(Duration::from_millis(milliseconds.parse()?)),
        None => Mining::Automine,
    };
    let devnet = Devnet::builder()
        .chain_id(chain_id)
        .mining(mining)
        .build()?;
    let server = devnet.serve(tokio::net::TcpListener::bind(addr).await?)?;
    println!("{} serves chain {chain_id}", server.url());
    println!("test dollar {}", devnet.dollar().address);
    for account in &DEV_ACCOUNTS {
        println!("account {}", account.address);
    }
    tokio::signal::ctrl_c().await?;
    server.shutdown().await;
    Ok(())
}
