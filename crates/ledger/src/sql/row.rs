//! Between Rust's types and the columns' plain text and integers.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde::de::IntoDeserializer;
use serde::de::value::Error as ValueError;
use tollway_core::{Address, Amount, Expected, Identity, Network, Timestamp, TxHash};

use crate::LedgerError;
use crate::failure::corrupt;

/// As an SQL integer. The end of time stays the end of time.
pub(crate) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(crate) fn millis(at: Timestamp) -> i64 {
    int(at.millis())
}

fn uint(value: i64) -> u64 {
    if value == i64::MAX {
        u64::MAX
    } else {
        u64::try_from(value).unwrap_or_default()
    }
}

/// As JSON text. Our own types always have one.
pub(crate) fn json<T: serde::Serialize>(value: &T) -> Result<String, LedgerError> {
    serde_json::to_string(value).map_err(|e| corrupt("value", e))
}

/// The names of a statement's columns, shared by all its rows.
pub(crate) type Names = Arc<[Box<str>]>;

/// What a column holds in a row.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// A row, read by column name.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub names: Names,
    pub values: Vec<Value>,
}

/// Oldest first.
pub(crate) fn by_seq(rows: Vec<Row>) -> Result<Vec<Row>, LedgerError> {
    let numbered = rows.into_iter().map(|row| Ok((row.number("seq")?, row)));
    let mut rows = numbered.collect::<Result<Vec<_>, LedgerError>>()?;
    rows.sort_by_key(|(seq, _)| *seq);
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

impl Row {
    fn value(&self, name: &str) -> Result<&Value, LedgerError> {
        let place = self.names.iter().position(|n| **n == *name);
        let value = place.and_then(|place| self.values.get(place));
        value.ok_or_else(|| corrupt(name, "no such column"))
    }

    pub fn text(&self, name: &str) -> Result<String, LedgerError> {
        self.str(name).map(str::to_owned)
    }

    fn str(&self, name: &str) -> Result<&str, LedgerError> {
        self.opt_str(name)?.ok_or_else(|| corrupt(name, "null"))
    }

    fn opt_str(&self, name: &str) -> Result<Option<&str>, LedgerError> {
        match self.value(name)? {
            Value::Text(text) => Ok(Some(text)),
            Value::Null => Ok(None),
            _ => Err(corrupt(name, "no text")),
        }
    }

    pub fn opt_text(&self, name: &str) -> Result<Option<String>, LedgerError> {
        Ok(self.opt_str(name)?.map(str::to_owned))
    }

    pub fn bytes(&self, name: &str) -> Result<Vec<u8>, LedgerError> {
        self.opt_bytes(name)?.ok_or_else(|| corrupt(name, "null"))
    }

    pub fn opt_bytes(&self, name: &str) -> Result<Option<Vec<u8>>, LedgerError> {
        match self.value(name)? {
            Value::Bytes(bytes) => Ok(Some(bytes.clone())),
            Value::Null => Ok(None),
            _ => Err(corrupt(name, "no bytes")),
        }
    }

    fn integer(&self, name: &str) -> Result<i64, LedgerError> {
        self.opt_integer(name)?.ok_or_else(|| corrupt(name, "null"))
    }

    pub fn opt_integer(&self, name: &str) -> Result<Option<i64>, LedgerError> {
        match self.value(name)? {
            Value::Int(value) => Ok(Some(*value)),
            Value::Null => Ok(None),
            _ => Err(corrupt(name, "no integer")),
        }
    }

    pub fn number(&self, name: &str) -> Result<u64, LedgerError> {
        self.integer(name).map(uint)
    }

    pub fn opt_number(&self, name: &str) -> Result<Option<u64>, LedgerError> {
        Ok(self.opt_integer(name)?.map(uint))
    }

    /// Text or a number, as JSON.
    pub fn plain(&self, name: &str) -> Result<serde_json::Value, LedgerError> {
        Ok(match self.value(name)? {
            Value::Null => serde_json::Value::Null,
            Value::Int(value) => uint(*value).into(),
            Value::Text(text) => text.as_str().into(),
            Value::Bytes(_) => return Err(corrupt(name, "bytes")),
        })
    }

    pub fn flag(&self, name: &str) -> Result<bool, LedgerError> {
        Ok(self.integer(name)? != 0)
    }

    pub fn time(&self, name: &str) -> Result<Timestamp, LedgerError> {
        self.number(name).map(Timestamp::from_millis)
    }

    pub fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T, LedgerError> {
        serde_json::from_str(self.str(name)?).map_err(|e| corrupt(name, e))
    }

    pub fn opt_json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, LedgerError> {
        self.opt_str(name)?
            .map(|text| serde_json::from_str(text).map_err(|e| corrupt(name, e)))
            .transpose()
    }

    pub fn word<T>(&self, name: &str, parse: fn(&str) -> Option<T>) -> Result<T, LedgerError> {
        let text = self.str(name)?;
        parse(text).ok_or_else(|| corrupt(name, text))
    }

    pub fn parsed<T: std::str::FromStr<Err = String>>(&self, name: &str) -> Result<T, LedgerError> {
        self.str(name)?
            .parse()
            .map_err(|e: String| corrupt(name, e))
    }

    pub fn network(&self, name: &str) -> Result<Network, LedgerError> {
        self.str(name)?.parse().map_err(|e| corrupt(name, e))
    }

    /// An account or contract, as canonical as it was when it was stored.
    pub fn address(&self, name: &str) -> Result<Address, LedgerError> {
        let text = self.text(name)?;
        let deserializer = IntoDeserializer::<ValueError>::into_deserializer(text);
        Address::deserialize(deserializer).map_err(|e| corrupt(name, e))
    }

    pub fn amount(&self, name: &str) -> Result<Amount, LedgerError> {
        self.str(name)?.parse().map_err(|e| corrupt(name, e))
    }

    pub fn opt_amount(&self, name: &str) -> Result<Option<Amount>, LedgerError> {
        self.opt_str(name)?
            .map(|text| text.parse().map_err(|e| corrupt(name, e)))
            .transpose()
    }

    pub fn opt_hash(&self, name: &str) -> Result<Option<TxHash>, LedgerError> {
        Ok(self.opt_str(name)?.map(TxHash::new))
    }

    /// The four columns of an identity.
    pub fn identity(&self) -> Result<Identity, LedgerError> {
        Ok(Identity {
            network: self.network("network")?,
            scope: self.text("scope")?,
            payer: self.address("payer")?,
            nonce: self.text("nonce")?,
        })
    }

    /// The four columns of an expected transfer.
    pub fn expected(&self) -> Result<Expected, LedgerError> {
        Ok(Expected {
            asset: self.address("asset")?,
            from: self.address("from_account")?,
            to: self.address("to_account")?,
            amount: self.amount("amount")?,
        })
    }

    /// A code and a sentence.
    pub fn refusal(&self) -> Result<Option<(String, String)>, LedgerError> {
        let code = self.opt_text("refusal_code")?;
        let message = self.opt_text("refusal_message")?;
        Ok(code.zip(message))
    }
}
