//! The buyer's side: policy, budget and a paying HTTP client.
