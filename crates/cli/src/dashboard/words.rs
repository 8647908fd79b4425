//! How things are said on every page.

use std::time::Duration;

use tollway_core::assets::AssetTable;
use tollway_core::{Address, Amount, Network, Timestamp, TxHash, codes};

use crate::books::{is_hash, when};

/// An amount in the asset's own words, and the asset's name. What our table does
/// not know is in atomic units, and says so.
pub fn money(
    table: &AssetTable,
    network: &Network,
    asset: &Address,
    amount: Amount,
) -> (String, String) {
    match table.find(network, asset) {
        Some(known) => (amount.to_decimal(known.decimals), known.symbol.to_string()),
        None => (
            amount.to_string(),
            format!("atomic units of {}", short(asset.as_str())),
        ),
    }
}

/// A network as people call it.
pub fn network(network: &Network) -> String {
    let known = network.info().map(|info| info.display_name.to_owned());
    known.unwrap_or_else(|| network.to_string())
}

/// The first and the last digits of an address or hash.
pub fn short(text: &str) -> String {
    let count = text.chars().count();
    if count <= 14 {
        return text.to_owned();
    }
    let first: String = text.chars().take(8).collect();
    let last: String = text.chars().skip(count - 4).collect();
    format!("{first}…{last}")
}

/// Where a transaction can be looked at. What others called one and is none is
/// never part of a link.
pub fn explorer(network: &Network, hash: &TxHash) -> Option<String> {
    is_hash(hash).then(|| network.explorer_tx(hash)).flatten()
}

/// What a code of our table means; nothing for others'.
pub fn meaning(code: &str) -> &'static str {
    let known = codes::ALL.iter().find(|(known, _)| *known == code);
    known.map_or("", |(_, sentence)| sentence)
}

/// Day and minute in UTC.
pub fn minute(at: Timestamp) -> String {
    let (day, time) = when::day_and_time(at);
    format!("{day} {}", time.get(..5).unwrap_or_default())
}

/// How long, in the largest unit that fits.
pub fn long(took: Duration) -> String {
    let millis = took.as_millis();
    match millis {
        0..=999 => format!("{millis} ms"),
        1_000..=9_999 => format!("{}.{} s", millis / 1_000, millis % 1_000 / 100),
        10_000..=119_999 => format!("{} s", millis / 1_000),
        120_000..=7_199_999 => format!("{} min", millis / 60_000),
        7_200_000..=172_799_999 => format!("{} h", millis / 3_600_000),
        _ => format!("{} days", millis / 86_400_000),
    }
}

/// Part of a whole in percent, without a fraction.
pub fn percent(part: u64, whole: u64) -> String {
    match whole {
        0 => "–".to_owned(),
        _ => format!("{} %", u128::from(part) * 100 / u128::from(whole)),
    }
}

/// A value within a link of ours.
pub fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_link_is_made_of_what_is_no_hash() {
        let network: Network = "eip155:8453".parse().unwrap();
        let hash = TxHash::new(&format!("0x{}", "ab".repeat(32)));
        assert!(explorer(&network, &hash).is_some_and(|link| link.starts_with("https://")));
        for text in [
            "",
            "0x",
            "javascript:alert(1)",
            "0xab\"onclick=",
            "../../evil",
            "0xzz",
        ] {
            assert_eq!(explorer(&network, &TxHash::new(text)), None, "{text}");
        }
    }

    #[test]
    fn times_are_said_in_one_unit() {
        let said = |millis| long(Duration::from_millis(millis));
        assert_eq!(said(999), "999 ms");
        assert_eq!(said(1_250), "1.2 s");
        assert_eq!(said(119_999), "119 s");
        assert_eq!(said(7_200_000), "2 h");
        assert_eq!(said(1_000_000_000), "11 days");
    }
}
