//! Answers that are not what the chain said.

use serde_json::{Map, Value, json};

use crate::fault::RECEIPTS;

/// `Transfer(address,address,uint256)`.
const TRANSFER: &str = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";
/// A token that does not exist.
const NOWHERE: &str = "0x00000000000000000000000000000000deadbeef";

/// Changes each receipt of an answer.
pub(crate) fn each_receipt(result: &mut Value, change: impl Fn(&mut Map<String, Value>)) {
    match result {
        Value::Array(receipts) => {
            let receipts = receipts.iter_mut().filter_map(Value::as_object_mut);
            receipts.for_each(change);
        }
        Value::Object(receipt) => change(receipt),
        _ => {}
    }
}

/// No receipt, whichever way it was asked for.
pub(crate) fn no_receipts(method: &str, result: &mut Value) {
    *result = match method {
        "eth_getBlockReceipts" => json!([]),
        _ => Value::Null,
    };
}

/// A receipt of a transaction that failed.
pub(crate) fn fail(receipt: &mut Map<String, Value>) {
    receipt.insert("status".to_owned(), json!("0x0"));
    receipt.insert("logs".to_owned(), json!([]));
}

/// Changes each log of an answer: those of receipts, or logs themselves.
pub(crate) fn each_log(method: &str, result: &mut Value, change: fn(&mut Map<String, Value>)) {
    let logs = |logs: &mut Value| {
        let logs = logs.as_array_mut().into_iter().flatten();
        logs.filter_map(Value::as_object_mut).for_each(change);
    };
    if RECEIPTS.contains(&method) {
        each_receipt(result, |receipt| {
            receipt.get_mut("logs").into_iter().for_each(logs);
        });
    } else {
        logs(result);
    }
}

/// A transfer of another amount.
pub(crate) fn other_value(log: &mut Map<String, Value>) {
    if log
        .get("topics")
        .is_some_and(|topics| topics[0] == TRANSFER)
    {
        log.insert("data".to_owned(), json!(format!("0x{:064x}", 1)));
    }
}

/// A log of another contract.
pub(crate) fn other_address(log: &mut Map<String, Value>) {
    log.insert("address".to_owned(), json!(NOWHERE));
}

/// Makes a call look at a block that is not the newest.
pub(crate) fn look_back(method: &str, params: &mut Value, newest: u64) {
    let at = json!(format!("{newest:#x}"));
    let named = |value: &Value| value.as_str().is_some_and(|text| text == "latest");
    let replace = |value: &mut Value| {
        if named(value) {
            *value = at.clone();
        }
    };
    let Some(list) = params.as_array_mut() else {
        return;
    };
    list.iter_mut().for_each(replace);
    match method {
        "eth_getLogs" => {
            let filter = list.first_mut().and_then(Value::as_object_mut);
            if let Some(to) = filter.and_then(|filter| filter.get_mut("toBlock")) {
                let above = quantity(to).is_none_or(|to| to > newest);
                if above {
                    *to = at;
                }
            }
        }
        "eth_call" | "eth_getBalance" | "eth_getTransactionCount" | "eth_getCode"
            if list.len() == 1 =>
        {
            list.push(at);
        }
        _ => {}
    }
}

/// Takes away what a node that is behind does not know yet.
pub(crate) fn forget_above(method: &str, result: &mut Value, newest: u64) {
    let number = |value: &Value, key: &str| value.get(key).and_then(quantity);
    let above = |value: &Value, key: &str| number(value, key).is_some_and(|n| n > newest);
    match method {
        "eth_blockNumber" => *result = json!(format!("{newest:#x}")),
        "eth_getBlockByNumber" | "eth_getBlockByHash" if above(result, "number") => {
            *result = Value::Null;
        }
        "eth_getTransactionReceipt" | "eth_getTransactionByHash"
            if above(result, "blockNumber") =>
        {
            *result = Value::Null;
        }
        "eth_getBlockReceipts" if above(&result[0], "blockNumber") => *result = Value::Null,
        _ => {}
    }
}

/// A number as nodes write it.
pub(crate) fn quantity(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> Value {
        json!({"address": "0xaa", "topics": [TRANSFER], "data": "0x05"})
    }

    #[test]
    fn logs_are_changed_wherever_they_are_read() {
        let other = json!({"address": "0xaa", "topics": ["0x01"], "data": "0x05"});
        let wrong =
            json!({"address": "0xaa", "topics": [TRANSFER], "data": format!("0x{:064x}", 1)});
        for (method, honest, lied) in [
            ("eth_getLogs", json!([log(), other]), json!([wrong, other])),
            (
                RECEIPTS[0],
                json!({"logs": [log()]}),
                json!({"logs": [wrong]}),
            ),
            (
                RECEIPTS[1],
                json!([{"logs": [log()]}]),
                json!([{"logs": [wrong]}]),
            ),
        ] {
            let mut told = honest.clone();
            each_log(method, &mut told, other_value);
            assert_eq!(told, lied, "{method}");
            let mut told = honest;
            each_log(method, &mut told, other_address);
            assert!(told.to_string().contains(NOWHERE) && !told.to_string().contains("0xaa"));
        }
    }
}
