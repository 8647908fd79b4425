//! What was found: a line each as it is found, or one JSON object at the end.

use std::io::{IsTerminal, Write};

use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::story::printable;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Green,
    /// It works, and somebody should look at it.
    Yellow,
    /// A customer would meet it.
    Red,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    name: &'static str,
    level: Level,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cure: Option<String>,
}

/// All that was found.
pub struct Report {
    as_json: bool,
    coloured: bool,
    findings: Vec<Finding>,
}

impl Report {
    /// An empty one. `may_colour` is what the environment says; only a terminal gets colours.
    pub fn new(as_json: bool, may_colour: bool) -> Self {
        Self {
            as_json,
            coloured: may_colour && std::io::stdout().is_terminal(),
            findings: Vec::new(),
        }
    }

    /// A heading, for those who read lines.
    pub fn about(&self, what: &str) {
        if !self.as_json {
            let _ = writeln!(std::io::stdout(), "{}", printable(what));
        }
    }

    /// As it should be.
    pub fn green(&mut self, name: &'static str, message: impl Into<String>) {
        self.add(name, Level::Green, message.into(), None);
    }

    /// It works, and somebody should look at it.
    pub fn yellow(&mut self, name: &'static str, message: impl Into<String>, cure: &str) {
        self.add(name, Level::Yellow, message.into(), Some(cure.to_owned()));
    }

    /// A customer would meet it; the cure says what to do.
    pub fn red(&mut self, name: &'static str, message: impl Into<String>, cure: &str) {
        self.add(name, Level::Red, message.into(), Some(cure.to_owned()));
    }

    /// Red, by a sentence of ours that ends with what to do.
    pub fn red_sentence(&mut self, name: &'static str, sentence: &str) {
        let (message, cure) = cut(sentence);
        self.red(name, message, &cure);
    }

    /// Yellow, by a sentence of ours that ends with what to do.
    pub fn yellow_sentence(&mut self, name: &'static str, sentence: &str) {
        let (message, cure) = cut(sentence);
        self.yellow(name, message, &cure);
    }

    fn add(&mut self, name: &'static str, level: Level, message: String, cure: Option<String>) {
        let finding = Finding {
            name,
            level,
            message,
            cure,
        };
        if !self.as_json {
            // Whoever closed the pipe reads no more, and the exit code still counts.
            let _ = writeln!(std::io::stdout(), "{}", self.line(&finding));
        }
        self.findings.push(finding);
    }

    fn line(&self, finding: &Finding) -> String {
        let (mark, colour) = match finding.level {
            Level::Green => ("ok  ", "32"),
            Level::Yellow => ("warn", "33"),
            Level::Red => ("FAIL", "31"),
        };
        let mark = match self.coloured {
            true => format!("\u{1b}[{colour}m{mark}\u{1b}[0m"),
            false => mark.to_owned(),
        };
        let lines = finding.message.lines().map(printable);
        let message = lines.collect::<Vec<_>>().join("\n  ");
        let cure = finding.cure.as_deref().map(printable).unwrap_or_default();
        let gap = if cure.is_empty() { "" } else { " " };
        format!("  {mark} {:<11} {message}{gap}{cure}", finding.name)
    }

    fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|f| f.level == level).count()
    }

    /// Says how it went, and how the program ends.
    pub fn finish(self) -> Result<Exit, Failure> {
        let (green, yellow, red) = (
            self.count(Level::Green),
            self.count(Level::Yellow),
            self.count(Level::Red),
        );
        if self.as_json {
            let whole = serde_json::json!({
                "ok": red == 0, "green": green, "yellow": yellow, "red": red, "findings": self.findings,
            });
            let _ = writeln!(std::io::stdout(), "{whole}");
        } else {
            let verdict = match (red, yellow) {
                (0, 0) => "All green".to_owned(),
                (0, n) => format!("No red, {n} to look at"),
                (n, _) => format!("{n} red"),
            };
            let all = green + yellow + red;
            let _ = writeln!(std::io::stdout(), "{verdict}, of {all} lines.");
        }
        Ok(if red == 0 { Exit::Done } else { Exit::Failed })
    }
}

/// Parts a sentence of ours from its end, which says what to do.
fn cut(sentence: &str) -> (String, String) {
    let sentence = sentence.trim_end();
    let parted = match sentence.rsplit_once('\n') {
        Some((message, cure)) => Some((message.to_owned(), cure)),
        None => sentence
            .rsplit_once("; ")
            .map(|(message, cure)| (format!("{message}."), cure)),
    };
    let Some((message, cure)) = parted else {
        return (String::new(), sentence.to_owned());
    };
    let mut letters = cure.chars();
    let cure = letters
        .next()
        .map(|first| first.to_uppercase().collect::<String>() + letters.as_str());
    let cure = cure.unwrap_or_default();
    let stop = if cure.ends_with(['.', ']']) { "" } else { "." };
    (message, format!("{cure}{stop}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_is_parted_from_its_cure() {
        let parts = cut("the node serves eip155:1; correct its RPC URL or the network");
        let expected = (
            "the node serves eip155:1.".to_owned(),
            "Correct its RPC URL or the network.".to_owned(),
        );
        assert_eq!(parts, expected);
        let (message, cure) = cut("TOML parse error at line 3\n  |\ncorrect that line.");
        assert!(message.contains("line 3"));
        assert_eq!(cure, "Correct that line.");
        assert_eq!(cut("Correct it.").1, "Correct it.");
    }

    #[test]
    fn what_a_server_says_moves_no_cursor() {
        let report = Report::new(false, false);
        let line = report.line(&Finding {
            name: "terms",
            level: Level::Red,
            message: "a\u{1b}[2Jb".to_owned(),
            cure: Some("Do.".to_owned()),
        });
        assert_eq!(line, "  FAIL terms       a[2Jb Do.");
    }
}
