//! `tollway pay`: fetch a URL, and pay for it within a limit.

use std::io::Write;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Value, json};
use tollway_core::SpendId;
use tollway_payer::{
    ErrorKind, PaidResponse, Pass, PayError, PayRequest, Payer, Payment, Standing,
};

use crate::agent::Agent;
use crate::buyer;
use crate::cli::PayArgs;
use crate::commands::inspect;
use crate::delivered;
use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::story::Story;
use crate::wiring;

/// Runs it.
pub async fn run(args: PayArgs, environment: &Environment) -> Result<Exit, Failure> {
    let output = args.output.as_deref().map(Output::open).transpose()?;
    let request = request(
        &args.url,
        args.method.as_deref(),
        &args.headers,
        args.data.as_deref(),
    )?;
    let story = if args.json {
        Story::Json
    } else {
        Story::Sentences
    };
    let agent = Agent::find(&args.buyer.agent, environment)?;
    let opened = buyer::open(&args.buyer, agent.as_ref(), Some(story), environment).await?;
    let outcome = match args.dry_run {
        true => look(&args, &opened.payer, request).await,
        false => buy(&args, &opened.payer, request, output).await,
    };
    opened.ledger.close().await;
    outcome
}

/// Says what would be paid, or why not.
async fn look(args: &PayArgs, payer: &Payer, request: PayRequest) -> Result<Exit, Failure> {
    let seen = payer.inspect(request).await;
    let seen = seen.map_err(|error| failure(&error))?;
    if args.json {
        print_line(&serde_json::to_value(&seen).map_err(Failure::new)?)?;
    } else {
        inspect::print(&seen);
    }
    let chosen = seen.offers.iter().find(|offer| offer.chosen);
    match (chosen, seen.refusal) {
        (_, Some(refusal)) => Err(Failure::coded(
            Exit::RefusedByPolicy,
            refusal.code,
            refusal.message,
        )),
        (Some(offer), None) => {
            eprintln!("would pay {}", offer.words);
            Ok(Exit::Done)
        }
        (None, None) => Ok(Exit::Free),
    }
}

async fn buy(
    args: &PayArgs,
    payer: &Payer,
    request: PayRequest,
    output: Option<Output>,
) -> Result<Exit, Failure> {
    // What earlier runs left open is given back where the chain proves that nothing moved.
    if let Err(error) = payer.reconcile().await {
        tracing::warn!(%error, "open payments could not be looked up");
    }
    let fetched = match &args.again {
        Some(spend) => {
            payer
                .fetch_again(request.clone(), &SpendId::from_text(spend))
                .await
        }
        None => payer.fetch(request.clone()).await,
    };
    match fetched {
        Ok(paid) => finish(args, payer, request, paid, output).await,
        Err(error) => {
            if args.json {
                print_line(&refused(&error))?;
            }
            Err(failure(&error))
        }
    }
}

/// Delivers the answer.
async fn finish(
    args: &PayArgs,
    payer: &Payer,
    request: PayRequest,
    paid: PaidResponse,
    output: Option<Output>,
) -> Result<Exit, Failure> {
    let pass = paid.pass.clone();
    let exit = exit_of(paid.payment.as_ref(), pass.as_ref());
    let patience = Duration::from_secs(args.max_time);
    let whole = delivered::whole(payer, request, paid, patience).await?;
    let (parts, body, payment) = (whole.parts, whole.body, whole.payment);
    if args.json {
        print_line(&summary(
            parts.status.as_u16(),
            payment.as_ref(),
            pass.as_ref(),
            &body,
        ))?;
    } else {
        deliver(args, &parts, &body, output).map_err(|why| undelivered(&why, payment.as_ref()))?;
        receipt(payment.as_ref(), pass.as_ref());
    }
    Ok(exit)
}

/// Reads what `pay` and `inspect` ask for.
pub fn request(
    url: &str,
    method: Option<&str>,
    headers: &[String],
    data: Option<&str>,
) -> Result<PayRequest, Failure> {
    let url = wiring::http_url(url, "The URL")?;
    let default = if data.is_some() {
        Method::POST
    } else {
        Method::GET
    };
    let method = method.map_or(Ok(default), |text| {
        Method::from_bytes(text.as_bytes()).map_err(|_| {
            Failure::usage(format!(
                "`{text}` is not an HTTP method; write for example POST."
            ))
        })
    })?;
    let mut request = PayRequest::new(method, url);
    request.headers = header_map(headers)?;
    if let Some(data) = data {
        request = request.body(body(data)?);
    }
    Ok(request)
}

fn header_map(lines: &[String]) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for line in lines {
        let bad = || {
            // Headers carry secrets: at most the beginning is shown.
            let start: String = line.chars().take(8).collect();
            Failure::usage(format!(
                "-H '{start}…' is not a header; write -H 'Name: value'."
            ))
        };
        let (name, value) = line.split_once(':').ok_or_else(bad)?;
        let name: HeaderName = name.trim().parse().map_err(|_| bad())?;
        let value: HeaderValue = value.trim().parse().map_err(|_| bad())?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn body(data: &str) -> Result<Vec<u8>, Failure> {
    match data.strip_prefix('@') {
        Some(path) => std::fs::read(path).map_err(|e| {
            Failure::usage(format!(
                "{path} cannot be read: {e}; name a readable file after -d @."
            ))
        }),
        None => Ok(data.as_bytes().to_vec()),
    }
}

fn exit_of(payment: Option<&Payment>, pass: Option<&Pass>) -> Exit {
    match payment.map(|payment| &payment.standing) {
        None if pass.is_some() => Exit::Done,
        None => Exit::Free,
        // The token is what was bought, and it opened the door.
        Some(Standing::Settled | Standing::Confirmed | Standing::Background) => Exit::Done,
        Some(Standing::Held { .. }) => Exit::Unknown,
    }
}

/// Body to stdout or a file, with status and headers where they were asked for.
fn deliver(
    args: &PayArgs,
    parts: &http::response::Parts,
    body: &[u8],
    output: Option<Output>,
) -> std::io::Result<()> {
    let mut out = Vec::new();
    if args.include {
        out.extend_from_slice(format!("{:?} {}\r\n", parts.version, parts.status).as_bytes());
        for (name, value) in &parts.headers {
            out.extend_from_slice(name.as_str().as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(body);
    match output {
        Some(output) => output.keep(&out),
        None => write_stdout(&out),
    }
}

/// What was paid for is never lost: its record's name fetches it again.
fn undelivered(why: &std::io::Error, payment: Option<&Payment>) -> Failure {
    match payment {
        Some(payment) => Failure::coded(
            Exit::PaidNotKept,
            "not_written",
            format!(
                "The answer was paid for and cannot be written: {why}; run the command again with --again {} and -o FILE.",
                payment.spend
            ),
        ),
        None => Failure::new(format!("The answer cannot be written: {why}; use -o FILE.")),
    }
}

fn write_stdout(bytes: &[u8]) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

fn print_line(value: &Value) -> Result<(), Failure> {
    write_stdout(format!("{value}\n").as_bytes()).map_err(|e| {
        Failure::new(format!(
            "The result cannot be written: {e}; check the standard output."
        ))
    })
}

fn receipt(payment: Option<&Payment>, pass: Option<&Pass>) {
    let Some(payment) = payment else {
        match pass {
            Some(pass) => eprintln!(
                "nothing was paid: opened by the access token of {}, valid until {}",
                pass.spend,
                pass.expires_at.secs()
            ),
            None => eprintln!("free: nothing was paid"),
        }
        return;
    };
    let by = payment
        .method
        .map_or_else(String::new, |method| format!(" by {method}"));
    eprintln!("paid {} to {}{by}", payment.words, payment.payee);
    if payment.standing == Standing::Background && pass.is_none() {
        eprintln!(
            "at most: the seller settles what was streamed, and all of it stays reserved until the chain shows how much that was"
        );
    }
    if let (Standing::Background, Some(pass)) = (&payment.standing, pass) {
        eprintln!(
            "for an access token, valid until {}; the seller settles later, and the amount stays reserved until the chain shows it",
            pass.expires_at.secs()
        );
    }
    if let Some(transaction) = &payment.transaction {
        eprintln!("transaction {transaction}");
    }
    if let Some(link) = &payment.explorer {
        eprintln!("{link}");
    }
    if let Some(worth) = &payment.receipt {
        eprintln!("{}", super::receipt::sentence(worth));
    }
    if let Standing::Held { reason } = &payment.standing {
        eprintln!(
            "the receipt is not credible ({reason}); the amount stays reserved until it is clear"
        );
    }
}

fn summary(status: u16, payment: Option<&Payment>, pass: Option<&Pass>, body: &[u8]) -> Value {
    let outcome = match (payment, pass) {
        (Some(_), _) => "paid",
        (None, Some(_)) => "token",
        (None, None) => "free",
    };
    json!({
        "status": status,
        "outcome": outcome,
        "payment": payment,
        "pass": pass,
        "body": String::from_utf8_lossy(body),
    })
}

fn refused(error: &PayError) -> Value {
    json!({
        "status": error.answer().map(|answer| answer.status.as_u16()),
        "outcome": outcome_word(error.kind()),
        "errorReason": error.code(),
        "errorMessage": error.message(),
        "payment": error.payment(),
    })
}

/// What an ending is called.
pub fn outcome_word(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Invalid => "usage",
        ErrorKind::Declined => "refused_by_policy",
        ErrorKind::Failed => "failed",
        ErrorKind::RefusedByServer => "refused_by_server",
        ErrorKind::PaidNotDelivered => "paid_not_delivered",
        ErrorKind::Unknown => "unknown",
    }
}

/// What the payer says, as an exit of ours.
pub fn failure(error: &PayError) -> Failure {
    let exit = match error.kind() {
        ErrorKind::Invalid => Exit::Usage,
        ErrorKind::Declined => Exit::RefusedByPolicy,
        ErrorKind::Failed => Exit::Failed,
        ErrorKind::RefusedByServer => Exit::RefusedByServer,
        ErrorKind::PaidNotDelivered => Exit::PaidNotKept,
        ErrorKind::Unknown => Exit::Unknown,
    };
    if let Some(detail) = error.detail() {
        tracing::debug!(code = error.code(), detail, "payment failed");
    }
    Failure::coded(exit, error.code(), error.message())
}
