//! The durable record: settlements, grants and spending.
