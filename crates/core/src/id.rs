//! Names of records: random, 128 bits, unguessable.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// A fresh one from the operating system's random source.
            ///
            /// # Errors
            /// Fails where the system has no randomness to give.
            pub fn random() -> Result<Self, getrandom::Error> {
                let mut bytes = [0_u8; 16];
                getrandom::fill(&mut bytes)?;
                Ok(Self(format!(concat!($prefix, "_{}"), hex::encode(bytes))))
            }

            /// One that the ledger or a caller named before. Nothing is checked:
            /// a name that does not exist finds nothing.
            #[must_use]
            pub fn from_text(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// A payment in the engine: `pay_` and 32 hex digits.
    PaymentId, "pay"
);
id!(
    /// A grant in the gate: `grt_` and 32 hex digits.
    GrantId, "grt"
);
id!(
    /// A buyer's spending record: `spd_` and 32 hex digits.
    SpendId, "spd"
);
