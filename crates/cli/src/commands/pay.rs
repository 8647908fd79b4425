//! `tollway pay`: fetch a URL, and pay for it within a limit.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Value, json};
use tollway_core::{Chain, Finality, SpendId};
use tollway_evm::{EvmSigner, EvmWallet};
use tollway_payer::{
    ChainReconciler, ErrorKind, PaidResponse, Pass, PayError, PayMethod, PayRequest, Payer,
    Payment, Policy, Standing, TokenDirectory,
};

use crate::cli::PayArgs;
use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::keys::{self, Keystore};
use crate::output::Output;
use crate::story::Story;
use crate::wiring;

/// An answer is kept in memory until it is whole; a larger one is refused.
const MAX_BODY_BYTES: usize = 64 << 20;

/// Runs it.
pub async fn run(args: PayArgs, environment: &Environment) -> Result<Exit, Failure> {
    let output = args.output.as_deref().map(Output::open).transpose()?;
    let request = request(
        &args.url,
        args.method.as_deref(),
        &args.headers,
        args.data.as_deref(),
    )?;
    let networks = wiring::networks(&args.networks, environment)?;
    let policy = policy(&args, &networks)?;
    let mut wallet = EvmWallet::new(signer(&args, environment)?);
    for setting in networks.iter().filter(|setting| !setting.rpc.is_empty()) {
        wallet = wallet.with_node(
            setting.network.clone(),
            wiring::node(setting, args.allow_http)?,
        );
    }
    let ledger = wiring::ledger(args.ledger.as_deref(), "payer.db", environment).await?;
    let story = if args.json {
        Story::Json
    } else {
        Story::Sentences
    };
    let mut builder = Payer::builder()
        .wallet(Arc::new(wallet))
        .spends(Arc::new(ledger.clone()))
        .policy(policy)
        .story(move |event| story.tell_buyer(event));
    let chains = chains(&networks, args.allow_http)?;
    if !chains.is_empty() {
        let reconciler = ChainReconciler::new(chains, Finality::Included);
        builder = builder.reconciler(Arc::new(reconciler), true);
    }
    // Without a home they live as long as this call.
    if let Ok(home) = environment.home() {
        let tokens = TokenDirectory::open(&home.join("tokens")).map_err(|e| {
            Failure::new(format!(
                "The directory of access tokens cannot be made: {e}; make room for it in {}.",
                home.display()
            ))
        })?;
        builder = builder.tokens(Arc::new(tokens));
    }
    let payer = builder.build().map_err(|error| failure(&error))?;
    let outcome = buy(&args, &payer, request, output).await;
    ledger.close().await;
    outcome
}

/// What the chain itself says about open payments, where a node was named.
fn chains(
    networks: &[wiring::NetworkSetting],
    allow_http: bool,
) -> Result<Vec<Arc<dyn Chain>>, Failure> {
    networks
        .iter()
        .filter(|setting| !setting.rpc.is_empty())
        .map(|setting| {
            let node = wiring::node(setting, allow_http)?;
            let chain = wiring::chain(setting, node, Vec::new(), None)?;
            Ok(chain as Arc<dyn Chain>)
        })
        .collect()
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

/// Reads the whole answer, asking once more for what was paid and broke off.
async fn finish(
    args: &PayArgs,
    payer: &Payer,
    request: PayRequest,
    paid: PaidResponse,
    output: Option<Output>,
) -> Result<Exit, Failure> {
    let (payment, pass) = (paid.payment.clone(), paid.pass.clone());
    let exit = exit_of(payment.as_ref(), pass.as_ref());
    let (parts, body) = match (whole(args, paid).await, &payment) {
        (Ok(answer), _) => answer,
        (Err(why), None) => {
            return Err(Failure::new(format!(
                "The answer broke off: {why}; try again."
            )));
        }
        (Err(_), Some(payment)) => {
            let again = payer.fetch_again(request, &payment.spend).await;
            let again = again.map_err(|error| failure(&error))?;
            whole(args, again).await.map_err(|why| {
                Failure::coded(
                    Exit::PaidNotKept,
                    "paid_not_delivered",
                    format!("The answer was paid for and broke off twice: {why}; run the command again with --again {}.", payment.spend),
                )
            })?
        }
    };
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

async fn whole(
    args: &PayArgs,
    paid: PaidResponse,
) -> Result<(http::response::Parts, Vec<u8>), String> {
    let (parts, body) = paid.response.into_parts();
    let patience = Duration::from_secs(args.max_time);
    let body = tokio::time::timeout(patience, body.bytes(MAX_BODY_BYTES))
        .await
        .map_err(|_| format!("it was not whole after {} s (--max-time)", args.max_time))?
        .map_err(|e| e.to_string())?;
    Ok((parts, body.to_vec()))
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

fn policy(args: &PayArgs, networks: &[wiring::NetworkSetting]) -> Result<Policy, Failure> {
    Ok(Policy {
        max_per_call: args
            .max
            .parse()
            .map_err(|e| Failure::usage(format!("--max {}: {e}", args.max)))?,
        networks: networks
            .iter()
            .map(|setting| setting.network.clone())
            .collect(),
        methods: methods(&args.ways)?,
        approve_permit2: args.approve,
        access_tokens: !args.no_tokens,
        allow_insecure: args.allow_http,
        ..Policy::default()
    })
}

/// All ways to pay, the flagged ones first.
fn methods(flags: &[String]) -> Result<Vec<PayMethod>, Failure> {
    let named: Result<Vec<PayMethod>, Failure> = flags
        .iter()
        .map(|flag| {
            flag.parse()
                .map_err(|e| Failure::usage(format!("--method {flag}: {e}")))
        })
        .collect();
    Ok(PayMethod::preferring(&named?))
}

fn signer(args: &PayArgs, environment: &Environment) -> Result<EvmSigner, Failure> {
    let flagged = args.key_file.is_some() || args.wallet.is_some();
    let from_environment = |name: &str| if flagged { None } else { environment.get(name) };
    let key_file = args
        .key_file
        .as_deref()
        .or_else(|| from_environment("TOLLWAY_KEY_FILE").map(Path::new));
    if let Some(path) = key_file {
        return keys::signer_from_file(path);
    }
    let wallet = args.wallet.as_deref().or_else(|| from_environment("TOLLWAY_WALLET")).ok_or_else(|| {
        Failure::usage("Nothing to pay with; add --key-file FILE or --wallet NAME (`tollway wallet new NAME` makes one).")
    })?;
    let passphrase_file = args
        .passphrase_file
        .clone()
        .or_else(|| environment.path("TOLLWAY_PASSPHRASE_FILE"));
    let passphrase = keys::passphrase(passphrase_file.as_deref(), false)?;
    Keystore::open(&environment.home()?)?.unlock(wallet, &passphrase)
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

fn outcome_word(kind: ErrorKind) -> &'static str {
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
