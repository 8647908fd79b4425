//! Counting what is handed out, and stopping where a limit is reached.

use bytes::Bytes;

use super::Unit;

/// Counts units, and splits what arrives where the next one would begin.
#[derive(Debug)]
pub(crate) struct Counter {
    begun: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Bytes handed out, and bytes in a unit.
    Bytes {
        out: u64,
        size: u64,
    },
    Events(Events),
}

impl Counter {
    pub(crate) fn new(unit: Unit) -> Self {
        let state = match unit {
            Unit::Bytes(size) => State::Bytes { out: 0, size },
            Unit::Event => State::Events(Events::default()),
        };
        Self { begun: 0, state }
    }

    /// Units that were begun by what was taken.
    pub(crate) const fn begun(&self) -> u64 {
        self.begun
    }

    /// Whether the last unit that may be begun is handed out whole.
    pub(crate) fn is_full(&self, limit: u64) -> bool {
        self.begun >= limit
            && match &self.state {
                State::Bytes { out, size } => *out >= limit.saturating_mul(*size),
                State::Events(events) => events.is_between(),
            }
    }

    /// Takes off the front what may leave without beginning more than `limit`
    /// units. The rest is as if it had never been seen.
    pub(crate) fn take(&mut self, data: &mut Bytes, limit: u64) -> Bytes {
        let length = match &mut self.state {
            State::Bytes { out, size } => {
                let room = limit.saturating_mul(*size).saturating_sub(*out);
                let room = usize::try_from(room).unwrap_or(usize::MAX);
                let length = data.len().min(room);
                *out = out.saturating_add(length as u64);
                self.begun = out.div_ceil(*size);
                length
            }
            State::Events(events) => {
                let room = limit.saturating_sub(self.begun);
                let (length, begun) = events.read(data, room);
                self.begun += begun;
                length
            }
        };
        data.split_to(length)
    }
}

/// Reads a stream of server-sent events as far as counting needs (HTML §9.2.6):
/// which lines are of data, and where an event ends.
#[derive(Clone, Copy, Debug, Default)]
struct Events {
    line: Line,
    /// Whether the event that is being read has begun: has a line of data.
    is_begun: bool,
    /// Whether the byte before was a carriage return: a line feed ends no other line.
    after_return: bool,
}

/// What is known of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Line {
    /// Nothing was read of it.
    #[default]
    Empty,
    /// So many bytes of the name `data`.
    Name(u8),
    /// It is another, or known already.
    Other,
}

const DATA: [u8; 4] = *b"data";

impl Events {
    /// Whether no event is half read.
    fn is_between(&self) -> bool {
        !self.is_begun && self.line == Line::Empty
    }

    /// How many bytes may leave with no more than `room` events, and how many
    /// events begin there.
    fn read(&mut self, data: &[u8], room: u64) -> (usize, u64) {
        let mut begun = 0;
        // Where the event that is being read started, and what was known then.
        let mut start = (0, *self);
        for (place, byte) in data.iter().copied().enumerate() {
            if self.after_return && byte == b'\n' {
                self.after_return = false;
                continue;
            }
            self.after_return = byte == b'\r';
            let ends_line = matches!(byte, b'\n' | b'\r');
            let is_data = self.line == Line::Name(4) && (ends_line || byte == b':');
            if is_data && !self.is_begun {
                if begun == room {
                    *self = start.1;
                    return (start.0, begun);
                }
                begun += 1;
                self.is_begun = true;
            }
            if ends_line {
                let ends_event = self.line == Line::Empty;
                self.line = Line::Empty;
                if ends_event {
                    self.is_begun = false;
                    start = (place + 1, *self);
                }
                continue;
            }
            self.line = match self.line {
                Line::Empty if byte == DATA[0] => Line::Name(1),
                Line::Name(known @ 1..4) if byte == DATA[usize::from(known)] => {
                    Line::Name(known + 1)
                }
                _ => Line::Other,
            };
        }
        (data.len(), begun)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What leaves of pieces, at most so many units; and how many were begun.
    fn leaves(unit: Unit, pieces: &[&str], limit: u64) -> (String, u64) {
        let mut counter = Counter::new(unit);
        let mut out = String::new();
        for piece in pieces {
            let mut data = Bytes::copy_from_slice(piece.as_bytes());
            out.push_str(std::str::from_utf8(&counter.take(&mut data, limit)).unwrap());
            if !data.is_empty() {
                // It does not leave later either.
                assert!(counter.take(&mut data, limit).is_empty());
                break;
            }
        }
        (out, counter.begun())
    }

    #[test]
    fn bytes_are_charged_by_each_unit_that_was_begun() {
        let ten = Unit::Bytes(10);
        assert_eq!(leaves(ten, &[""], 3).1, 0);
        assert_eq!(leaves(ten, &["a"], 3).1, 1);
        assert_eq!(leaves(ten, &["0123456789"], 3).1, 1);
        assert_eq!(leaves(ten, &["0123456789", "0"], 3).1, 2);
        let long = "0123456789".repeat(5);
        assert_eq!(leaves(ten, &[&long], 3), (long[..30].to_owned(), 3));
        assert_eq!(leaves(ten, &[&long], u64::MAX), (long.clone(), 5));
    }

    const FOUR: &str = ": hello\n\nid: 1\ndata: a\ndata: b\n\ndata: c\r\n\r\nevent: x\rdata\r\rretry: 9\n\ndata:d\n\n";

    #[test]
    fn events_are_those_with_data_however_they_are_cut() {
        assert_eq!(leaves(Unit::Event, &[FOUR], 9), (FOUR.to_owned(), 4));
        for limit in 0..4_u64 {
            let whole = leaves(Unit::Event, &[FOUR], limit);
            assert_eq!(whole.1, limit);
            assert!(whole.0.len() < FOUR.len());
            for cut in 0..=FOUR.len() {
                let (left, right) = FOUR.split_at(cut);
                let (out, begun) = leaves(Unit::Event, &[left, right], limit);
                assert_eq!(begun, limit, "cut at {cut}");
                assert!(FOUR.starts_with(&out));
                let dispatched = out.matches("\n\n").count();
                assert!(dispatched <= whole.0.matches("\n\n").count() + 1, "{cut}");
                let data = |text: &str| text.matches("data").count();
                assert!(data(&out) <= data(&whole.0) + 1, "cut at {cut}: {out}");
            }
        }
        let single: Vec<String> = FOUR.chars().map(String::from).collect();
        let single: Vec<&str> = single.iter().map(String::as_str).collect();
        assert_eq!(leaves(Unit::Event, &single, 9), (FOUR.to_owned(), 4));
    }

    #[test]
    fn a_stream_ends_between_events() {
        let (out, _) = leaves(Unit::Event, &[FOUR], 2);
        assert!(out.ends_with("data: c\r\n\r"), "{out:?}");
        let mut counter = Counter::new(Unit::Event);
        let mut data = Bytes::from_static(b"data: a\ndata: b\n");
        counter.take(&mut data, 1);
        assert!(!counter.is_full(1), "its event is not whole");
        counter.take(&mut Bytes::from_static(b"\n"), 1);
        assert!(counter.is_full(1));
    }

    #[test]
    fn an_event_is_charged_when_it_begins_and_not_when_it_ends() {
        assert_eq!(
            leaves(Unit::Event, &["data: all of it, and no end"], 9).1,
            1
        );
        assert_eq!(leaves(Unit::Event, &["dat"], 9).1, 0);
        assert_eq!(leaves(Unit::Event, &["dat", "a:x"], 9).1, 1);
        assert_eq!(
            leaves(Unit::Event, &["database: x\n\n", " data: x\n\n"], 9).1,
            0
        );
        assert_eq!(
            leaves(Unit::Event, &["data: a\n\ndat", "a: b\n\n"], 1).0,
            "data: a\n\ndat"
        );
    }
}
