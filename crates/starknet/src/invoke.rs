//! INVOKE transactions, version 3: their hash and their JSON.

use serde::{Deserialize, Serialize};
use starknet_crypto::{Felt, poseidon_hash_many};

use crate::felt;

/// 'invoke'
const PREFIX: Felt = Felt::from_hex_unchecked("0x696e766f6b65");
/// "L1_GAS", "L2_GAS" and "L1_DATA" as numbers.
const NAMES: [u64; 3] = [0x4c31_5f47_4153, 0x4c32_5f47_4153, 0x4c_315f_4441_5441];

/// How much of a resource may be used, and at which price at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// Units.
    pub amount: u64,
    /// Fri (10^-18 STRK) per unit.
    pub price: u128,
}

impl Bound {
    /// The most that it can cost, in fri.
    #[must_use]
    pub fn most(&self) -> u128 {
        self.price.saturating_mul(u128::from(self.amount))
    }

    /// Name, amount and price in one number: 60, 64 and 128 bits.
    fn packed(&self, name: u64) -> Felt {
        let mut bytes = [0_u8; 32];
        bytes[..8].copy_from_slice(&name.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.amount.to_be_bytes());
        bytes[16..].copy_from_slice(&self.price.to_be_bytes());
        Felt::from_bytes_be(&bytes)
    }
}

/// Bounds of a transaction's fee.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Messages to Ethereum, and old-style steps.
    pub l1_gas: Bound,
    /// Execution, calldata, signatures.
    pub l2_gas: Bound,
    /// State that is posted to Ethereum.
    pub l1_data_gas: Bound,
}

impl Bounds {
    /// The most that the transaction can cost, in fri, with its tip.
    #[must_use]
    pub fn most(&self, tip: u64) -> u128 {
        let tips = u128::from(tip).saturating_mul(u128::from(self.l2_gas.amount));
        self.l1_gas
            .most()
            .saturating_add(self.l2_gas.most())
            .saturating_add(self.l1_data_gas.most())
            .saturating_add(tips)
    }
}

/// Tip and bounds as transactions of version 3 hash them.
pub(crate) fn fees_hash(tip: u64, bounds: &Bounds) -> Felt {
    poseidon_hash_many(&[
        Felt::from(tip),
        bounds.l1_gas.packed(NAMES[0]),
        bounds.l2_gas.packed(NAMES[1]),
        bounds.l1_data_gas.packed(NAMES[2]),
    ])
}

/// An INVOKE version 3 that is not signed. Data availability is Ethereum's,
/// nobody else pays, and the sender exists already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invoke {
    /// Who sends and pays.
    pub sender: Felt,
    /// The sender's transaction nonce.
    pub nonce: u64,
    /// Fri per unit of L2 gas for the sequencer.
    pub tip: u64,
    /// What it may cost.
    pub bounds: Bounds,
    /// What the sender's `__execute__` is given.
    pub calldata: Vec<Felt>,
}

impl Invoke {
    /// The transaction's hash, which the sender signs.
    #[must_use]
    pub fn hash(&self, chain_id: &Felt) -> Felt {
        let nothing = poseidon_hash_many(&[]);
        poseidon_hash_many(&[
            PREFIX,
            Felt::THREE,
            self.sender,
            fees_hash(self.tip, &self.bounds),
            nothing,
            *chain_id,
            Felt::from(self.nonce),
            Felt::ZERO,
            nothing,
            poseidon_hash_many(&self.calldata),
        ])
    }

    /// As nodes take it (`BROADCASTED_INVOKE_TXN`).
    #[must_use]
    pub fn signed(&self, signature: &[Felt]) -> InvokeJson {
        InvokeJson {
            kind: "INVOKE".to_owned(),
            version: "0x3".to_owned(),
            sender_address: felt::text(&self.sender),
            calldata: felt::texts(&self.calldata),
            signature: felt::texts(signature),
            nonce: format!("{:#x}", self.nonce),
            resource_bounds: BoundsJson::from(&self.bounds),
            tip: format!("{:#x}", self.tip),
            paymaster_data: Vec::new(),
            account_deployment_data: Vec::new(),
            nonce_data_availability_mode: "L1".to_owned(),
            fee_data_availability_mode: "L1".to_owned(),
        }
    }
}

/// A signed INVOKE as nodes take it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InvokeJson {
    #[serde(rename = "type")]
    kind: String,
    version: String,
    sender_address: String,
    calldata: Vec<String>,
    signature: Vec<String>,
    nonce: String,
    resource_bounds: BoundsJson,
    tip: String,
    paymaster_data: Vec<String>,
    account_deployment_data: Vec<String>,
    nonce_data_availability_mode: String,
    fee_data_availability_mode: String,
}

/// Without calldata and signatures.
impl std::fmt::Debug for InvokeJson {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InvokeJson")
            .field("sender_address", &self.sender_address)
            .field("nonce", &self.nonce)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BoundsJson {
    l1_gas: BoundJson,
    l2_gas: BoundJson,
    l1_data_gas: BoundJson,
}

impl From<&Bounds> for BoundsJson {
    fn from(bounds: &Bounds) -> Self {
        let bound = |bound: &Bound| BoundJson {
            max_amount: format!("{:#x}", bound.amount),
            max_price_per_unit: format!("{:#x}", bound.price),
        };
        Self {
            l1_gas: bound(&bounds.l1_gas),
            l2_gas: bound(&bounds.l2_gas),
            l1_data_gas: bound(&bounds.l1_data_gas),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BoundJson {
    max_amount: String,
    max_price_per_unit: String,
}

impl InvokeJson {
    /// Who sends it.
    #[must_use]
    pub fn sender(&self) -> Option<Felt> {
        felt::parse(&self.sender_address).ok()
    }

    /// Nonce, tip and bounds, to outbid it.
    #[must_use]
    pub fn terms(&self) -> Option<(u64, u64, Bounds)> {
        let number = |text: &str| felt::parse(text).ok();
        let small = |text: &str| number(text).and_then(|felt| felt::to_u64(&felt));
        let bound = |bound: &BoundJson| {
            Some(Bound {
                amount: small(&bound.max_amount)?,
                price: felt::to_u128(&number(&bound.max_price_per_unit)?)?,
            })
        };
        let bounds = Bounds {
            l1_gas: bound(&self.resource_bounds.l1_gas)?,
            l2_gas: bound(&self.resource_bounds.l2_gas)?,
            l1_data_gas: bound(&self.resource_bounds.l1_data_gas)?,
        };
        Some((small(&self.nonce)?, small(&self.tip)?, bounds))
    }
}
