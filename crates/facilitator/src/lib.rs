//! The settlement engine and its HTTP API.
