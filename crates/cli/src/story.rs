//! The story of a payment on stderr: sentences for people, JSON lines with `--json`.

use tollway_payer::Event;

/// Tells what happens, as it happens.
#[derive(Clone, Copy)]
pub struct Story {
    json: bool,
}

impl Story {
    /// In sentences, or as one JSON object a line.
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Something happened on the buyer's side.
    pub fn tell_buyer(self, event: &Event) {
        if self.json {
            if let Ok(line) = serde_json::to_string(event) {
                eprintln!("{line}");
            }
        } else if let Some(sentence) = sentence(event) {
            eprintln!("{}", printable(&sentence));
        }
    }
}

/// What a server says is data: no control characters reach the terminal.
pub fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(400).collect()
}

fn sentence(event: &Event) -> Option<String> {
    Some(match event {
        Event::Asked { method, url } => format!("→ {method} {url}"),
        Event::Redirected { to } => format!("← redirected to {to}"),
        Event::Terms {
            version, offers, ..
        } => {
            format!(
                "← 402 Payment Required, x402 version {version}: {}",
                offers.join("; or ")
            )
        }
        Event::PassedOver {
            offer,
            message,
            code,
        } => format!("  not {offer}: {message} [{code}]"),
        Event::Chosen { offer, upfront, .. } => {
            let order = if *upfront {
                "settled before the answer"
            } else {
                "settled after the answer"
            };
            format!("  chose {offer}, {order}")
        }
        Event::Reserved { spend } => format!("  reserved in the budget as {spend}"),
        Event::Resumed { spend } => {
            format!("  {spend} is still open: the same payment is shown again")
        }
        Event::Signed { valid_until, .. } => {
            format!(
                "  signed an authorization, valid until {}, and recorded it",
                valid_until.secs()
            )
        }
        Event::Presented { attempt: 1, .. } => "→ the same request, with the payment".to_owned(),
        Event::Presented { attempt, .. } => {
            format!("→ the same request and payment again, attempt {attempt}")
        }
        Event::Unclear {
            message, wait_ms, ..
        } => format!("← unclear: {message} Asking again in {wait_ms} ms."),
        Event::Paid(payment) => format!("← paid {} within {} ms", payment.words, payment.took_ms),
        // Failures are told once, by the program's last line.
        _ => return None,
    })
}
