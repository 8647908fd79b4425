//! CRC-32C (Castagnoli), which the service puts beside what it sends.

/// Reversed, as the bits are taken from the right.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// Of bytes.
pub fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ if sum & 1 == 1 { POLYNOMIAL } else { 0 }
        })
    })
}

/// Whether bytes have the checksum that was sent, in decimal digits; one that was
/// not sent fits everything.
pub fn fits(sent: Option<&str>, bytes: &[u8]) -> bool {
    sent.is_none_or(|digits| digits.parse() == Ok(crc32c(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_rfc_3720() {
        // Section B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert!(fits(Some("3808858755"), b"123456789"));
        assert!(!fits(Some("3808858755"), b"123456788"));
        assert!(!fits(Some("-1"), b"123456789"));
        assert!(fits(None, b"123456789"));
    }
}
