//! The seller's side: a price on any route.
