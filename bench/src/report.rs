//! The table: one row a figure, one column a server, our ratio to the first
//! peer, and the bar where there is one.

use std::collections::BTreeMap;
use std::time::Duration;

/// A number with its unit.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    value: f64,
    decimals: usize,
    unit: &'static str,
}

impl Figure {
    const fn new(value: f64, decimals: usize, unit: &'static str) -> Self {
        Self {
            value,
            decimals,
            unit,
        }
    }

    /// `12.3 ms`
    pub fn millis(duration: Duration) -> Self {
        Self::new(duration.as_secs_f64() * 1e3, 1, " ms")
    }

    /// `85 µs`
    pub fn micros(duration: Duration) -> Self {
        Self::new(duration.as_secs_f64() * 1e6, 0, " µs")
    }

    /// `14.2 MB`
    pub fn megabytes(bytes: u64) -> Self {
        Self::new(bytes as f64 / 1e6, 1, " MB")
    }

    /// `5000`
    pub fn count(count: usize) -> Self {
        Self::new(count as f64, 0, "")
    }

    /// `31.9`
    pub fn rate(count: usize, over: Duration) -> Self {
        Self::new(count as f64 / over.as_secs_f64().max(1e-9), 1, "")
    }

    /// `0.25`
    pub fn ratio(over: f64, under: f64) -> Self {
        Self::new(over / under.max(f64::MIN_POSITIVE), 2, "")
    }
}

impl std::fmt::Display for Figure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.*}{}", self.decimals, self.value, self.unit)
    }
}

/// What a row should show.
#[derive(Clone, Copy, Debug)]
pub enum Bar {
    /// Our figure divided by x402-rs's is at most this.
    ShareOfPeer(f64),
    /// Our figure divided by x402-rs's is at least this.
    TimesPeer(f64),
    /// Our figure is at most this.
    AtMost(f64),
    /// Our figure is at least this.
    AtLeast(f64),
}

impl Bar {
    /// Whether it is met; `None` where a figure is missing.
    fn met(self, row: &Row) -> Option<bool> {
        Some(match self {
            Self::ShareOfPeer(most) => row.ratio()? <= most,
            Self::TimesPeer(least) => row.ratio()? >= least,
            Self::AtMost(most) => row.ours()? <= most,
            Self::AtLeast(least) => row.ours()? >= least,
        })
    }
}

impl std::fmt::Display for Bar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ShareOfPeer(most) => write!(f, "≤ {most:.2} of x402-rs"),
            Self::TimesPeer(least) => write!(f, "≥ {least} × x402-rs"),
            Self::AtMost(most) => write!(f, "≤ {}", short(*most)),
            Self::AtLeast(least) => write!(f, "≥ {}", short(*least)),
        }
    }
}

/// At most three decimals, and none that say nothing.
fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[derive(Default)]
struct Row {
    name: String,
    figures: BTreeMap<&'static str, Figure>,
    bars: Vec<Bar>,
}

impl Row {
    fn ours(&self) -> Option<f64> {
        self.figures.get(OURS).map(|figure| figure.value)
    }

    /// Ours divided by the first peer's.
    fn ratio(&self) -> Option<f64> {
        let theirs = self.figures.get(PEER)?.value;
        (theirs > 0.0).then_some(self.ours()? / theirs)
    }

    fn cells(&self) -> String {
        let cell = |column: &&'static str| {
            self.figures
                .get(column)
                .map_or_else(|| "–".to_owned(), Figure::to_string)
        };
        let cells: Vec<String> = COLUMNS.iter().map(cell).collect();
        let ratio = self.ratio().map_or("–".to_owned(), |r| format!("{r:.2}"));
        let bars: Vec<String> = self.bars.iter().map(|bar| self.verdict(*bar)).collect();
        format!("{} | {ratio} | {}", cells.join(" | "), bars.join("; "))
    }

    fn verdict(&self, bar: Bar) -> String {
        match bar.met(self) {
            Some(true) => format!("{bar}: met"),
            Some(false) => format!("{bar}: **missed**"),
            None => format!("{bar}: not measured"),
        }
    }
}

/// Figures by row and server.
#[derive(Default)]
pub struct Table {
    rows: Vec<Row>,
    notes: Vec<String>,
}

const OURS: &str = "tollway";
const PEER: &str = "x402-rs";
const COLUMNS: [&str; 4] = [OURS, PEER, "r402", "official TypeScript"];

impl Table {
    /// Adds a figure, and says it at once: a run is long.
    pub fn add(&mut self, row: &str, column: &'static str, figure: Figure) {
        eprintln!("{row}: {column}: {figure}");
        self.row(row).figures.insert(column, figure);
    }

    /// Adds a figure that only we have.
    pub fn ours(&mut self, row: &str, figure: Figure) {
        self.add(row, OURS, figure);
    }

    /// Says what a row should show.
    pub fn bar(&mut self, row: &str, bar: Bar) {
        self.row(row).bars.push(bar);
    }

    /// A sentence below the table.
    pub fn note(&mut self, sentence: String) {
        eprintln!("{sentence}");
        self.notes.push(sentence);
    }

    fn row(&mut self, name: &str) -> &mut Row {
        let known = self.rows.iter().position(|row| row.name == name);
        let at = known.unwrap_or_else(|| {
            self.rows.push(Row {
                name: name.to_owned(),
                ..Row::default()
            });
            self.rows.len() - 1
        });
        &mut self.rows[at]
    }

    /// Prints it as Markdown.
    pub fn print(&self) {
        let columns = COLUMNS.join(" | ");
        println!("| figure | {columns} | tollway / x402-rs | bar |");
        println!("|---|{}---|---|", "---|".repeat(COLUMNS.len()));
        for row in &self.rows {
            println!("| {} | {} |", row.name, row.cells());
        }
        for note in &self.notes {
            println!("\n{note}");
        }
        self.print_score();
    }

    fn print_score(&self) {
        let judged = |row: &'_ Row| -> Vec<Option<bool>> {
            row.bars.iter().map(|bar| bar.met(row)).collect()
        };
        let all: Vec<Option<bool>> = self.rows.iter().flat_map(judged).collect();
        let met = all.iter().filter(|met| **met == Some(true)).count();
        println!("\n{met} of {} bars met.", all.len());
        for row in &self.rows {
            for bar in &row.bars {
                if bar.met(row) != Some(true) {
                    println!("- {}: {}", row.name, row.verdict(*bar));
                }
            }
        }
    }
}
