//! What was bought, read to its end.

use std::time::Duration;

use http::HeaderMap;
use http::response::Parts;
use tollway_payer::{PaidResponse, PayError, PayRequest, Payer, Payment, Standing};

use crate::commands::pay;
use crate::exit::{Exit, Failure};

/// An answer is kept in memory until it is whole; a larger one is refused.
const MAX_BODY_BYTES: usize = 64 << 20;

/// How long the chain is asked what a metered answer came to.
const STREAM_SETTLES: Duration = Duration::from_secs(20);

/// An answer, and what it came to.
pub struct Delivered {
    /// Status and headers.
    pub parts: Parts,
    /// All of its body.
    pub body: Vec<u8>,
    /// What was paid for it.
    pub payment: Option<Payment>,
}

/// Why what was bought is not here.
pub enum Undelivered {
    /// The payer says so.
    Payer(PayError),
    /// The answer broke off.
    Broken(Failure),
}

impl From<PayError> for Undelivered {
    fn from(error: PayError) -> Self {
        Self::Payer(error)
    }
}

impl From<Failure> for Undelivered {
    fn from(failure: Failure) -> Self {
        Self::Broken(failure)
    }
}

impl From<Undelivered> for Failure {
    fn from(why: Undelivered) -> Self {
        match why {
            Undelivered::Payer(error) => pay::failure(&error),
            Undelivered::Broken(failure) => failure,
        }
    }
}

/// Reads the whole answer, asking once more for what was paid and broke off.
pub async fn whole(
    payer: &Payer,
    request: PayRequest,
    paid: PaidResponse,
    patience: Duration,
) -> Result<Delivered, Undelivered> {
    let payment = paid.payment.clone();
    let is_metered = paid.pass.is_none()
        && payment
            .as_ref()
            .is_some_and(|payment| payment.standing == Standing::Background);
    match (read(paid, patience).await, payment) {
        (answer, Some(streamed)) if is_metered => metered(payer, &streamed, answer).await,
        (Ok(answer), payment) => Ok(delivered(answer, payment)),
        (Err(why), None) => {
            let message = format!("The answer broke off: {why}; try again.");
            Err(Failure::new(message).into())
        }
        (Err(_), Some(payment)) => {
            let again = payer.fetch_again(request, &payment.spend).await?;
            let answer = read(again, patience).await;
            let answer = answer.map_err(|why| broken(format!("The answer was paid for and broke off twice: {why}; run the command again with --again {}.", payment.spend)))?;
            Ok(delivered(answer, Some(payment)))
        }
    }
}

/// An answer that was streamed, with what it came to.
async fn metered(
    payer: &Payer,
    payment: &Payment,
    answer: Result<Whole, String>,
) -> Result<Delivered, Undelivered> {
    let none = HeaderMap::new();
    let trailers = answer.as_ref().map_or(&none, |(_, _, trailers)| trailers);
    let told = payer.streamed(payment, trailers, STREAM_SETTLES).await?;
    match answer {
        Ok(answer) => Ok(delivered(answer, Some(told))),
        Err(why) => Err(broken(format!(
            "The metered answer broke off: {why}. What came of it costs {}; ask for the rest anew.",
            told.words
        ))
        .into()),
    }
}

fn broken(message: String) -> Failure {
    Failure::coded(Exit::PaidNotKept, "paid_not_delivered", message)
}

/// An answer that was read to its end.
type Whole = (Parts, Vec<u8>, HeaderMap);

fn delivered((parts, body, _): Whole, payment: Option<Payment>) -> Delivered {
    Delivered {
        parts,
        body,
        payment,
    }
}

async fn read(paid: PaidResponse, patience: Duration) -> Result<Whole, String> {
    let (parts, body) = paid.response.into_parts();
    let read = body.with_trailers(MAX_BODY_BYTES);
    let (body, trailers) = tokio::time::timeout(patience, read)
        .await
        .map_err(|_| {
            format!(
                "it was not whole after {} s (--max-time)",
                patience.as_secs()
            )
        })?
        .map_err(|e| e.to_string())?;
    Ok((parts, body.to_vec(), trailers))
}
