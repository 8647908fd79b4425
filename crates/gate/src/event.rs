//! What a gate tells its owner while it works.

use std::sync::Arc;

use tollway_core::{Amount, GrantId, Network};

/// Something that happened at a gate. No secrets: safe to log and to show.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A request without payment got the terms.
    Challenged {
        /// The route's pattern.
        route: String,
    },
    /// A payment would settle.
    Verified {
        /// The route's pattern.
        route: String,
        /// Who pays.
        payer: String,
        /// Where.
        network: Network,
        /// Atomic units.
        amount: Amount,
    },
    /// A payment opened a grant.
    Claimed {
        /// The grant.
        grant: GrantId,
        /// The route's pattern.
        route: String,
    },
    /// The service behind answered.
    Served {
        /// The grant.
        grant: GrantId,
        /// Its HTTP status.
        status: u16,
    },
    /// A metered stream ended; what it came to is settled next.
    Metered {
        /// The grant.
        grant: GrantId,
        /// The route's pattern.
        route: String,
        /// Units that were begun.
        units: u64,
        /// What they come to, in atomic units of the asset.
        charged: Amount,
        /// What was signed for.
        maximum: Amount,
        /// Why it ended: `whole`, `maximum`, `client_left`, `client_stalled`,
        /// `time`, `upstream_broke`, `unrecorded`.
        end: &'static str,
    },
    /// The outcome of settling is not known; it is asked for again.
    Pending {
        /// The grant.
        grant: GrantId,
        /// The transaction, once there is one.
        transaction: Option<String>,
    },
    /// Paid: the answer leaves.
    Released {
        /// The grant.
        grant: GrantId,
        /// The route's pattern.
        route: String,
        /// The transaction.
        transaction: String,
        /// Who paid.
        payer: String,
        /// Atomic units.
        amount: Amount,
    },
    /// A token left, perhaps before its payment settled.
    TokenIssued {
        /// The grant.
        grant: GrantId,
        /// The route's pattern.
        route: String,
        /// Whether its payment is still to be settled.
        in_background: bool,
    },
    /// A stored answer left again, to whom paid for it.
    Redelivered {
        /// The grant.
        grant: GrantId,
    },
    /// Who paid before signed in, and gets it again for nothing.
    SignedIn {
        /// The route's pattern.
        route: String,
        /// Who paid.
        payer: String,
    },
    /// A sign-in opened nothing; a payment beside it still may.
    SignInRefused {
        /// The route's pattern.
        route: String,
        /// Stable code.
        code: String,
    },
    /// No answer left.
    Refused {
        /// The grant, if one was open.
        grant: Option<GrantId>,
        /// The route's pattern.
        route: String,
        /// Stable code.
        code: String,
    },
}

impl Event {
    /// The stable word for metrics and logs.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Challenged { .. } => "challenged",
            Self::Verified { .. } => "verified",
            Self::Claimed { .. } => "claimed",
            Self::Served { .. } => "served",
            Self::Metered { .. } => "metered",
            Self::Pending { .. } => "pending",
            Self::Released { .. } => "released",
            Self::TokenIssued { .. } => "token_issued",
            Self::Redelivered { .. } => "redelivered",
            Self::SignedIn { .. } => "signed_in",
            Self::SignInRefused { .. } => "sign_in_refused",
            Self::Refused { .. } => "refused",
        }
    }
}

/// Called at every [`Event`], on the request's own task: it must not block.
pub type OnEvent = Arc<dyn Fn(&Event) + Send + Sync>;
