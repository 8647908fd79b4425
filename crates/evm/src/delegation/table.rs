//! Where the Delegation Framework 1.3.0 is: the same addresses on every chain that
//! has it.

use alloy_primitives::{Address, address};

/// The manager that redeems delegations.
pub const DELEGATION_MANAGER: Address = address!("db9B1e94B5b69Df7e401DDbedE43491141047dB3");
/// The code that an account runs by EIP-7702 to be a delegator.
pub const STATELESS_DELEGATOR: Address = address!("63c0c19a282a1B52b07dD5a65b58948A07DAE32B");

/// The contracts that enforce caveats of payments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Enforcer {
    /// Who may redeem.
    Redeemer,
    /// How much of a token may move in all.
    TransferAmount,
    /// How much of a token may move in each period.
    PeriodTransfer,
    /// How much of a token may move, growing by the second.
    Streaming,
    /// When it may be redeemed.
    Timestamp,
    /// How often.
    LimitedCalls,
    /// A part of the call.
    AllowedCalldata,
    /// Which contracts may be called.
    AllowedTargets,
    /// Which functions may be called.
    AllowedMethods,
    /// The whole call.
    ExactCalldata,
    /// How much of the chain's own money may move.
    ValueLte,
    /// Valid until the delegator counts on.
    Nonce,
    /// One use of a number per delegator.
    Id,
}

impl Enforcer {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Redeemer,
        Self::TransferAmount,
        Self::PeriodTransfer,
        Self::Streaming,
        Self::Timestamp,
        Self::LimitedCalls,
        Self::AllowedCalldata,
        Self::AllowedTargets,
        Self::AllowedMethods,
        Self::ExactCalldata,
        Self::ValueLte,
        Self::Nonce,
        Self::Id,
    ];

    /// Where it is.
    #[must_use]
    pub const fn address(self) -> Address {
        match self {
            Self::Redeemer => address!("E144b0b2618071B4E56f746313528a669c7E65c5"),
            Self::TransferAmount => address!("f100b0819427117EcF76Ed94B358B1A5b5C6D2Fc"),
            Self::PeriodTransfer => address!("474e3Ae7E169e940607cC624Da8A15Eb120139aB"),
            Self::Streaming => address!("56c97aE02f233B29fa03502Ecc0457266d9be00e"),
            Self::Timestamp => address!("1046bb45C8d673d4ea75321280DB34899413c069"),
            Self::LimitedCalls => address!("04658B29F6b82ed55274221a06Fc97D318E25416"),
            Self::AllowedCalldata => address!("c2b0d624c1c4319760C96503BA27C347F3260f55"),
            Self::AllowedTargets => address!("7F20f61b1f09b08D970938F6fa563634d65c4EeB"),
            Self::AllowedMethods => address!("2c21fD0Cb9DC8445CB3fb0DC5E7Bb0Aca01842B5"),
            Self::ExactCalldata => address!("99F2e9bF15ce5eC84685604836F71aB835DBBdED"),
            Self::ValueLte => address!("92Bf12322527cAA612fd31a0e810472BBB106A8F"),
            Self::Nonce => address!("DE4f2FAC4B3D87A1d9953Ca5FC09FCa7F366254f"),
            Self::Id => address!("C8B5D93463c893401094cc70e66A206fb5987997"),
        }
    }

    /// Which one it is, if it is one of these.
    #[must_use]
    pub fn at(address: Address) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.address() == address)
    }
}
