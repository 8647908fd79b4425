//! Who paid comes back and pays nothing, for as long as the seller says: two processes, a
//! real key, and a ledger that remembers over a restart.

use crate::harness::town::{PRICE, Town};

#[tokio::test]
async fn a_buyer_comes_back_to_what_it_paid_for_by_signing_in() {
    let town = Town::new().await;
    let routes = ["--route", "GET /again/*=$0.01; returning=1h"];
    let (gate, url) = town.gate(&routes).await;
    let page = format!("{url}/again/weather");
    town.pay(&page, &[]).await.exits(0);
    assert_eq!(town.earned(), PRICE);
    for _ in 0..2 {
        let again = town.pay(&page, &[]).await.exits(3);
        assert!(again.stderr.contains("signed in as"), "{}", again.stderr);
        assert!(
            again.stderr.contains("nothing was paid"),
            "{}",
            again.stderr
        );
        assert!(!again.stdout.is_empty());
    }
    assert_eq!(town.earned(), PRICE, "it was paid once");
    // Another resource of the route is another purchase, and a route without it is paid anew.
    town.pay(&format!("{url}/again/report"), &[]).await.exits(0);
    town.pay(&format!("{url}/paid/weather"), &[]).await.exits(0);
    town.pay(&format!("{url}/paid/weather"), &[]).await.exits(0);
    assert_eq!(town.earned(), 4 * PRICE);
    drop(gate);
}

#[tokio::test]
async fn a_time_that_is_none_is_refused_with_what_to_write() {
    let town = Town::new().await;
    let mut args = town.gate_args("local", &town.rpc());
    args.extend(crate::harness::town::strings(&[
        "--route",
        "GET /a=$0.01; returning=soon",
    ]));
    let refused = town.run(&args).await.exits(2);
    assert!(
        refused.stderr.contains("returning=1h"),
        "{}",
        refused.stderr
    );
}
