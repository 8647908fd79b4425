//! What a request without payment costs: time for one 402 answer, on one core.
//!
//! ```text
//! cargo run --release -p tollway-gate --example challenge_cost
//! ```

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use futures_util::FutureExt;
use http::{Request, Response};
use tollway_core::wire::{
    PaymentPayload, SettleResponse, SupportedKind, SupportedResponse, VerifyResponse,
};
use tollway_core::{
    Address, Amount, Broadcast, Chain, ChainError, Expected, Facilitator, FacilitatorError,
    Finality, Head, Health, Identity, Intent, Lookup, Network, Phase, Plan, PlannedPayment, Raw,
    Refusal, SettleRequest, Sight, SignerState, Slot, Terms, Verified, VerifyRequest, Watch,
};
use tollway_gate::{Body, Gate, Offer, Route};
use tollway_ledger::SqliteLedger;
use tower::{Layer, Service};

const ROUNDS: u32 = 200_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let ledger = SqliteLedger::open("sqlite::memory:").await?;
    let price = Offer::new(
        "$0.01",
        "base-sepolia",
        "0x209693Bc6afc0C5328bA36FaF03C514EF312287C",
    )?;
    let gate = Gate::builder("https://api.example", Arc::new(Nobody), Arc::new(ledger))
        .chain(Arc::new(Nowhere(Network::eip155(84_532))))
        .route(Route::new("GET /paid/*")?.offer(price))
        .build()?;
    let behind = tower::service_fn(|_: Request<Body>| async {
        Ok::<_, Infallible>(Response::new(tollway_gate::full("goods")))
    });
    let mut service = gate.layer().layer(behind);
    for path in [
        "/paid/weather",
        "/Paid/weather/in/Oslo.json?units=metric",
        "/paid/a%20b",
    ] {
        let began = Instant::now();
        for _ in 0..ROUNDS {
            let request = Request::builder()
                .uri(path)
                .header("host", "api.example")
                .header("user-agent", "cost/1")
                .header("accept", "*/*")
                .body(tollway_gate::empty())?;
            let answer = service.call(request).now_or_never();
            assert!(matches!(answer, Some(Ok(answer)) if answer.status() == 402));
        }
        let each = began.elapsed().as_nanos() / u128::from(ROUNDS);
        println!("{each:>6} ns  {path}");
    }
    Ok(())
}

/// A facilitator that is not asked.
struct Nobody;

fn nobody<T>() -> Result<T, FacilitatorError> {
    Err(FacilitatorError::Unavailable("nobody is there".to_owned()))
}

#[async_trait]
impl Facilitator for Nobody {
    async fn verify(&self, _: &VerifyRequest) -> Result<VerifyResponse, FacilitatorError> {
        nobody()
    }

    async fn settle(&self, _: &SettleRequest) -> Result<SettleResponse, FacilitatorError> {
        nobody()
    }

    async fn supported(&self) -> Result<SupportedResponse, FacilitatorError> {
        nobody()
    }
}

/// A chain that is not asked.
struct Nowhere(Network);

fn nowhere<T>() -> Result<T, ChainError> {
    Err(ChainError::unavailable("there is no chain"))
}

#[async_trait]
impl Chain for Nowhere {
    fn network(&self) -> &Network {
        &self.0
    }

    fn kinds(&self) -> Vec<SupportedKind> {
        Vec::new()
    }

    fn signers(&self) -> Vec<Address> {
        Vec::new()
    }

    fn inspect(&self, _: &Arc<PaymentPayload>, _: &Arc<Terms>) -> Result<Intent, Refusal> {
        Err(Refusal::new("invalid_payload", "Nothing is sold here."))
    }

    async fn verify(&self, _: Intent, _: Phase, _: Amount) -> Result<Verified, ChainError> {
        nowhere()
    }

    async fn plan(&self, _: &[PlannedPayment]) -> Result<Vec<Plan>, ChainError> {
        nowhere()
    }

    async fn seal(&self, _: &Plan, _: &Slot) -> Result<Raw, ChainError> {
        nowhere()
    }

    async fn broadcast(&self, _: &Raw) -> Result<Broadcast, ChainError> {
        nowhere()
    }

    async fn look(&self, _: Option<&Head>, _: &[Watch]) -> Result<Sight, ChainError> {
        nowhere()
    }

    async fn block_hash(&self, _: u64) -> Result<Option<String>, ChainError> {
        nowhere()
    }

    async fn signer_states(&self) -> Result<Vec<SignerState>, ChainError> {
        nowhere()
    }

    async fn lookup(&self, _: &Identity, _: &Expected, _: Finality) -> Result<Lookup, ChainError> {
        nowhere()
    }

    async fn confirmed_nonce(&self, _: &Address) -> Result<u64, ChainError> {
        nowhere()
    }

    async fn health(&self) -> Health {
        Health {
            ready: false,
            block_number: None,
            problem: None,
        }
    }
}
