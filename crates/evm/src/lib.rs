//! The EVM family: typed data, signing, verification, plans and receipts.
