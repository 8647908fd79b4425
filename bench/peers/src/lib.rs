//! What the peers' servers have in common: three arguments and a ready line.

/// `--listen ADDR --rpc URL --key HEX`, in this order's values.
pub struct Arguments {
    /// Address to listen on.
    pub listen: String,
    /// Node of chain 84532, or the facilitator of a seller.
    pub rpc: String,
    /// Settling key.
    pub key: String,
}

/// Reads `LISTEN URL KEY` from the command line.
pub fn arguments() -> Arguments {
    let mut words = std::env::args().skip(1);
    let mut next = || words.next().expect("usage: LISTEN URL KEY");
    Arguments { listen: next(), rpc: next(), key: next() }
}

/// Binds, says so on stdout, and serves.
pub async fn serve(listen: &str, app: axum::Router) {
    let listener = tokio::net::TcpListener::bind(listen).await.expect("bind");
    println!("listening on http://{}", listener.local_addr().expect("address"));
    axum::serve(listener, app).await.expect("serve");
}
