//! What a round will do, all of it from a seed.

use std::time::Duration;

/// Who settles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// A facilitator, asked by its own API.
    Facilitator,
    /// A gate that settles by itself.
    Gate,
    /// A gate that settles first and serves then.
    Upfront,
    /// A gate that sells passes: by header, and at its door of tokens before their
    /// payments settle.
    Passes,
    /// A gate that sells what is streamed, by a meter.
    Meter,
    /// A facilitator without a signer, beside one that has it, over one database.
    Pair,
    /// The same, and the one that has the signer is the one that dies, for good.
    Takeover,
}

impl Setup {
    /// Whether it is a gate, which has terms.
    pub const fn is_gate(self) -> bool {
        matches!(
            self,
            Self::Gate | Self::Upfront | Self::Passes | Self::Meter
        )
    }
}

/// How the server dies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Death {
    /// At the n-th time that it comes to a place.
    At {
        /// The place's name.
        place: String,
        /// Counted from 1.
        hit: u32,
    },
    /// By SIGKILL, so long after the first payment was sent.
    After(Duration),
}

/// What goes on besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scene {
    /// Payments, and a stranger who submits some of them first.
    Busy,
    /// Also payers whose money is gone when it is to move.
    Robbed,
    /// No block comes until the authorizations have run out.
    Expiring,
    /// No block comes for longer than a gate waits for its engine.
    Stalled,
    /// Blocks are replaced, some of them by blocks without what they held.
    Replaced,
    /// A few times somebody else uses the nonce of a transaction that waits.
    Taken,
    /// So many blocks that payments become final while somebody looks.
    Final,
    /// A gate died before, and left grants to whoever comes.
    Orphaned,
    /// A nonce that was used is free again, by a block that is replaced while
    /// nobody runs.
    Freed,
    /// Also payers who bring an approval, and need help with the gas of it from an
    /// account that is not always free to help.
    Helped,
}

/// A round.
#[derive(Clone, Debug)]
pub struct Plan {
    /// All chance comes from here.
    pub seed: u64,
    /// Who settles.
    pub setup: Setup,
    /// What goes on besides.
    pub scene: Scene,
    /// The first death; later ones are drawn.
    pub death: Death,
    /// Deaths in a row: after the first, each start dies too.
    pub deaths: u32,
}

/// Numbers by chance that are the same for the same seed (splitmix64).
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// Begins with a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Yes or no.
    pub fn coin(&mut self) -> bool {
        self.any() & 1 == 0
    }

    /// A number from `least` to `most`.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.any() % (most - least + 1)
    }

    /// Milliseconds from `least` to `most`.
    pub fn millis(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.between(least, most))
    }

    /// One of several.
    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[(self.any() % all.len() as u64) as usize]
    }
}
