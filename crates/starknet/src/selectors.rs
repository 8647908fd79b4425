//! Entry points by their selectors: `sn_keccak` of the name.

use starknet_crypto::Felt;

use crate::felt;

/// Longest name of an entry point that is turned into a selector.
const MAX_NAME: usize = 128;

macro_rules! selectors {
    ($($name:ident = $entry:literal $value:literal;)*) => {
        $(#[doc = concat!("`", $entry, "`")] pub const $name: Felt = Felt::from_hex_unchecked($value);)*

        #[cfg(test)]
        const ALL: &[(&str, Felt)] = &[$(($entry, $name)),*];
    };
}

selectors! {
    TRANSFER = "transfer" "0x83afd3f4caedc6eebf44246fe54e38c95e3179a5ec9ea81740eca5b482d12e";
    TRANSFER_EVENT = "Transfer" "0x99cd8bde557814842a3121e8ddfd433a539b8c9f14bf31ebf108d12e6196e9";
    APPROVE = "approve" "0x219209e083275171774dab1df80982e9df2096516f06319c5c6d71ae0a8480c";
    EXECUTE_FROM_OUTSIDE = "execute_from_outside_v2" "0x34cc13b274446654ca3233ed2c1620d4c5d1d32fd20b47146a3371064bdc57d";
    IS_VALID_NONCE = "is_valid_outside_execution_nonce" "0x1e6d35df2b9d989fb4b6bbcebda1314e4254cbe5e589dd94ff4f29ea935e91c";
    IS_VALID_SIGNATURE = "is_valid_signature" "0x28420862938116cb3bbdbedee07451ccc54d4e9412dbef71142ad1980a30941";
    BALANCE_OF = "balance_of" "0x35a73cd311a05d46deda634c5ee045db92f811b4e74bca4437fcb5302b7af33";
    BALANCE_OF_CAMEL = "balanceOf" "0x2e4263afad30923c891518314c3c95dbe830a16874e8abc5777a9a20b54c76e";
    ADD_SESSION = "add_or_update_session_key" "0x27d4f8b711f8a318b18cac75c0b7c9941844dbbece6f62ca10111055acb64c1";
    REVOKE_SESSION = "revoke_session_key" "0x32d4c11046940bbba0d48557b365ca002c6adc3f58d28671c8b7542ab7d60e9";
    SESSION_DATA = "get_session_data" "0x22ab76a647098ec53b3907885af4dcbe973ac395dd2baba3e0a3cc74a79a175";
    SESSION_ENTRYPOINT = "get_session_allowed_entrypoint_at" "0x2ef2a2e649feb975e271289bcc849cbf61315cba1218f2acd6011853b0df097";
    SET_POLICY = "set_spending_policy" "0x27b6399a529753e66438fe0341234566c390277e9c20b0f556016eb33bb698";
    GET_POLICY = "get_spending_policy" "0x3dfdf9f26d7d7bb37c449e8a7bf8995bcdf8b21b6a891a370ad299c2beef261";
    REMOVE_POLICY = "remove_spending_policy" "0x28dac008d849601a4f136c3a869aa4dcb43907ea63ab552ecddfd2281144040";
    INCREASE_ALLOWANCE = "increase_allowance" "0x1d13ab0a76d7407b1d5faccd4b3d8a9efe42f3d3c21766431d4fafb30f45bd4";
    INCREASE_ALLOWANCE_CAMEL = "increaseAllowance" "0x16cc063b8338363cf388ce7fe1df408bf10f16cd51635d392e21d852fafb683";
    UPGRADE = "upgrade" "0xf2f7c15cbe06c8d94597cd91fd7f3369eae842359235712def5584f8d270cd";
    SET_PUBLIC_KEY = "set_public_key" "0x2e3e21ff5952b2531241e37999d9c4c8b3034cccc89a202a6bf019bdf5294f9";
    SET_PUBLIC_KEY_CAMEL = "setPublicKey" "0xbc0eb87884ab91e330445c3584a50d7ddf4b568f02fbeb456a6242cce3f5d9";
    EXECUTE = "__execute__" "0x15d40a3d6ca2ac30f4031e42be28da9b056fef9bb7357ac5e85627ee876e5ad";
    SUPPORTS_INTERFACE = "supports_interface" "0xfe80f537b66d12a00b6d3c072b44afbb716e78dde5c3f0ef116ee93d3e3283";
}

/// Entry points that no session may call, of whatever contract.
pub const ADMINISTRATIVE: [Felt; 9] = [
    UPGRADE,
    ADD_SESSION,
    REVOKE_SESSION,
    EXECUTE,
    SET_PUBLIC_KEY,
    SET_PUBLIC_KEY_CAMEL,
    EXECUTE_FROM_OUTSIDE,
    SET_POLICY,
    REMOVE_POLICY,
];

/// Entry points of tokens that give money away, or the right to take it: what
/// spending policies count.
pub const SPENDING: [Felt; 4] = [
    TRANSFER,
    APPROVE,
    INCREASE_ALLOWANCE,
    INCREASE_ALLOWANCE_CAMEL,
];

/// A selector as people write it: the entry point's name, or the number as hex.
#[must_use]
pub fn parse(text: &str) -> Option<Felt> {
    if text.starts_with("0x") || text.starts_with("0X") {
        return felt::parse(text).ok();
    }
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let named = (1..=MAX_NAME).contains(&text.len())
        && text.chars().all(word)
        && !text.starts_with(|c: char| c.is_ascii_digit());
    named.then(|| felt::sn_keccak(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_selector_is_the_hash_of_its_name() {
        for (name, selector) in ALL {
            assert_eq!(felt::sn_keccak(name), *selector, "{name}");
            assert_eq!(parse(name), Some(*selector));
            assert_eq!(parse(&felt::text(selector)), Some(*selector));
        }
    }

    #[test]
    fn what_is_neither_a_name_nor_hex_is_no_selector() {
        let long = "a".repeat(MAX_NAME + 1);
        for bad in [
            "",
            " transfer",
            "1",
            "12345",
            "trans-fer",
            "0xzz",
            "été",
            long.as_str(),
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
