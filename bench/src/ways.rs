//! Payments by every way there is on EVM networks, made by the wallets that
//! buyers use, each of a payer of its own.

use std::time::Duration;

use alloy_primitives::{Address, Bytes, U256};
use serde_json::json;
use tollway_core::assets::Method;
use tollway_core::wire::{PaymentPayload, PaymentRequirements, ResourceInfo};
use tollway_core::{
    Clock, Limits, Network, Offered, Prepared, Raw, Scheme, SystemClock, Terms, Wallet,
};
use tollway_devnet::DEV_ACCOUNTS;
use tollway_evm::delegation::{Allowance, DELEGATION_MANAGER, STATELESS_DELEGATOR};
use tollway_evm::{Bestowal, EvmSigner, EvmWallet, PermissionWallet};
use tollway_rpc::{RpcClient, RpcConfig};

use crate::node::Node;
use crate::payments::{CHAIN, dollar, payer_key, requirements, shop};

/// How long whatever has an end is good, seconds.
const LIFETIME: u64 = 600;
/// What is sold.
const RESOURCE: &str = "http://127.0.0.1/paid/weather";
/// EIP-7702's designator: this, and the address whose code an account runs.
const DESIGNATOR: [u8; 3] = [0xef, 0x01, 0x00];
/// Until what was sent must be in a block.
const IN_A_BLOCK: Duration = Duration::from_secs(30);

/// A way to pay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `exact` by EIP-3009.
    Eip3009,
    /// `exact` by Permit2.
    Permit2,
    /// `upto` by Permit2.
    Upto,
    /// `exact` by EIP-2612 and a settler.
    Eip2612,
    /// `exact` by a permission: two delegations with five caveats each.
    Erc7710,
    /// `exact` by a transaction that exists.
    Txid,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Eip3009,
        Self::Permit2,
        Self::Upto,
        Self::Eip2612,
        Self::Erc7710,
        Self::Txid,
    ];

    /// Its name in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Eip3009 => "eip3009",
            Self::Permit2 => "permit2",
            Self::Upto => "upto",
            Self::Eip2612 => "eip2612",
            Self::Erc7710 => "erc7710",
            Self::Txid => "txid",
        }
    }

    /// Whether the facilitator sends a transaction for it.
    pub const fn is_sent(self) -> bool {
        !matches!(self, Self::Txid)
    }

    /// What a seller asks for.
    pub fn requirements(self) -> PaymentRequirements {
        let settling = DEV_ACCOUNTS[0].address.to_checksum(None);
        match self {
            Self::Eip3009 => requirements(Scheme::Exact),
            Self::Permit2 => requirements(Scheme::Exact).with_method(Method::Permit2),
            Self::Eip2612 => requirements(Scheme::Exact).with_method(Method::Eip2612),
            Self::Upto => requirements(Scheme::Upto)
                .with_method(Method::Permit2)
                .with_extra("facilitatorAddress", settling),
            Self::Erc7710 => requirements(Scheme::Exact)
                .with_method(Method::Erc7710)
                .with_extra("facilitatorAddresses", json!([settling])),
            Self::Txid => requirements(Scheme::Exact)
                .with_method(Method::Txid)
                .with_extra("paymentFlow", "upfront")
                .with_extra("proofProfile", "unsigned"),
        }
    }
}

/// Accounts that pay once each.
pub struct Buyers {
    way: Way,
    terms: Terms,
    /// How many are there, and who is next.
    count: usize,
    next: usize,
    network: Network,
    rpc: RpcClient,
}

impl Buyers {
    /// So many, with money, and with what each must have done before it can pay.
    pub async fn ready(node: &Node, way: Way, count: usize) -> Self {
        let config = RpcConfig::new(vec![node.url.parse().expect("URL")]);
        let buyers = Self {
            way,
            terms: Terms::check(way.requirements()).expect("terms"),
            count,
            next: 0,
            network: Network::eip155(CHAIN),
            rpc: RpcClient::new(config).expect("client"),
        };
        for n in 0..count {
            let wei = U256::from(10).pow(U256::from(18));
            node.devnet.set_balance(signer(n).address(), wei);
            buyers.make_ready(node, n).await;
        }
        until_in_blocks(node).await;
        buyers
    }

    async fn make_ready(&self, node: &Node, n: usize) {
        match self.way {
            Way::Permit2 | Way::Upto => {
                let approval = self.wallet(n).approval(&self.terms).await;
                send(node, &approval.expect("an approval"));
            }
            Way::Erc7710 => {
                let code = [DESIGNATOR.as_slice(), STATELESS_DELEGATOR.as_slice()].concat();
                let placed = node.devnet.set_code(signer(n).address(), code.into());
                placed.expect("a delegator");
            }
            Way::Eip3009 | Way::Eip2612 | Way::Txid => {}
        }
    }

    fn wallet(&self, n: usize) -> EvmWallet {
        EvmWallet::new(signer(n)).with_node(self.network.clone(), self.rpc.clone())
    }

    /// What the next so many accounts pay.
    pub async fn payments(&mut self, node: &Node, count: usize) -> Vec<PaymentPayload> {
        let first = self.next;
        self.next += count;
        assert!(self.next <= self.count, "each account pays once");
        let mut payments = Vec::with_capacity(count);
        for n in first..self.next {
            let prepared = self.pay(n).await;
            if let Some(raw) = &prepared.transaction {
                send(node, raw);
            }
            payments.push(PaymentPayload {
                x402_version: 2,
                resource: Some(resource()),
                accepted: PaymentRequirements::clone(&self.terms.wire),
                payload: prepared.payload,
                extensions: prepared.extensions,
            });
        }
        until_in_blocks(node).await;
        payments
    }

    /// The same, as bodies for /verify and /settle.
    pub async fn bodies(&mut self, node: &Node, count: usize) -> Vec<Vec<u8>> {
        let body = |payment: PaymentPayload| {
            let terms = &payment.accepted;
            json!({ "x402Version": 2, "paymentRequirements": terms, "paymentPayload": payment })
                .to_string()
                .into_bytes()
        };
        let payments = self.payments(node, count).await;
        payments.into_iter().map(body).collect()
    }

    async fn pay(&self, n: usize) -> Prepared {
        let limits = Limits {
            max_amount: self.terms.amount,
            max_lifetime: Duration::from_secs(LIFETIME),
        };
        let resource = resource();
        let offered = Offered {
            resource: Some(&resource),
            ..Offered::default()
        };
        let wallet: Box<dyn Wallet> = match self.way {
            Way::Erc7710 => Box::new(self.permitted(n).await),
            _ => Box::new(self.wallet(n)),
        };
        let prepared = wallet.prepare_offered(&self.terms, &limits, offered).await;
        prepared.expect("a payment")
    }

    /// The account grants a session what it needs, as wallets do, and that pays.
    async fn permitted(&self, n: usize) -> PermissionWallet {
        let session = EvmSigner::random().expect("a key");
        let now = SystemClock.now().secs();
        let wish = Bestowal {
            payer: signer(n).address(),
            session: session.address(),
            asset: dollar(),
            allowance: Allowance::Period {
                amount: self.terms.amount.as_u256(),
                duration: U256::from(86_400),
                start: U256::from(now - 60),
            },
            redeemers: vec![DEV_ACCOUNTS[0].address],
            payee: None,
            expires: now + LIFETIME,
        };
        let wallet = self.wallet(n);
        let granted = wallet.bestow(&self.network, DELEGATION_MANAGER, &wish);
        let chain = vec![granted.await.expect("a grant")];
        PermissionWallet::new(session, self.network.clone(), DELEGATION_MANAGER, chain)
            .expect("a permission")
    }
}

fn resource() -> ResourceInfo {
    ResourceInfo {
        url: RESOURCE.to_owned(),
        ..ResourceInfo::default()
    }
}

fn send(node: &Node, raw: &Raw) {
    node.devnet.send_raw(&raw.bytes).expect("taken");
}

async fn until_in_blocks(node: &Node) {
    let wait = async {
        while node.devnet.waiting() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(IN_A_BLOCK, wait).await;
    waited.expect("what was sent is in a block");
}

/// The permission context of a payment by permission.
pub fn context_of(payment: &PaymentPayload) -> Bytes {
    let text = payment.payload["permissionContext"].as_str();
    text.expect("a context").parse().expect("hex")
}

/// The accounts, for the chain to give them money.
pub fn accounts(count: usize) -> Vec<Address> {
    (0..count).map(|n| signer(n).address()).collect()
}

fn signer(n: usize) -> EvmSigner {
    EvmSigner::from_bytes(&payer_key(n).0).expect("key")
}

/// The shop's settler of EIP-2612 permits, where its first payment would put it.
pub fn place_settler(node: &Node) {
    node.devnet.place_settler(shop()).expect("a settler");
}
