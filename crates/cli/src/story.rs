//! The story of a payment on stderr: sentences for people, JSON lines with `--json`.

use tollway_core::{Amount, Network};
use tollway_facilitator::SettlementEvent;
use tollway_facilitator::engine::machine::Update;
use tollway_gate::Event as GateEvent;
use tollway_payer::{Event, Standing, Via};

/// Tells what happens, as it happens.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Story {
    /// In sentences.
    Sentences,
    /// The buyer's side as one JSON object a line.
    Json,
    /// Not at all.
    Silent,
}

impl Story {
    /// Something happened on the buyer's side.
    pub fn tell_buyer(self, event: &Event) {
        if self == Self::Json {
            if let Ok(line) = serde_json::to_string(event) {
                eprintln!("{line}");
            }
        } else if let Some(sentence) = sentence(event) {
            self.say(&sentence);
        }
    }
}

impl Story {
    /// Something happened at the gate.
    pub fn tell_seller(self, event: &GateEvent) {
        let sentence = match event {
            GateEvent::Claimed { grant, .. } => {
                format!("  gate: claimed {grant}, nobody else can use this payment")
            }
            GateEvent::Served { status, .. } => {
                format!("  gate: the upstream answered {status}; the answer is held back")
            }
            GateEvent::Released { .. } => "  gate: paid, the answer leaves".to_owned(),
            GateEvent::Refused { code, .. } => format!("  gate: refused [{code}]"),
            _ => return,
        };
        self.say(&sentence);
    }

    /// Something happened in the engine.
    pub fn tell_operator(self, event: &SettlementEvent) {
        let sentence = match event {
            SettlementEvent::Verified {
                refusal: None,
                took,
                ..
            } => {
                format!(
                    "  facilitator: verified signature, terms, time and balance in {} µs",
                    took.as_micros()
                )
            }
            SettlementEvent::Moved {
                update: Update::Stored { transaction, .. },
                ..
            } => {
                format!("  facilitator: transaction {transaction} is signed and on disk")
            }
            SettlementEvent::Moved {
                update: Update::Sent { .. },
                ..
            } => "  facilitator: sent".to_owned(),
            SettlementEvent::Moved {
                update: Update::Ended(record),
                ..
            } => match &record.settled {
                Some(settled) => format!(
                    "  facilitator: settled {} in block {}, gas {}, {} ms after it was accepted",
                    in_words(
                        &record.payment.identity.network,
                        &record.payment.expected.asset,
                        settled.amount
                    ),
                    settled.block_number,
                    settled.gas_used,
                    record.updated_at.since(record.accepted_at).as_millis(),
                ),
                None => "  facilitator: ended without a transfer".to_owned(),
            },
            _ => return,
        };
        self.say(&sentence);
    }

    fn say(self, sentence: &str) {
        if self == Self::Sentences {
            eprintln!("{}", printable(sentence));
        }
    }
}

/// `0.01 USDC`, or atomic units where the asset is not in our table.
pub fn in_words(network: &Network, asset: &tollway_core::Address, amount: Amount) -> String {
    match tollway_core::assets::find(network, asset) {
        Some(known) => format!("{} {}", amount.to_decimal(known.decimals), known.symbol),
        None => format!("{amount} atomic units of {asset}"),
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
        Event::Chosen {
            offer,
            method,
            via,
            upfront,
            ..
        } => {
            let order = match (via, upfront) {
                (Via::Token, _) => "settled by the seller later",
                (Via::Header, true) => "settled before the answer",
                (Via::Header, false) => "settled after the answer",
            };
            let by = method.map_or_else(String::new, |method| format!(", by {method}"));
            format!("  chose {offer}{by}, {order}")
        }
        Event::Sent { transaction, .. } => {
            format!("→ transaction {transaction}, which is on disk; waiting until it is in a block")
        }
        Event::Approved {
            asset, transaction, ..
        } => format!("  Permit2 may move {asset} from now on (transaction {transaction})"),
        Event::TokenGiven { spend, expires_at } => {
            format!(
                "← an access token for {spend}, valid until {}",
                expires_at.secs()
            )
        }
        Event::TokenShown { spend, .. } => format!("  with the access token of {spend}"),
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
        Event::Presented {
            attempt,
            via: Via::Token,
            ..
        } => format!("→ the permit, to the token endpoint, attempt {attempt}"),
        Event::SignedIn { account, .. } => {
            format!("→ the same request, signed in as {account}, who paid for it before")
        }
        Event::Presented { attempt: 1, .. } => "→ the same request, with the payment".to_owned(),
        Event::Presented { attempt, .. } => {
            format!("→ the same request and payment again, attempt {attempt}")
        }
        Event::Unclear {
            message, wait_ms, ..
        } => format!("← unclear: {message} Asking again in {wait_ms} ms."),
        // The token was told; the money is told when it moves.
        Event::Paid(payment) if payment.standing == Standing::Background => return None,
        Event::Paid(payment) => format!("← paid {} within {} ms", payment.words, payment.took_ms),
        Event::Held { payment } => format!(
            "  {} is signed and shown; it stays reserved until it is clear what became of it",
            payment.words
        ),
        // Failures are told once, by the program's last line.
        _ => return None,
    })
}
