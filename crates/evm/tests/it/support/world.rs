//! An embedded chain, a facilitator's view of it, and somebody who pays.

use std::borrow::Cow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy_primitives::{Address as Account, B256, U256};
use serde_json::json;
use tollway_core::assets::{AssetInfo, AssetTable, Method};
use tollway_core::wire::{Object, PaymentPayload, PaymentRequirements};
use tollway_core::{
    Amount, Broadcast, Chain, ChainError, Charge, Finality, GasPurse, Intent, Limits, Network,
    Outcome, Phase, Plan, PlannedPayment, Raw, Slot, Taken, Terms, Verified, Wallet, Watch,
    Watched,
};
use tollway_devnet::{DEV_ACCOUNTS, Devnet, DevnetServer, Mining, Preset};
use tollway_evm::typed_data::{Authorization, Domain};
use tollway_evm::{EvmChain, EvmConfig, EvmSigner, EvmWallet, HelperAccount, sign_authorization};
use tollway_rpc::RpcClient;

use super::clock::TestClock;
use super::fake_node;

pub const NOW: u64 = 1_770_000_000;
pub const PRICE: u64 = 10_000;

/// Dev account 0 pays, 1 is paid, 2 settles, 3 is a stranger.
pub fn key(index: usize) -> EvmSigner {
    EvmSigner::from_bytes(&DEV_ACCOUNTS[index].key.0).unwrap()
}

pub struct World {
    pub devnet: Devnet,
    pub chain: EvmChain,
    pub clock: Arc<TestClock>,
    pub rpc: RpcClient,
    pub network: Network,
    assets: AssetTable,
    server: DevnetServer,
}

impl World {
    pub async fn new() -> Self {
        Self::on(Preset::BaseSepolia).await
    }

    pub async fn on(preset: Preset) -> Self {
        let devnet = Devnet::builder()
            .preset(preset)
            .mining(Mining::Automine)
            .fixed_time(NOW)
            .build()
            .unwrap();
        Self::with(devnet, AssetTable::builtin()).await
    }

    pub async fn with(devnet: Devnet, assets: AssetTable) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = devnet.serve(listener).unwrap();
        let rpc = fake_node::client(&server.url());
        let network = Network::eip155(devnet.chain_id());
        let clock = TestClock::at(NOW);
        let chain = connect(&network, &rpc, &assets, &clock).await;
        Self {
            devnet,
            chain,
            clock,
            rpc,
            network,
            assets,
            server,
        }
    }

    /// Another facilitator with this node and other limits or keys.
    pub fn config(&self, rpc: RpcClient) -> EvmConfig {
        let mut config = EvmConfig::new(self.network.clone(), rpc, vec![key(2)]);
        config.assets = self.assets.clone();
        config.clock = self.clock.clone();
        config.settler_payees = vec![key(1).address()];
        config
    }

    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Time passes, here and on chain.
    pub fn wait(&self, secs: u64) {
        self.clock.advance(secs);
        self.devnet.increase_time(secs).unwrap();
    }

    /// The table that everybody here uses.
    pub fn assets(&self) -> AssetTable {
        self.assets.clone()
    }

    /// Our clock's time, Unix seconds.
    pub fn clock_now(&self) -> u64 {
        use tollway_core::Clock;
        self.clock.now().secs()
    }

    pub fn payee_has(&self) -> U256 {
        self.devnet.balance_of(DEV_ACCOUNTS[1].address)
    }

    pub fn terms(&self) -> Terms {
        let dollar = self.devnet.dollar();
        self.terms_in(dollar.address, &dollar.name)
    }

    pub fn terms_in(&self, asset: Account, name: &str) -> Terms {
        let extra = json!({"name": name, "version": "2"});
        Terms::check(PaymentRequirements {
            scheme: "exact".to_owned(),
            network: self.network.to_string(),
            amount: PRICE.to_string(),
            asset: asset.to_checksum(None),
            pay_to: DEV_ACCOUNTS[1].address.to_checksum(None),
            max_timeout_seconds: 60,
            extra: extra.as_object().cloned(),
        })
        .unwrap()
    }

    pub fn wallet(&self, signer: EvmSigner) -> EvmWallet {
        EvmWallet::new(signer)
            .with_assets(self.assets.clone())
            .with_clock(self.clock.clone())
            .with_node(self.network.clone(), self.rpc.clone())
    }

    /// The payer's payment, through the wallet.
    pub async fn pay(&self) -> Intent {
        let terms = self.terms();
        let limits = Limits {
            max_amount: terms.amount,
            max_lifetime: Duration::from_secs(900),
        };
        let prepared = self.wallet(key(0)).prepare(&terms, &limits).await.unwrap();
        let intent = self.inspect(&terms, prepared.payload);
        assert_eq!(intent.identity, prepared.identity);
        assert_eq!(intent.deadline, prepared.valid_until);
        intent
    }

    /// Somebody new with this much money.
    pub fn payer(&self, money: u64) -> EvmSigner {
        let signer = EvmSigner::random().unwrap();
        let funds = U256::from(money);
        self.devnet.mint(signer.address(), funds).unwrap();
        signer
    }

    /// A payment of a plain account's own; `number` tells its payments apart.
    pub fn payment_of(&self, signer: &EvmSigner, number: u64) -> Intent {
        self.authorize_numbered(&self.terms(), signer.address(), signer, number)
    }

    /// Payments of so many new accounts.
    pub fn payments(&self, count: usize) -> Vec<Intent> {
        let one = |_| self.payment_of(&self.payer(PRICE), 1);
        (0..count).map(one).collect()
    }

    /// A payment of any account, signed by any key, over any token.
    pub fn authorize(&self, terms: &Terms, from: Account, signer: &EvmSigner) -> Intent {
        self.authorize_numbered(terms, from, signer, 7)
    }

    fn authorize_numbered(
        &self,
        terms: &Terms,
        from: Account,
        signer: &EvmSigner,
        number: u64,
    ) -> Intent {
        let contract = terms.asset.as_str().parse().unwrap();
        let name = terms.wire.extra_str("name").unwrap();
        let domain = Domain::new(name, "2", self.devnet.chain_id(), contract);
        let authorization = Authorization {
            from,
            to: terms.pay_to.as_str().parse().unwrap(),
            value: terms.amount.as_u256(),
            valid_after: U256::ZERO,
            valid_before: U256::from(NOW + 60),
            nonce: B256::from(U256::from(number)),
        };
        let signed = sign_authorization(signer, &domain, authorization);
        self.inspect(terms, signed.to_payload())
    }

    pub fn inspect(&self, terms: &Terms, payload: Object) -> Intent {
        let payload = PaymentPayload {
            x402_version: 2,
            resource: None,
            accepted: PaymentRequirements::clone(&terms.wire),
            payload,
            extensions: None,
        };
        self.chain
            .inspect(&Arc::new(payload), &Arc::new(terms.clone()))
            .unwrap()
    }

    pub async fn verify(&self, intent: &Intent) -> Result<Verified, ChainError> {
        self.chain
            .verify(intent.clone(), Phase::Verify, Amount::ZERO)
            .await
    }

    /// The code that a payment is refused with.
    pub async fn refusal(&self, intent: &Intent) -> String {
        match self.verify(intent).await {
            Err(ChainError::Refused(refusal)) => refusal.code().to_owned(),
            other => panic!("not refused: {other:?}"),
        }
    }

    /// Plans a payment without verifying it, as after a lie.
    pub async fn plan(&self, intent: &Intent) -> Plan {
        let payment = planned(Verified {
            intent: intent.clone(),
            gas: 300_000,
            signers: Vec::new(),
        });
        self.chain.plan(&[payment]).await.unwrap().remove(0)
    }

    pub async fn slot(&self) -> Slot {
        let signer = self.chain.signers().remove(0);
        Slot {
            nonce: self.chain.confirmed_nonce(&signer).await.unwrap(),
            signer,
            replaces: None,
        }
    }

    /// Verifies all at the same time.
    pub async fn verify_all(&self, intents: &[Intent]) -> Vec<Result<Verified, ChainError>> {
        verify_all(&self.chain, intents).await
    }

    /// Verifies, plans as one, seals, and sends under the next nonce.
    pub async fn send_together(&self, chain: &EvmChain, intents: &[Intent]) -> (Plan, Watch) {
        let verified = verify_all(chain, intents).await;
        let planned: Vec<_> = verified.into_iter().map(|v| planned(v.unwrap())).collect();
        let mut plans = chain.plan(&planned).await.unwrap();
        assert_eq!(plans.len(), 1);
        let plan = plans.remove(0);
        let watch = self.send_plan(chain, &plan).await;
        (plan, watch)
    }

    /// Seals and sends a plan under the next nonce.
    pub async fn send_plan(&self, chain: &EvmChain, plan: &Plan) -> Watch {
        let slot = self.slot().await;
        let raw = chain.seal(plan, &slot).await.unwrap();
        assert_eq!(chain.broadcast(&raw).await.unwrap(), Broadcast::Accepted);
        let intents = plan.payments.iter().map(|p| &p.verified.intent);
        Watch {
            expected: intents.map(|i| watched(i, Finality::Included)).collect(),
            ..watch(&plan.payments[0].verified.intent, &slot, &[&raw])
        }
    }

    /// Seals and sends.
    pub async fn send(&self, intent: &Intent) -> (Raw, Watch) {
        let slot = self.slot().await;
        let plan = self.plan(intent).await;
        let raw = self.chain.seal(&plan, &slot).await.unwrap();
        assert_eq!(
            self.chain.broadcast(&raw).await.unwrap(),
            Broadcast::Accepted
        );
        let watch = watch(intent, &slot, &[&raw]);
        (raw, watch)
    }

    /// What a look at the chain says about one payment.
    pub async fn outcome(&self, watch: &Watch) -> Outcome {
        look(&self.chain, watch).await
    }
}

/// Verifies all at the same time.
pub async fn verify_all(chain: &EvmChain, intents: &[Intent]) -> Vec<Result<Verified, ChainError>> {
    let verify = |intent: &Intent| chain.verify(intent.clone(), Phase::Verify, Amount::ZERO);
    futures_util::future::join_all(intents.iter().map(verify)).await
}

/// The code of a refusal.
pub fn code(verdict: &Result<Verified, ChainError>) -> &str {
    match verdict {
        Ok(_) => "good",
        Err(ChainError::Refused(refusal)) => refusal.code(),
        Err(error) => panic!("not decided: {error:?}"),
    }
}

/// One look for one transaction.
pub async fn outcomes(chain: &EvmChain, watch: &Watch) -> Vec<Outcome> {
    let sight = chain.look(None, std::slice::from_ref(watch)).await.unwrap();
    sight.outcomes.into_iter().next().flatten().unwrap()
}

/// One look for one payment; what did not change stays unknown.
pub async fn look(chain: &EvmChain, watch: &Watch) -> Outcome {
    let mut sight = chain.look(None, std::slice::from_ref(watch)).await.unwrap();
    assert_eq!(sight.outcomes.len(), 1);
    let mut outcomes = sight.outcomes.remove(0).unwrap_or(vec![Outcome::Unknown]);
    assert_eq!(outcomes.len(), 1);
    outcomes.remove(0)
}

/// A verified payment, charged whole.
pub fn planned(verified: Verified) -> PlannedPayment {
    PlannedPayment {
        charge: Charge {
            amount: verified.intent.expected.amount,
        },
        verified,
        alone: false,
    }
}

pub fn watch(intent: &Intent, slot: &Slot, sent: &[&Raw]) -> Watch {
    Watch {
        signer: slot.signer.clone(),
        nonce: slot.nonce,
        hashes: sent.iter().map(|raw| raw.hash.clone()).collect(),
        expected: vec![watched(intent, Finality::Included)],
    }
}

pub fn watched(intent: &Intent, finality: Finality) -> Watched {
    Watched {
        identity: intent.identity.clone(),
        expected: intent.expected.clone(),
        finality,
    }
}

/// A token at an address of its own, in our table.
/// An account that helps, with so much to spend.
pub fn helper(index: usize, wei: u128) -> HelperAccount {
    HelperAccount {
        signer: key(index).into(),
        purse: Arc::new(Purse(Mutex::new(wei))),
    }
}

struct Purse(Mutex<u128>);

#[async_trait::async_trait]
impl GasPurse for Purse {
    async fn take(
        &self,
        network: &Network,
        whom: &str,
        most: Amount,
    ) -> Result<Option<Taken>, ChainError> {
        let mut left = self.0.lock().unwrap();
        let rest = left.checked_sub(most.as_u128().unwrap());
        *left = rest.unwrap_or(*left);
        Ok(rest.map(|_| Taken {
            network: network.clone(),
            whom: whom.to_owned(),
            most,
            day: 1,
        }))
    }

    async fn give_back(&self, taken: Taken) -> Result<(), ChainError> {
        *self.0.lock().unwrap() += taken.most.as_u128().unwrap();
        Ok(())
    }
}

pub fn token(network: &Network, address: Account, name: &'static str) -> AssetInfo {
    AssetInfo {
        network: network.clone(),
        symbol: Cow::Borrowed("ODD"),
        address: network.address(&format!("{address:#x}")).unwrap(),
        spelling: Cow::Owned(address.to_checksum(None)),
        decimals: 6,
        name: Some(Cow::Borrowed(name)),
        version: Some(Cow::Borrowed("2")),
        verified: true,
        methods: Cow::Borrowed(&[Method::Eip3009]),
    }
}

async fn connect(
    network: &Network,
    rpc: &RpcClient,
    assets: &AssetTable,
    clock: &Arc<TestClock>,
) -> EvmChain {
    let mut config = EvmConfig::new(network.clone(), rpc.clone(), vec![key(2)]);
    config.assets = assets.clone();
    config.clock = clock.clone();
    config.settler_payees = vec![key(1).address()];
    EvmChain::connect(config).await.unwrap()
}
