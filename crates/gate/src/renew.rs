//! Other routes, prices and passes while requests are served: a second gate takes
//! the place of the first, and takes over what the first is working on.
//!
//! Requests that are under way end by what they began with. Terms that were told
//! before are honoured for as long as they say that a payment may take; after that
//! they open only what was claimed by them, for as long as answers are kept. Whoever
//! comes later with them is told the new ones.

use std::sync::{Arc, PoisonError};

use http::Method;
use tollway_core::{Finality, Timestamp, codes};

use crate::builder::GateBuilder;
use crate::gate::{Gate, Inner, Sale};
use crate::limits::MAX_ROUTES;
use crate::purchase::Rejection;
use crate::route::{Decision, Route, decide};
use crate::{BuildError, StartError};

/// Most routes that are remembered as they were sold before, over all changes.
const MAX_FORMER_ROUTES: usize = 16 * MAX_ROUTES;
/// Most changes that are remembered, each with all that was sold before it.
const MAX_FORMER: usize = 1024;

/// Why a gate cannot take other settings: it goes on with those that it has.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// They hold no gate.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The ledger does not let it take the place of the first.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// What was sold until the settings changed.
#[derive(Clone)]
pub(crate) struct Former {
    routes: Arc<[Route]>,
    sales: Vec<Option<Arc<Sale>>>,
    until: Timestamp,
}

/// How a payment by former terms may still be taken.
#[derive(Clone)]
pub(crate) struct ByFormer {
    /// When the terms were changed.
    pub until: Timestamp,
    /// What is sold in their place.
    pub now: Arc<Sale>,
}

impl Former {
    /// Whether a payment by the one is a payment by the other.
    fn sells_as(&self, other: &Self) -> bool {
        let of_routes = |former: &Self| {
            let routes = former.routes.iter();
            let routes = routes.map(|route| (route.pattern.clone(), route.finality));
            routes.collect::<Vec<_>>()
        };
        let are_alike = |(one, other): (&Option<Arc<Sale>>, &Option<Arc<Sale>>)| match (one, other)
        {
            (Some(one), Some(other)) => {
                one.offers == other.offers && one.pass == other.pass && one.meter == other.meter
            }
            (None, None) => true,
            _ => false,
        };
        of_routes(self) == of_routes(other) && self.sales.iter().zip(&other.sales).all(are_alike)
    }

    fn sale(&self, method: &Method, path: &str) -> Option<&Arc<Sale>> {
        let patterns = self.routes.iter().map(|route| &route.pattern);
        match decide(patterns, method, path) {
            Decision::Paid { route, .. } => self.sales.get(route)?.as_ref(),
            Decision::Free { .. } | Decision::Refused(_) => None,
        }
    }
}

impl Gate {
    /// The gate that takes this one's place: routes, prices, passes, credit and
    /// finality are the builder's, and what is under way is shared. The builder
    /// must be over the same facilitator, chains and ledger. Give the new gate's
    /// layer whatever comes from now on; sentences for the operator come with it.
    ///
    /// What the builder does not say is off: hooks, `on_event`, access, page and
    /// discovery are the new builder's only, so say them again.
    ///
    /// Tokens are signed with the new keys from then on. The keys of tokens that are
    /// out must be among them.
    ///
    /// # Errors
    /// [`RenewError`]; this gate then goes on as it is.
    pub async fn renew(&self, builder: GateBuilder) -> Result<(Self, Vec<String>), RenewError> {
        let gate = builder.build_after(&self.inner)?;
        gate.inner.sign_tokens().await?;
        let mut warnings = gate.refresh_supported().await;
        warnings.extend(gate.inner.unsigned_proofs());
        warnings.extend(gate.inner.uneven_passes());
        self.inner.replaced.cancel();
        crate::flow::keep(&gate.inner);
        Ok((gate, warnings))
    }
}

impl Inner {
    /// What the gate after this one remembers of what was sold.
    pub(crate) fn former_after(&self) -> Vec<Former> {
        let now = self.now();
        let remembered = |former: &&Former| now < former.until.plus(self.limits.keep_answers);
        let sales = self.sales.read().unwrap_or_else(PoisonError::into_inner);
        let last = Former {
            routes: Arc::clone(&self.routes),
            sales: sales.clone(),
            until: now,
        };
        // What is sold again, or was not changed at all, is remembered once.
        let earlier = self.former.iter().filter(remembered);
        let earlier = earlier.filter(|former| !former.sells_as(&last)).cloned();
        let mut room = MAX_FORMER_ROUTES;
        let fits = |former: &Former| {
            let left = room.checked_sub(former.routes.len());
            room = left.unwrap_or_default();
            left.is_some()
        };
        let all = std::iter::once(last.clone()).chain(earlier);
        all.take(MAX_FORMER).take_while(fits).collect()
    }

    /// What a request was sold by before, the latest first, where a payment does not
    /// fit what it is sold by now.
    pub(crate) fn sold_before(
        &self,
        rejection: &Rejection,
        method: &Method,
        path: &str,
    ) -> Vec<(Arc<Sale>, Timestamp)> {
        // A proof names its route's pattern, which may be spelled anew.
        let may_be_former = [
            codes::NO_MATCHING_PAYMENT_REQUIREMENTS,
            codes::INVALID_EXACT_EVM_TXID_REFERENCE,
        ];
        if !may_be_former.contains(&rejection.refusal.code()) {
            return Vec::new();
        }
        let kept = self.limits.keep_answers;
        let now = self.now();
        self.former
            .iter()
            .filter(|former| now < former.until.plus(kept))
            .filter_map(|former| Some((former.sale(method, path)?, former.until)))
            // A pass is sold only where passes are.
            .filter(|(sale, _)| sale.pass.is_none() || self.passes.is_some())
            .map(|(sale, until)| (Arc::clone(sale), until))
            .collect()
    }

    /// The passes at fixed prices that were sold before, the latest first: of the route
    /// of one pattern, or of the one that priced a path.
    pub(crate) fn passes_sold_before(
        &self,
        pattern: Option<&str>,
        path: Option<&str>,
    ) -> Vec<(Arc<Sale>, Timestamp)> {
        let kept = self.limits.keep_answers;
        let now = self.now();
        let known = self.former.iter();
        let known = known.filter(|former| now < former.until.plus(kept));
        let all = known.flat_map(|former| {
            let sales = former.sales.iter().zip(former.routes.iter());
            sales.filter_map(|(sale, route)| Some((sale.as_ref()?, route, former.until)))
        });
        all.filter(|(sale, ..)| sale.pass.is_some())
            .filter(|(sale, ..)| pattern.is_none_or(|pattern| pattern == sale.pattern))
            .filter(|(_, route, _)| path.is_none_or(|path| route.pattern.fits(path)))
            .map(|(sale, _, until)| (Arc::clone(sale), until))
            .collect()
    }

    /// The deepest finality that a pattern's routes had before.
    pub(crate) fn former_finality(&self, pattern: &str) -> Finality {
        self.former
            .iter()
            .flat_map(|former| former.routes.iter())
            .filter(|route| route.pattern.as_str() == pattern)
            .fold(Finality::default(), |deepest, route| {
                deepest.deeper(route.finality)
            })
    }
}
