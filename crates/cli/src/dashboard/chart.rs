//! Bars over time, as figures that a template draws.

use std::collections::BTreeMap;

use alloy_primitives::U256;
use tollway_core::assets::AssetTable;
use tollway_core::{Address, Amount, Network, Timestamp};
use tollway_ledger::Takings;

use super::overview::Span;
use super::words;

/// Height of the highest bar, in the drawing's own units.
const HEIGHT: u64 = 100;
/// Where bars stand.
const BASE: u64 = 110;
/// From one bar to the next.
const STEP: u64 = 12;

/// One asset on one network: never more than one in a chart.
pub struct Chart {
    pub symbol: String,
    pub network: String,
    pub total: String,
    pub times: u64,
    pub width: u64,
    pub bars: Vec<Bar>,
    pub rows: Vec<Line>,
    pub summary: String,
    pub first: String,
    pub last: String,
}

/// A rectangle.
pub struct Bar {
    pub x: u64,
    pub y: u64,
    pub width: u64,
    pub height: u64,
    pub label: String,
}

/// The same as text.
pub struct Line {
    pub when: String,
    pub amount: String,
    pub times: u64,
}

/// Money and how many payments it came by. Nothing where it is too large to add.
#[derive(Clone, Copy, Default)]
pub struct Sum {
    pub amount: Amount,
    pub times: u64,
}

impl Sum {
    /// Adds some of one price.
    pub fn add(&mut self, takings: &Takings) {
        let more = takings.each.checked_mul(takings.times);
        let sum = more.and_then(|more| self.amount.checked_add(more));
        self.amount = sum.unwrap_or(Amount::MAX);
        self.times += takings.times;
    }
}

/// Sums of one asset by step.
type Series = BTreeMap<u64, Sum>;

/// A chart for each network and asset.
pub fn charts(
    table: &AssetTable,
    takings: &[Takings],
    span: &Span,
    until: Timestamp,
) -> Vec<Chart> {
    let mut series: BTreeMap<(Network, Address), Series> = BTreeMap::new();
    for one in takings {
        let key = (one.network.clone(), one.asset.clone());
        let of_step = series.entry(key).or_default().entry(one.step);
        of_step.or_default().add(one);
    }
    let last = until.millis() / span.step_millis;
    let charts = series.iter();
    charts
        .map(|((network, asset), series)| chart(table, (network, asset), series, span, last))
        .collect()
}

fn chart(
    table: &AssetTable,
    (network, asset): (&Network, &Address),
    series: &Series,
    span: &Span,
    last: u64,
) -> Chart {
    let first = last.saturating_sub(span.steps - 1);
    let highest = series
        .values()
        .map(|sum| sum.amount)
        .max()
        .unwrap_or_default();
    let mut whole = Sum::default();
    let mut bars = Vec::new();
    let mut rows = Vec::new();
    for (step, sum) in series.range(first..=last) {
        whole.times += sum.times;
        whole.amount = whole.amount.checked_add(sum.amount).unwrap_or(Amount::MAX);
        let when = words::minute(Timestamp::from_millis(step * span.step_millis));
        let (amount, symbol) = words::money(table, network, asset, sum.amount);
        let height = height(sum.amount, highest);
        bars.push(Bar {
            x: (step - first) * STEP + 1,
            y: BASE - height,
            width: STEP - 2,
            height,
            label: format!("{when} UTC: {amount} {symbol}, {} paid", sum.times),
        });
        rows.push(Line {
            when,
            amount,
            times: sum.times,
        });
    }
    let (total, symbol) = words::money(table, network, asset, whole.amount);
    let network = words::network(network);
    Chart {
        summary: format!(
            "Bar chart: {total} {symbol} on {network} by {} payments {}, by {}",
            whole.times, span.label, span.step_name
        ),
        total,
        symbol,
        network,
        times: whole.times,
        width: span.steps * STEP,
        bars,
        rows,
        first: words::minute(Timestamp::from_millis(first * span.step_millis)),
        last: words::minute(Timestamp::from_millis(last * span.step_millis)),
    }
}

/// Of the highest; something of what is there is always seen.
fn height(amount: Amount, highest: Amount) -> u64 {
    let (amount, highest) = (amount.as_u256(), highest.as_u256());
    if amount.is_zero() || highest.is_zero() {
        return 0;
    }
    let scale = U256::from(HEIGHT);
    let height = match amount.checked_mul(scale) {
        Some(scaled) => scaled / highest,
        None => amount / (highest / scale),
    };
    height.saturating_to::<u64>().clamp(1, HEIGHT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heights_are_parts_of_the_highest_however_large() {
        let atomic = Amount::from_atomic;
        assert_eq!(height(atomic(50), atomic(100)), 50);
        assert_eq!(height(atomic(1), atomic(1_000_000)), 1);
        assert_eq!(height(atomic(0), atomic(5)), 0);
        assert_eq!(height(Amount::MAX, Amount::MAX), 100);
    }
}
