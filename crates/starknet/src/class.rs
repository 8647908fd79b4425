//! Class hashes: what a class is called once it is declared.

use serde_json::Value;
use starknet_crypto::{Felt, poseidon_hash_many};

use crate::deploy::bounded;
use crate::felt;

/// The class of `contracts/cairo`, by the hash that it has when it is declared as
/// its artifact stands there. A network knows it once somebody has declared it.
pub const ACCOUNT_CLASS_HASH: Felt =
    Felt::from_hex_unchecked("0x6ac959ec60bcb75ac3fed4bbc54ab4594bce0a0f118375e978e4aa6b9050c35");

/// 'CONTRACT_CLASS_V0.1.0'
const PREFIX: Felt = Felt::from_hex_unchecked("0x434f4e54524143545f434c4153535f56302e312e30");

/// The hash of a Sierra class as nodes take it (`CONTRACT_CLASS`: its ABI is a
/// text); `None` if something is missing.
#[must_use]
pub fn class_hash(class: &Value) -> Option<Felt> {
    let program = class["sierra_program"].as_array()?.iter();
    let program: Option<Vec<Felt>> = program.map(number).collect();
    let hash = poseidon_hash_many(&[
        PREFIX,
        entry_points(&class["entry_points_by_type"]["EXTERNAL"])?,
        entry_points(&class["entry_points_by_type"]["L1_HANDLER"])?,
        entry_points(&class["entry_points_by_type"]["CONSTRUCTOR"])?,
        felt::sn_keccak(class["abi"].as_str()?),
        poseidon_hash_many(&program?),
    ]);
    Some(bounded(hash))
}

fn entry_points(list: &Value) -> Option<Felt> {
    let mut felts = Vec::new();
    for entry in list.as_array()? {
        felts.push(number(&entry["selector"])?);
        felts.push(Felt::from(entry["function_idx"].as_u64()?));
    }
    Some(poseidon_hash_many(&felts))
}

fn number(value: &Value) -> Option<Felt> {
    felt::parse(value.as_str()?).ok()
}
