//! `tollway pay`: fetch a URL, and pay for it within a limit.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Value, json};
use tollway_core::assets::AssetTable;
use tollway_core::{Address, Chain, Finality, SpendId, Wallet};
use tollway_evm::{EvmSigner, EvmWallet};
use tollway_payer::{
    ChainReconciler, ErrorKind, PaidResponse, Pass, PayError, PayMethod, PayRequest, Payer,
    Payment, Policy, Standing, TokenDirectory,
};

use crate::chains::{self, ServedChain, Signers};
use crate::cli::PayArgs;
use crate::commands::permission;
use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::keys::{self, Keystore};
use crate::output::Output;
use crate::purse::{self, Purse};
use crate::session;
use crate::session::wallet::PayingSession;
use crate::story::Story;
use crate::wiring::{self, NetworkSetting};

/// An answer is kept in memory until it is whole; a larger one is refused.
const MAX_BODY_BYTES: usize = 64 << 20;

/// How long the chain is asked what a metered answer came to.
const STREAM_SETTLES: Duration = Duration::from_secs(20);

/// Runs it.
pub async fn run(args: PayArgs, environment: &Environment) -> Result<Exit, Failure> {
    let output = args.output.as_deref().map(Output::open).transpose()?;
    let request = request(
        &args.url,
        args.method.as_deref(),
        &args.headers,
        args.data.as_deref(),
    )?;
    let buyer = Buyer::read(&args, environment)?;
    let mut policy = policy(&args, &buyer)?;
    let purse = match &args.permission {
        Some(name) => {
            policy.methods = vec![PayMethod::Erc7710];
            let passphrase_file = args.passphrase_file.clone();
            let passphrase = permission::passphrase(passphrase_file, environment, false)?;
            let spent = permission::permissions(environment)?.unlock(name, &passphrase)?;
            purse::of_permission(spent, &buyer.networks, args.allow_http)?
        }
        None => Purse::without_limits(buyer.wallet(&args, environment)?),
    };
    let ledger = wiring::ledger(args.ledger.as_deref(), "payer.db", environment).await?;
    let story = if args.json {
        Story::Json
    } else {
        Story::Sentences
    };
    let mut builder = Payer::builder()
        .wallet(purse.wallet)
        .agent(purse.agent)
        .limits(purse.limits)
        .spends(Arc::new(ledger.clone()))
        .policy(policy)
        .story(move |event| story.tell_buyer(event));
    let chains = buyer.chains()?;
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

/// Who pays, and where.
struct Buyer {
    session: Option<PayingSession>,
    /// The account that pays with its owner's key, as it was written.
    owner: Option<String>,
    networks: Vec<NetworkSetting>,
    assets: AssetTable,
    allow_http: bool,
}

impl Buyer {
    fn read(args: &PayArgs, environment: &Environment) -> Result<Self, Failure> {
        // A key that is named by flag is not mixed with one of the environment.
        let flagged = args.key_file.is_some()
            || args.wallet.is_some()
            || args.session.is_some()
            || args.starknet_account.is_some()
            || args.permission.is_some();
        let or_said = |flag: &Option<String>, variable: &str| {
            let behind = environment.get(variable).filter(|_| !flagged);
            flag.clone().or_else(|| behind.map(str::to_owned))
        };
        let session = or_said(&args.session, "TOLLWAY_SESSION")
            .map(|name| PayingSession::open(&name, environment))
            .transpose()?;
        let mut networks = wiring::networks(&args.networks, environment)?;
        if let Some(session) = &session {
            let own = session.network()?;
            networks.retain(|setting| setting.network == own.network && !setting.rpc.is_empty());
            if networks.is_empty() {
                networks.push(own);
            }
        }
        let assets = crate::settings::behind(
            args.starknet_assets.clone(),
            environment.get("TOLLWAY_STARKNET_ASSET"),
        );
        Ok(Self {
            owner: or_said(&args.starknet_account, "TOLLWAY_STARKNET_ACCOUNT"),
            assets: chains::assets(&assets)?,
            allow_http: args.allow_http || session.as_ref().is_some_and(PayingSession::allows_http),
            networks,
            session,
        })
    }

    fn wallet(
        &self,
        args: &PayArgs,
        environment: &Environment,
    ) -> Result<Arc<dyn Wallet>, Failure> {
        let owner = self.owner.as_deref();
        if let Some(session) = &self.session {
            let passphrase = args.passphrase_file.as_ref();
            return session.wallet(owner, passphrase, &self.assets, environment);
        }
        if let Some(owner) = owner {
            return session::wallet::owner(owner, &self.networks, &self.assets, self.allow_http);
        }
        let mut wallet = EvmWallet::new(signer(args, environment)?);
        for setting in self.networks.iter().filter(|setting| has_node(setting)) {
            let node = wiring::node(setting, self.allow_http)?;
            wallet = wallet.with_node(setting.network.clone(), node);
        }
        Ok(Arc::new(wallet))
    }

    /// What the chain itself says about open payments, where a node was named.
    fn chains(&self) -> Result<Vec<Arc<dyn Chain>>, Failure> {
        let looks = |setting: &NetworkSetting| {
            let node = wiring::node(setting, self.allow_http)?;
            let chain = ServedChain::build(setting, node, &Signers::none(), &self.assets, None)?;
            Ok(chain.chain())
        };
        let asked = self.networks.iter().filter(|setting| has_node(setting));
        asked.map(looks).collect()
    }

    /// Whether it pays on Starknet.
    fn is_on_starknet(&self) -> bool {
        self.session.is_some() || self.owner.is_some()
    }
}

const fn has_node(setting: &NetworkSetting) -> bool {
    !setting.rpc.is_empty()
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
    let (mut payment, pass) = (paid.payment.clone(), paid.pass.clone());
    let exit = exit_of(payment.as_ref(), pass.as_ref());
    let is_metered = pass.is_none()
        && payment
            .as_ref()
            .is_some_and(|payment| payment.standing == Standing::Background);
    let (parts, body) = match (whole(args, paid).await, &payment) {
        (answer, Some(streamed)) if is_metered => {
            let (parts, body, told) = metered(payer, streamed, answer).await?;
            payment = Some(told);
            (parts, body)
        }
        (Ok((parts, body, _)), _) => (parts, body),
        (Err(why), None) => {
            return Err(Failure::new(format!(
                "The answer broke off: {why}; try again."
            )));
        }
        (Err(_), Some(payment)) => {
            let again = payer.fetch_again(request, &payment.spend).await;
            let again = again.map_err(|error| failure(&error))?;
            let answer = whole(args, again).await.map_err(|why| {
                Failure::coded(
                    Exit::PaidNotKept,
                    "paid_not_delivered",
                    format!("The answer was paid for and broke off twice: {why}; run the command again with --again {}.", payment.spend),
                )
            });
            answer.map(|(parts, body, _)| (parts, body))?
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

/// An answer that was streamed, with what it came to.
async fn metered(
    payer: &Payer,
    payment: &Payment,
    answer: Result<Whole, String>,
) -> Result<(Parts, Vec<u8>, Payment), Failure> {
    let (trailers, answer) = match answer {
        Ok((parts, body, trailers)) => (trailers, Ok((parts, body))),
        Err(why) => (HeaderMap::new(), Err(why)),
    };
    let told = payer.streamed(payment, &trailers, STREAM_SETTLES).await;
    let told = told.map_err(|error| failure(&error))?;
    match answer {
        Ok((parts, body)) => Ok((parts, body, told)),
        Err(why) => Err(Failure::coded(
            Exit::PaidNotKept,
            "paid_not_delivered",
            format!(
                "The metered answer broke off: {why}. What came of it costs {}; ask for the rest anew.",
                told.words
            ),
        )),
    }
}

/// An answer that was read to its end.
type Whole = (Parts, Vec<u8>, HeaderMap);

async fn whole(args: &PayArgs, paid: PaidResponse) -> Result<Whole, String> {
    let (parts, body) = paid.response.into_parts();
    let patience = Duration::from_secs(args.max_time);
    let read = body.with_trailers(MAX_BODY_BYTES);
    let (body, trailers) = tokio::time::timeout(patience, read)
        .await
        .map_err(|_| format!("it was not whole after {} s (--max-time)", args.max_time))?
        .map_err(|e| e.to_string())?;
    Ok((parts, body.to_vec(), trailers))
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

fn policy(args: &PayArgs, buyer: &Buyer) -> Result<Policy, Failure> {
    let own = || buyer.session.as_ref().map(PayingSession::max);
    let max = args.max.clone().or_else(own).ok_or_else(|| {
        Failure::usage("--max is missing; add the most that may be paid, such as --max 0.10.")
    })?;
    let networks = buyer.networks.iter();
    Ok(Policy {
        max_per_call: max
            .parse()
            .map_err(|e| Failure::usage(format!("--max {max}: {e}")))?,
        networks: networks.map(|setting| setting.network.clone()).collect(),
        assets: buyer.assets.clone(),
        payees: payees(&args.payees, buyer)?,
        methods: methods(&args.ways)?,
        approve_permit2: args.approve,
        access_tokens: !args.no_tokens,
        allow_insecure: args.allow_http,
        ..Policy::default()
    })
}

/// Who may be paid, as the buyer's networks spell accounts.
fn payees(texts: &[String], buyer: &Buyer) -> Result<Vec<Address>, Failure> {
    let network = match buyer.is_on_starknet() {
        true => wiring::network("starknet")?,
        false => wiring::network("base")?,
    };
    let parse = |text: &String| {
        let payee = network.address(text);
        payee.map_err(|e| Failure::usage(format!("--payee: {e}.")))
    };
    texts.iter().map(parse).collect()
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
        Failure::usage("Nothing to pay with; add --key-file FILE or --wallet NAME (`tollway wallet new NAME` makes one), or --session NAME.")
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
