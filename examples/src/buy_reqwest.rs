//! A reqwest client that pays, within a policy and a budget.

use reqwest_middleware::ClientBuilder;
use tollway_examples::{Error, NETWORK, Stage};
use tollway_payer::{PayMiddleware, Payment, Policy, client_builder};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let stage = Stage::open().await?;
    let url = format!("{}/paid/weather", stage.seller().await?);

    // At most two cents for a call, on one network, to this host, and no more
    // than two and a half cents in all.
    let policy = Policy {
        max_per_call: "0.02".parse()?,
        networks: vec![tollway_core::Network::resolve(NETWORK)?],
        hosts: vec!["127.0.0.1".parse()?],
        ..Policy::default()
    };
    let payer = stage
        .buyer(25_000)
        .await?
        .policy(policy)
        .on_payment(|payment| println!("  paid {} ({:?})", payment.words, payment.standing))
        .build()?;
    // Payments that an earlier run left open are decided first.
    println!("open payments decided: {:?}", payer.reconcile().await?);

    let client = ClientBuilder::new(client_builder().build()?)
        .with(PayMiddleware::new(payer.clone()))
        .build();
    for call in 1..=3 {
        println!("call {call}");
        match client.get(&url).send().await {
            Ok(response) => {
                let transaction = response
                    .extensions()
                    .get::<Payment>()
                    .and_then(|payment| payment.transaction.clone());
                println!("  {} {:?}", response.status(), response.text().await?);
                println!("  in transaction {transaction:?}");
            }
            Err(error) => println!("  not paid: {error}"),
        }
    }
    let counters = payer.counters();
    println!("{} payments, spent {:?}", counters.payments, counters.spent);
    Ok(())
}
