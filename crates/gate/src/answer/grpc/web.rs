//! How a gRPC-Web answer ends: with a frame of its body that holds the trailers.
//!
//! Source: gRPC-Web, "Protocol differences vs gRPC over HTTP2": a frame is a byte of
//! flags, four bytes of length and so many bytes; the highest flag marks trailers.
//! `application/grpc-web-text` is base64, padded as often as it was flushed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

/// Flag of the frame that holds trailers.
const TRAILERS: u8 = 0x80;
/// Flags and length.
const HEAD: usize = 5;

/// The end of a whole body, if it has one.
pub(super) struct End {
    frame: Bytes,
    is_text: bool,
}

impl End {
    /// Looks for it frame by frame; none if the body broke off.
    pub(super) fn of(body: &Bytes, is_text: bool) -> Option<Self> {
        let mut rest = match is_text {
            true => Bytes::from(decoded(body)?),
            false => body.clone(),
        };
        loop {
            let (flags, length) = (*rest.first()?, rest.get(1..HEAD)?);
            let length = u32::from_be_bytes(length.try_into().ok()?);
            let whole = HEAD.checked_add(usize::try_from(length).ok()?)?;
            if rest.len() < whole {
                return None;
            }
            let frame = rest.split_to(whole);
            if flags & TRAILERS != 0 {
                return Some(Self { frame, is_text });
            }
        }
    }

    /// Whether it says that the call succeeded. What cannot be read does not.
    pub(super) fn is_well(&self) -> bool {
        let is_plain = self.frame.first() == Some(&TRAILERS);
        let lines = self.frame.get(HEAD..).unwrap_or_default();
        let lines = std::str::from_utf8(lines).unwrap_or_default().lines();
        let mut statuses = lines
            .filter_map(|line| line.split_once(':'))
            .filter(|(name, _)| name.trim().eq_ignore_ascii_case("grpc-status"))
            .map(|(_, status)| status.trim() == "0")
            .peekable();
        is_plain && statuses.peek().is_some() && statuses.all(|is_zero| is_zero)
    }

    /// It alone, as a body.
    pub(super) fn into_body(self) -> Bytes {
        match self.is_text {
            true => STANDARD.encode(&self.frame).into(),
            false => self.frame,
        }
    }
}

/// Four letters at a time: each part that was flushed is padded for itself.
fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    let letters: Vec<u8> = text
        .iter()
        .copied()
        .filter(|c| !c.is_ascii_whitespace())
        .collect();
    let mut bytes = Vec::with_capacity(letters.len() / 4 * 3);
    for four in letters.chunks(4) {
        STANDARD.decode_vec(four, &mut bytes).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(flags: u8, text: &str) -> Vec<u8> {
        let length = u32::try_from(text.len()).unwrap().to_be_bytes();
        [&[flags], &length[..], text.as_bytes()].concat()
    }

    fn is_well(body: Vec<u8>) -> Option<bool> {
        End::of(&body.into(), false).map(|end| end.is_well())
    }

    #[test]
    fn the_last_frame_says_how_a_call_ended() {
        let message = frame(0, "a message");
        let with = |flags, end: &str| is_well([message.clone(), frame(flags, end)].concat());
        assert_eq!(with(0x80, "grpc-status: 0\r\n"), Some(true));
        assert_eq!(
            with(0x80, "Grpc-Status:0\r\ngrpc-message: x\r\n"),
            Some(true)
        );
        assert_eq!(
            with(0x80, "grpc-status: 13\r\ngrpc-message: x\r\n"),
            Some(false)
        );
        assert_eq!(
            with(0x80, "grpc-status: 0\r\ngrpc-status: 13\r\n"),
            Some(false)
        );
        assert_eq!(with(0x80, "x-other: 0\r\n"), Some(false));
        assert_eq!(with(0x81, "grpc-status: 0\r\n"), Some(false), "compressed");
    }

    #[test]
    fn a_body_that_broke_off_has_no_end() {
        let whole = [frame(0, "a message"), frame(0x80, "grpc-status: 0\r\n")].concat();
        for length in 0..whole.len() {
            assert_eq!(is_well(whole[..length].to_vec()), None, "{length}");
        }
        assert_eq!(is_well(frame(0, "a message")), None);
        assert_eq!(is_well([0xff; 9].to_vec()), None);
    }

    #[test]
    fn text_is_read_in_the_parts_that_it_was_written_in() {
        let (message, end) = (frame(0, "a"), frame(0x80, "grpc-status: 0\r\n"));
        let parts = [STANDARD.encode(message), STANDARD.encode(&end)].concat();
        let found = End::of(&parts.into(), true).unwrap();
        assert!(found.is_well());
        assert_eq!(found.into_body(), STANDARD.encode(end));
        assert!(End::of(&Bytes::from_static(b"!!!!"), true).is_none());
    }
}
