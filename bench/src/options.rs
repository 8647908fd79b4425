//! What the command line asks for.

/// How much to run, and which parts of it.
#[derive(Debug, Default)]
pub struct Options {
    /// A short run, to see that everything works.
    pub quick: bool,
    /// Makes the ledger of a million payments where none is kept from before.
    pub million: bool,
    /// Measures the binaries that are there.
    pub as_built: bool,
    only: Vec<String>,
}

const USAGE: &str = "usage: tollway-bench [--quick] [--million] [--as-built] [--only NAME]...";

impl Options {
    /// Reads the command line; on a word that it does not know it says how and ends.
    pub fn read(sections: &[&str]) -> Self {
        let mut options = Self::default();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--quick" => options.quick = true,
                "--million" => options.million = true,
                "--as-built" => options.as_built = true,
                "--only" => match words.next() {
                    Some(name) if sections.contains(&name.as_str()) => options.only.push(name),
                    _ => refuse(sections),
                },
                _ => refuse(sections),
            }
        }
        options
    }

    /// Whether this section is to run.
    pub fn wants(&self, section: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == section)
    }

    /// The first in a short run, the second otherwise.
    pub fn pick<T>(&self, quick: T, full: T) -> T {
        if self.quick { quick } else { full }
    }
}

fn refuse(sections: &[&str]) -> ! {
    eprintln!("{USAGE}\nNAME is one of: {}", sections.join(" "));
    std::process::exit(2);
}
