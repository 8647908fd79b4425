//! Stories: see `main.rs`.
