//! The table: one row a figure, one column a server, and our ratio to the first peer.

use std::collections::BTreeMap;
use std::time::Duration;

/// Figures by row and server.
#[derive(Default)]
pub struct Table {
    rows: Vec<(String, BTreeMap<&'static str, String>)>,
}

const COLUMNS: [&str; 4] = ["tollway", "x402-rs", "r402", "official TypeScript"];

impl Table {
    /// Adds a figure; its first word is the number.
    pub fn add(&mut self, row: &str, column: &'static str, figure: &str) {
        eprintln!("{row}: {column}: {figure}");
        let at = self
            .rows
            .iter()
            .position(|(name, _)| name == row)
            .unwrap_or_else(|| {
                self.rows.push((row.to_owned(), BTreeMap::new()));
                self.rows.len() - 1
            });
        self.rows[at].1.insert(column, figure.to_owned());
    }

    /// Prints it as Markdown.
    pub fn print(&self) {
        println!("| figure | {} | tollway / x402-rs |", COLUMNS.join(" | "));
        println!("|---|{}---|", "---|".repeat(COLUMNS.len()));
        for (name, figures) in &self.rows {
            let cells: Vec<&str> = COLUMNS
                .iter()
                .map(|c| figures.get(c).map_or("–", String::as_str))
                .collect();
            println!("| {name} | {} | {} |", cells.join(" | "), ratio(figures));
        }
    }
}

fn ratio(figures: &BTreeMap<&'static str, String>) -> String {
    let number = |column| -> Option<f64> { figures.get(column)?.split(' ').next()?.parse().ok() };
    match (number("tollway"), number("x402-rs")) {
        (Some(ours), Some(theirs)) if theirs > 0.0 => format!("{:.2}", ours / theirs),
        _ => "–".to_owned(),
    }
}

/// `12.3 ms`
pub fn millis(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

/// `85 µs`
pub fn micros(duration: Duration) -> String {
    format!("{} µs", duration.as_micros())
}

/// `14.2 MB`
pub fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
