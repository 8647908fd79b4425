//! A facilitator from the x402-rs 2.0.2 crates, as its README builds one.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::json;
use tollway_bench_peers::{arguments, serve};
use x402_chain_eip155::chain::config::Eip155ChainConfig;
use x402_chain_eip155::chain::{Eip155ChainProvider, Eip155ChainReference};
use x402_chain_eip155::{V1Eip155Exact, V2Eip155Exact};
use x402_facilitator_local::{FacilitatorLocal, handlers};
use x402_types::chain::{ChainProviderOps, ChainRegistry, FromConfig};
use x402_types::scheme::{
    SchemeBlueprints, SchemeConfig, SchemeRegistry, X402SchemeFacilitator, X402SchemeFacilitatorBuilder, X402SchemeId,
};

type Provider = Arc<Eip155ChainProvider>;

/// The crates' scheme over a shared provider.
struct Shared<S>(S);

impl<S: X402SchemeId> X402SchemeId for Shared<S> {
    fn x402_version(&self) -> u8 {
        self.0.x402_version()
    }
    fn namespace(&self) -> &str {
        self.0.namespace()
    }
    fn scheme(&self) -> &str {
        self.0.scheme()
    }
}

impl<S: X402SchemeFacilitatorBuilder<Provider>> X402SchemeFacilitatorBuilder<&Provider> for Shared<S> {
    fn build(
        &self,
        provider: &Provider,
        config: Option<serde_json::Value>,
    ) -> Result<Box<dyn X402SchemeFacilitator>, Box<dyn std::error::Error>> {
        self.0.build(provider.clone(), config)
    }
}

#[tokio::main]
async fn main() {
    let arguments = arguments();
    let config = Eip155ChainConfig {
        chain_reference: Eip155ChainReference::new(84532),
        inner: serde_json::from_value(json!({
            "signers": [arguments.key],
            "rpc": [{ "http": arguments.rpc }],
        }))
        .expect("configuration"),
    };
    let provider = Eip155ChainProvider::from_config(&config).await.expect("provider");
    let chains = ChainRegistry::new(HashMap::from([(provider.chain_id(), Arc::new(provider))]));
    let schemes: Vec<SchemeConfig> = serde_json::from_value(json!([
        { "id": "v1-eip155-exact", "chains": "eip155:*" },
        { "id": "v2-eip155-exact", "chains": "eip155:*" },
    ]))
    .expect("schemes");
    let blueprints = SchemeBlueprints::<Provider>::new()
        .and_register(Shared(V1Eip155Exact))
        .and_register(Shared(V2Eip155Exact));
    let registry = SchemeRegistry::build(chains, blueprints, &schemes);
    let facilitator = Arc::new(FacilitatorLocal::new(registry));
    serve(&arguments.listen, handlers::routes().with_state(facilitator)).await;
}
