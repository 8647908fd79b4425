//! A QR code as SVG: what a phone with a wallet opens.

use std::fmt::Write as _;

use qrcodegen::{QrCode, QrCodeEcc};

/// Longest text that is drawn: longer ones make codes that phones read badly, and
/// a page that is too long.
const MAX_QR_BYTES: usize = 134;
/// Blank modules around it (ISO/IEC 18004 §6.3.8).
const QUIET_ZONE: i32 = 4;

/// The drawing; none for a text that is too long.
pub(super) fn svg(text: &str, label: &str) -> Option<String> {
    if text.len() > MAX_QR_BYTES {
        return None;
    }
    let code = QrCode::encode_text(text, QrCodeEcc::Low).ok()?;
    let side = code.size() + 2 * QUIET_ZONE;
    let mut drawn = format!(
        "<svg class=\"qr\" role=\"img\" aria-label=\"{label}\" viewBox=\"0 0 {side} {side}\" \
         shape-rendering=\"crispEdges\"><path d=\""
    );
    for y in 0..code.size() {
        let mut x = 0;
        while x < code.size() {
            let start = x;
            while x < code.size() && code.get_module(x, y) {
                x += 1;
            }
            if x > start {
                let length = x - start;
                let (left, top) = (start + QUIET_ZONE, y + QUIET_ZONE);
                // Writing to a string does not fail.
                let _ = write!(drawn, "M{left} {top}h{length}v1h-{length}z");
            }
            x += 1;
        }
    }
    drawn.push_str("\"/></svg>");
    Some(drawn)
}
