//! A payer, a payee and a facilitator on a node.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::json;
use std::sync::Arc;
use tollway_core::assets::{AssetInfo, AssetTable};
use tollway_core::wire::{PaymentPayload, PaymentRequirements};
use tollway_core::{
    Address, Amount, Broadcast, Chain, ChainError, Charge, Finality, Limits, Network, Outcome,
    Phase, PlannedPayment, Prepared, Settled, Slot, Terms, Verified, Wallet, Watch, Watched,
};
use tollway_starknet::{
    Call, Felt, OutsideExecution, OwnerSender, Signer, StarkKey, StarknetAccount, StarknetChain,
    StarknetConfig, StarknetLimits, StarknetWallet, felt, selectors,
};

use crate::{Funded, Node};

pub const STRK: &str = "0x4718f5a0fc34cc1af16a1cdee98ffb20c31f5cd61d6ab07201858f4287c938d";
pub const ETH: &str = "0x49d36570d4e46f48e99674bd3fcc84644ddd6b96f7c741b1562b82f9e004dc7";
pub const PAYEE: &str = "0x2dd1b492765c064eac4039e3841aa5f382773b598097a40073bd8b48170ab57";
pub const PRICE: u64 = 10_000;
const MAX_FEE: u128 = 10_000_000_000_000_000_000;

pub struct World {
    pub node: Node,
    pub chain: StarknetChain,
    pub payer: Funded,
    pub executor: Funded,
    pub stranger: Funded,
}

pub fn network() -> Network {
    "starknet:SN_SEPOLIA".parse().unwrap()
}

pub fn address(text: &str) -> Address {
    network().address(text).unwrap()
}

pub fn number(text: &str) -> Felt {
    felt::parse(text).unwrap()
}

pub fn assets() -> AssetTable {
    let token = |symbol: &'static str, spelling: &'static str| AssetInfo {
        network: network(),
        symbol: symbol.into(),
        address: address(spelling),
        spelling: spelling.into(),
        decimals: 18,
        name: None,
        version: None,
        verified: true,
        methods: Cow::Borrowed(&[]),
    };
    AssetTable::empty()
        .with(token("STRK", STRK))
        .with(token("ETH", ETH))
}

pub fn account(of: &Funded) -> StarknetAccount {
    let key = StarkKey::from_hex(&of.key).unwrap();
    StarknetAccount::new(address(&of.address), key).unwrap()
}

pub fn limits() -> Limits {
    Limits {
        max_amount: Amount::from_atomic(1_000_000),
        max_lifetime: Duration::from_secs(900),
    }
}

async fn connect(
    node: &Node,
    executor: &Funded,
    change: impl FnOnce(&mut StarknetLimits),
) -> StarknetChain {
    let mut config = StarknetConfig::new(network(), node.rpc.clone(), vec![account(executor)]);
    config.assets = assets();
    config.limits.max_transaction_fee = MAX_FEE;
    change(&mut config.limits);
    StarknetChain::connect(config).await.unwrap()
}

impl World {
    pub async fn new() -> Self {
        let node = Node::start().await;
        let mut accounts = node.accounts().await.into_iter();
        let mut next = || accounts.next().unwrap();
        let (payer, executor, stranger) = (next(), next(), next());
        let chain = connect(&node, &executor, |_| {}).await;
        Self {
            node,
            chain,
            payer,
            executor,
            stranger,
        }
    }

    /// Another facilitator with the same account, and other limits.
    pub async fn connect(&self, change: impl FnOnce(&mut StarknetLimits)) -> StarknetChain {
        connect(&self.node, &self.executor, change).await
    }

    pub fn owner_wallet(&self, of: &Funded) -> StarknetWallet {
        let key = StarkKey::from_hex(&of.key).unwrap();
        StarknetWallet::new(&address(&of.address), vec![network()], Signer::Owner(key))
            .unwrap()
            .with_assets(assets())
            .with_node(network(), self.node.rpc.clone())
    }

    pub fn sender(&self, of: &Funded) -> OwnerSender {
        OwnerSender::new(&network(), self.node.rpc.clone(), account(of), MAX_FEE).unwrap()
    }

    /// The payer's owner calls something.
    pub async fn own(&self, calls: &[Call]) {
        let sender = self.sender(&self.payer);
        let hash = sender.send(calls).await.unwrap();
        sender.wait(&hash, Duration::from_secs(60)).await.unwrap();
    }

    /// The stranger sends what the payer's owner allows.
    pub async fn sent_by_stranger(&self, execution: &OutsideExecution) {
        let chain_id = felt::chain_id(&network()).unwrap();
        let payer = number(&self.payer.address);
        let key = StarkKey::from_hex(&self.payer.key).unwrap();
        let signature = key.sign(&execution.hash(&chain_id, &payer)).unwrap();
        let call = Call {
            to: payer,
            selector: selectors::EXECUTE_FROM_OUTSIDE,
            calldata: execution.calldata(&signature),
        };
        let sender = self.sender(&self.stranger);
        let hash = sender.send(&[call]).await.unwrap();
        sender.wait(&hash, Duration::from_secs(60)).await.unwrap();
    }

    pub fn offer_of(&self, asset: &str, amount: u64) -> PaymentRequirements {
        serde_json::from_value(json!({
            "scheme": "exact", "network": network().as_str(), "amount": amount.to_string(),
            "asset": asset, "payTo": PAYEE, "maxTimeoutSeconds": 300,
            "extra": {"feePayer": self.executor.address},
        }))
        .unwrap()
    }

    pub fn terms_of(&self, asset: &str, amount: u64) -> Terms {
        Terms::check(self.offer_of(asset, amount)).unwrap()
    }

    pub fn terms(&self) -> Terms {
        self.terms_of(STRK, PRICE)
    }

    pub async fn balance(&self, of: &str) -> u128 {
        let wallet = self.owner_wallet(&Funded {
            address: of.to_owned(),
            key: "0x1".to_owned(),
        });
        let balance = wallet.balance(&network(), &address(STRK)).await.unwrap();
        balance.unwrap().as_u128().unwrap()
    }

    pub async fn verify(&self, terms: &Terms, prepared: Prepared) -> Result<Verified, ChainError> {
        let payment = PaymentPayload {
            x402_version: 2,
            resource: None,
            accepted: PaymentRequirements::clone(&terms.wire),
            payload: prepared.payload,
            extensions: None,
        };
        let intent = self
            .chain
            .inspect(&Arc::new(payment), &Arc::new(terms.clone()))?;
        self.chain.verify(intent, Phase::Verify, Amount::ZERO).await
    }

    /// The code with which a payment is refused.
    pub async fn refused(&self, terms: &Terms, prepared: Prepared) -> String {
        match self.verify(terms, prepared).await {
            Err(ChainError::Refused(refusal)) => refusal.code().to_owned(),
            other => panic!("not refused: {other:?}"),
        }
    }

    /// Sends what was verified and says what became of it.
    pub async fn submit(&self, verified: &Verified) -> Outcome {
        let planned = PlannedPayment {
            verified: verified.clone(),
            charge: Charge {
                amount: verified.intent.expected.amount,
            },
            alone: false,
        };
        let plan = self.chain.plan(&[planned]).await.unwrap().remove(0);
        let signer = address(&self.executor.address);
        let nonce = self.chain.confirmed_nonce(&signer).await.unwrap();
        let slot = Slot {
            signer: signer.clone(),
            nonce,
            replaces: None,
        };
        let raw = self.chain.seal(&plan, &slot).await.unwrap();
        assert_eq!(
            self.chain.broadcast(&raw).await.unwrap(),
            Broadcast::Accepted
        );
        let watch = Watch {
            signer,
            nonce,
            hashes: vec![raw.hash],
            expected: vec![Watched {
                identity: verified.intent.identity.clone(),
                expected: verified.intent.expected.clone(),
                finality: Finality::Included,
            }],
        };
        for _ in 0..100 {
            let sight = self
                .chain
                .look(None, std::slice::from_ref(&watch))
                .await
                .unwrap();
            match sight.outcomes.into_iter().flatten().flatten().next() {
                None | Some(Outcome::Unknown) => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Some(outcome) => return outcome,
            }
        }
        panic!("nothing became of it");
    }

    /// Pays and is paid.
    pub async fn settle(&self, terms: &Terms, prepared: Prepared) -> (Verified, Settled) {
        let verified = self.verify(terms, prepared).await.unwrap();
        match self.submit(&verified).await {
            Outcome::Settled(settled) => (verified, settled),
            other => panic!("not settled: {other:?}"),
        }
    }
}
