//! Plain SQL that every store takes: statements with their parameters, and the
//! rows that they find. A store executes them; no step knows which.

mod row;
mod statement;

pub(crate) use row::{Names, Row, Value, by_seq, int, json, millis};
pub(crate) use statement::{Param, Statement, sql};
