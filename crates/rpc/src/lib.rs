//! A JSON-RPC client that knows no chain.
