//! Field elements as strangers write them, and as we write them.
//!
//! Everything on Starknet is a number below the prime 2^251 + 17 * 2^192 + 1:
//! accounts, amounts, names, signatures. The same number has many spellings, so
//! texts are read once into a [`Felt`] and compared as numbers.

use ruint::aliases::U256;
use sha3::{Digest, Keccak256};
pub use starknet_crypto::Felt;
use tollway_core::{Address, Amount, Network};

/// Most hex digits of a felt, with leading zeros.
const MAX_HEX_DIGITS: usize = 64;
/// Most decimal digits of a felt, with leading zeros.
const MAX_DECIMAL_DIGITS: usize = 78;
/// Most characters of a short string: 31 bytes fit below the prime.
const MAX_SHORT_STRING: usize = 31;
/// The field's prime.
const PRIME: U256 = U256::from_limbs([1, 0, 0, 0x0800_0000_0000_0011]);

/// Why a text is no felt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeltError {
    /// Neither `0x` and 1 to 64 hex digits nor 1 to 78 decimal digits.
    #[error("a field element is 0x and up to 64 hex digits, or up to 78 decimal digits")]
    NotANumber,
    /// Not below the prime.
    #[error("a field element is below 2^251 + 17 * 2^192 + 1")]
    TooLarge,
}

/// Reads a felt: `0x` with up to 64 hex digits, or up to 78 decimal digits. No
/// sign, no space, no other prefix.
///
/// # Errors
/// [`FeltError`].
pub fn parse(text: &str) -> Result<Felt, FeltError> {
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let (digits, radix, most) = match hex {
        Some(digits) => (digits, 16, MAX_HEX_DIGITS),
        None => (text, 10, MAX_DECIMAL_DIGITS),
    };
    let is_digit = |c: char| c.is_digit(radix);
    if digits.is_empty() || digits.len() > most || !digits.chars().all(is_digit) {
        return Err(FeltError::NotANumber);
    }
    let number = U256::from_str_radix(digits, u64::from(radix)).map_err(|_| FeltError::TooLarge)?;
    from_u256(number).ok_or(FeltError::TooLarge)
}

/// A number as a felt, if it is below the prime.
#[must_use]
pub fn from_u256(number: U256) -> Option<Felt> {
    (number < PRIME).then(|| Felt::from_bytes_be(&number.to_be_bytes()))
}

/// The number that a felt is.
#[must_use]
pub fn to_u256(felt: &Felt) -> U256 {
    U256::from_be_bytes(felt.to_bytes_be())
}

/// The canonical spelling: lower-case `0x` hex without leading zeros.
#[must_use]
pub fn text(felt: &Felt) -> String {
    format!("{:#x}", to_u256(felt))
}

/// The canonical spellings of several.
#[must_use]
pub fn texts(felts: &[Felt]) -> Vec<String> {
    felts.iter().map(text).collect()
}

/// A felt that is at most 2^128 - 1.
#[must_use]
pub fn to_u128(felt: &Felt) -> Option<u128> {
    u128::try_from(to_u256(felt)).ok()
}

/// A felt that is at most 2^64 - 1.
#[must_use]
pub fn to_u64(felt: &Felt) -> Option<u64> {
    u64::try_from(to_u256(felt)).ok()
}

/// An amount as Cairo's `u256`: the low and the high 128 bits.
#[must_use]
pub fn split(amount: Amount) -> [Felt; 2] {
    let [a, b, c, d] = *amount.as_u256().as_limbs();
    let half = |low: u64, high: u64| Felt::from(u128::from(high) << 64 | u128::from(low));
    [half(a, b), half(c, d)]
}

/// An amount from its halves, if both fit in 128 bits.
#[must_use]
pub fn join(low: &Felt, high: &Felt) -> Option<Amount> {
    let (low, high) = (to_u128(low)?, to_u128(high)?);
    Some(Amount::from(U256::from(high) << 128 | U256::from(low)))
}

/// A name of up to 31 ASCII characters as a felt (Cairo's short string).
#[must_use]
pub fn short_string(text: &str) -> Option<Felt> {
    let fits = text.len() <= MAX_SHORT_STRING && text.is_ascii();
    fits.then(|| Felt::from_bytes_be_slice(text.as_bytes()))
}

/// `sn_keccak` of a name: Keccak-256 cut to 250 bits, as selectors and type
/// hashes are.
#[must_use]
pub fn sn_keccak(name: &str) -> Felt {
    let mut hash: [u8; 32] = Keccak256::digest(name.as_bytes()).into();
    hash[0] &= 0x03;
    Felt::from_bytes_be(&hash)
}

/// An account's number.
#[must_use]
pub fn of_address(address: &Address) -> Option<Felt> {
    parse(address.as_str()).ok()
}

/// A number as an account of a Starknet network.
#[must_use]
pub fn to_address(network: &Network, felt: &Felt) -> Option<Address> {
    network.address(&text(felt)).ok()
}

/// The chain id that a Starknet network's name stands for.
#[must_use]
pub fn chain_id(network: &Network) -> Option<Felt> {
    short_string(network.as_str().strip_prefix("starknet:")?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PRIME_TEXT: &str = "0x800000000000011000000000000000000000000000000000000000000000001";

    #[test]
    fn one_number_has_many_spellings_and_one_canonical_one() {
        for spelling in ["0x2710", "0X2710", "10000", "0x0002710", "0010000"] {
            assert_eq!(text(&parse(spelling).unwrap()), "0x2710", "{spelling}");
        }
        assert_eq!(text(&parse(&format!("0x{:0>64}", "AbC")).unwrap()), "0xabc");
        assert_eq!(text(&Felt::ZERO), "0x0");
    }

    #[test]
    fn what_is_no_number_below_the_prime_is_no_felt() {
        for bad in [
            "", "0x", "-1", "+1", " 1", "1 ", "0x 1", "0xg", "1e3", "0b1", "١", "0x-1",
        ] {
            assert_eq!(parse(bad), Err(FeltError::NotANumber), "{bad:?}");
        }
        for long in [format!("0x{:065}", 1), format!("{:079}", 1)] {
            assert_eq!(parse(&long), Err(FeltError::NotANumber), "{long}");
        }
        let largest = to_u256(&(Felt::ZERO - Felt::ONE));
        assert_eq!(from_u256(largest), Some(Felt::ZERO - Felt::ONE));
        for large in [
            PRIME_TEXT.to_owned(),
            (largest + U256::from(1)).to_string(),
            format!("0x{}", "f".repeat(64)),
            "9".repeat(78),
        ] {
            assert_eq!(parse(&large), Err(FeltError::TooLarge), "{large}");
        }
    }

    #[test]
    fn only_31_ascii_characters_are_a_short_string() {
        assert_eq!(text(&short_string("VALID").unwrap()), "0x56414c4944");
        assert!(short_string(&"x".repeat(31)).is_some());
        assert!(short_string(&"x".repeat(32)).is_none());
        assert!(short_string("né").is_none());
    }

    proptest! {
        #[test]
        fn any_spelling_of_a_number_reads_as_that_number(bytes: [u8; 32], pad in 0_usize..4) {
            let number = U256::from_be_bytes(bytes) % PRIME;
            let felt = from_u256(number).unwrap();
            prop_assert_eq!(to_u256(&felt), number);
            prop_assert_eq!(parse(&text(&felt)), Ok(felt));
            prop_assert_eq!(parse(&number.to_string()), Ok(felt));
            let padded = format!("0x{}{number:X}", "0".repeat(pad));
            if padded.len() <= 66 {
                prop_assert_eq!(parse(&padded), Ok(felt));
            }
        }

        #[test]
        fn any_text_is_read_without_panic_and_only_below_the_prime(words in ".{0,90}", hex in "0x[0-9a-f]{1,66}") {
            for word in [words, hex] {
                if let Ok(felt) = parse(&word) {
                    prop_assert!(to_u256(&felt) < PRIME);
                }
            }
        }

        #[test]
        fn an_amount_survives_its_halves(limbs: [u64; 4]) {
            let amount = Amount::from(U256::from_limbs(limbs));
            let [low, high] = split(amount);
            prop_assert_eq!(join(&low, &high), Some(amount));
            let over = low + Felt::from(u128::MAX) + Felt::ONE;
            prop_assert_eq!(join(&over, &high), None);
            prop_assert_eq!(join(&low, &over), None);
        }
    }
}
