//! The contracts that settling uses beside the tokens.

use std::sync::LazyLock;

use alloy_primitives::{Address, B256, Bytes, address, keccak256};
use serde::Deserialize;

use crate::typed_data::Witness;

/// Where Multicall3 is, on every chain that has it.
pub const MULTICALL3: Address = address!("cA11bde05977b3631167028862bE2a173976CA11");
/// The deployment proxy that most chains carry: its calldata is a salt and
/// creation code.
pub const CREATE2_DEPLOYER: Address = address!("4e59b44847b379578588920cA78FbF26c0B4956C");

/// Permit2, on every chain that has it.
pub const PERMIT2: Address = address!("000000000022D473030F116dDEE9F6B43aC78BA3");
/// x402ExactPermit2Proxy: the spender of permits of scheme `exact`.
pub const EXACT_PROXY: Address = address!("402085c248EeA27D92E8b30b2C58ed07f9E20001");
/// x402UptoPermit2Proxy: the spender of permits of scheme `upto`.
pub const UPTO_PROXY: Address = address!("4020A4f3b7b90ccA423B9fabCc0CE57C6C240002");

/// The contracts of others that payments on a network go through, where they are. The
/// published addresses by default; a network that has them elsewhere is told so by its
/// operator and by its buyers, never by a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contracts {
    /// Permit2.
    pub permit2: Address,
    /// The spender of permits of scheme `exact`.
    pub exact_proxy: Address,
    /// The spender of permits of scheme `upto`.
    pub upto_proxy: Address,
    /// Multicall3.
    pub multicall3: Address,
}

impl Default for Contracts {
    fn default() -> Self {
        Self {
            permit2: PERMIT2,
            exact_proxy: EXACT_PROXY,
            upto_proxy: UPTO_PROXY,
            multicall3: MULTICALL3,
        }
    }
}

impl Contracts {
    /// All of them, and what they are called.
    #[must_use]
    pub const fn named(&self) -> [(&'static str, Address); 4] {
        [
            ("permit2", self.permit2),
            ("exact-proxy", self.exact_proxy),
            ("upto-proxy", self.upto_proxy),
            ("multicall3", self.multicall3),
        ]
    }

    /// Puts one of them elsewhere, by its name; whether there is one of that name.
    #[must_use]
    pub fn place(&mut self, name: &str, address: Address) -> bool {
        let place = match name {
            "permit2" => &mut self.permit2,
            "exact-proxy" => &mut self.exact_proxy,
            "upto-proxy" => &mut self.upto_proxy,
            "multicall3" => &mut self.multicall3,
            _ => return false,
        };
        *place = address;
        true
    }

    /// Those that are not where they are published.
    pub(crate) fn elsewhere(&self) -> impl Iterator<Item = (&'static str, Address)> {
        let published = Self::default().named();
        let all = self.named().into_iter().zip(published);
        all.filter(|(ours, published)| ours != published)
            .map(|(ours, _)| ours)
    }

    /// Whether they are four contracts.
    pub(crate) fn are_sound(&self) -> bool {
        let all = self.named();
        all.iter().enumerate().all(|(place, (_, address))| {
            let before = all.iter().take(place);
            !address.is_zero() && before.into_iter().all(|(_, other)| other != address)
        })
    }

    /// Whether it is a proxy of x402.
    pub(crate) fn is_proxy(&self, address: Address) -> bool {
        [self.exact_proxy, self.upto_proxy].contains(&address)
    }

    /// The proxy that a permit is for: one whose witness names who settles is of
    /// scheme `upto`.
    pub(crate) const fn proxy_for(&self, witness: &Witness) -> Address {
        match witness.facilitator {
            None => self.exact_proxy,
            Some(_) => self.upto_proxy,
        }
    }
}

/// Creation code that tries transfers and answers what each would do.
pub(crate) static TRANSFER_PROBE: LazyLock<Bytes> = LazyLock::new(|| {
    read(include_str!(
        "../../../contracts/artifacts/TransferProbe.json"
    ))
    .bytecode
});

/// Code that makes several calls as the account that runs it, for a simulation.
pub(crate) static MULTICALL_CODE: LazyLock<Bytes> =
    LazyLock::new(|| read(include_str!("../../../contracts/artifacts/Multicall.json")).runtime);

static BATCH_EXECUTOR: LazyLock<Artifact> = LazyLock::new(|| {
    read(include_str!(
        "../../../contracts/artifacts/BatchExecutor.json"
    ))
});

#[derive(Default, Deserialize)]
struct Artifact {
    bytecode: Bytes,
    runtime: Bytes,
}

/// The artefacts are part of the program: that they are read is tested.
fn read(json: &str) -> Artifact {
    serde_json::from_str(json).unwrap_or_default()
}

/// Where the batch executor is: the same address on every chain, since nothing
/// but its code decides it.
#[must_use]
pub fn executor_address() -> Address {
    CREATE2_DEPLOYER.create2(B256::ZERO, keccak256(&BATCH_EXECUTOR.bytecode))
}

/// What anybody sends to [`CREATE2_DEPLOYER`] to put the executor there.
#[must_use]
pub fn executor_deployment() -> Bytes {
    [B256::ZERO.as_slice(), &BATCH_EXECUTOR.bytecode]
        .concat()
        .into()
}

static PERMIT_SETTLER: LazyLock<Artifact> = LazyLock::new(|| {
    read(include_str!(
        "../../../contracts/artifacts/PermitSettler.json"
    ))
});

/// The settler of a payee: the contract that EIP-2612 permits name as spender,
/// and that can pay nobody else. The same address on every chain, since only its
/// code and the payee decide it.
#[must_use]
pub fn settler_address(pay_to: Address) -> Address {
    let salt = pay_to.into_word();
    CREATE2_DEPLOYER.create2(salt, keccak256(settler_code(pay_to)))
}

/// What anybody sends to [`CREATE2_DEPLOYER`] to put a payee's settler there.
#[must_use]
pub fn settler_deployment(pay_to: Address) -> Bytes {
    let salt = pay_to.into_word();
    [salt.as_slice(), &settler_code(pay_to)].concat().into()
}

fn settler_code(pay_to: Address) -> Vec<u8> {
    [&PERMIT_SETTLER.bytecode, pay_to.into_word().as_slice()].concat()
}

/// Whether this is the executor's code.
pub(crate) fn is_executor(code: &Bytes) -> bool {
    !code.is_empty() && *code == BATCH_EXECUTOR.runtime
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contracts_are_four_and_each_has_a_name() {
        let mut contracts = Contracts::default();
        assert!(contracts.are_sound());
        assert_eq!(contracts.elsewhere().count(), 0);
        let there = Address::repeat_byte(0x77);
        assert!(contracts.place("permit2", there));
        assert!(!contracts.place("permit3", there));
        assert_eq!(
            contracts.elsewhere().collect::<Vec<_>>(),
            [("permit2", there)]
        );
        assert!(contracts.are_sound());
        assert!(contracts.place("upto-proxy", there));
        assert!(!contracts.are_sound(), "one is two things");
        assert!(contracts.place("upto-proxy", Address::ZERO));
        assert!(!contracts.are_sound(), "one is nowhere");
    }

    #[test]
    fn the_contracts_are_there() {
        assert!(TRANSFER_PROBE.len() > 500);
        assert!(MULTICALL_CODE.len() > 200);
        assert!(is_executor(&BATCH_EXECUTOR.runtime));
        assert!(!is_executor(&Bytes::new()));
        assert_eq!(
            executor_deployment().len(),
            32 + BATCH_EXECUTOR.bytecode.len()
        );
    }
}
