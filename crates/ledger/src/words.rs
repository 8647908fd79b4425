//! The stable words that states are stored and shown by.

use crate::{GrantState, PaymentState, SpendState};

macro_rules! words {
    ($state:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        impl $state {
            /// The stable word, as it is stored and shown.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// From the stable word.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }

        impl std::fmt::Display for $state {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words!(PaymentState {
    Accepted = "accepted",
    Submitted = "submitted",
    Settled = "settled",
    Refused = "refused",
    Expired = "expired",
});

words!(GrantState {
    Claimed = "claimed",
    Served = "served",
    Settling = "settling",
    Released = "released",
    Refused = "refused",
});

words!(SpendState {
    Reserved = "reserved",
    Signed = "signed",
    Presented = "presented",
    Unknown = "unknown",
    Paid = "paid",
    Released = "released",
});
