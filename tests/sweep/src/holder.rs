//! A client that buys a pass, by header or at the door of tokens, and uses it
//! until it opens nothing more.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::Value;
use tollway_checker::client::{Door, Revoked, Token, Use, Verdict, What};

use crate::Failure;
use crate::ask::{Asked, Reply, ask};
use crate::buyer::Payment;
use crate::load::{PAUSE, Shop, presented};
use crate::world::{BROKEN, GOODS};

/// How long a pass for a time is used at most: a payment's end is seen by then.
const MOST_USE: Duration = Duration::from_secs(20);
/// How often it is used at least.
const LEAST_USES: usize = 5;
/// Every so-manieth pass is taken back by the seller, after so many uses at most.
const TAKEN_BACK: u8 = 4;
const USES_BEFORE: usize = 3;
/// How long a pass that was taken back is still shown.
const SHOWN_AFTER: Duration = Duration::from_secs(2);
/// Every so-manieth request asks for what the service behind cannot serve.
const NOW_AND_THEN: usize = 3;

/// How a payment buys.
#[derive(Clone, Copy)]
struct Purchase {
    door: Door,
    /// What is asked for.
    path: &'static str,
    /// Whether the pass counts requests.
    is_counted: bool,
}

impl Purchase {
    /// By chance, but always the same for one payment.
    fn of(payment: &Payment) -> Self {
        let by_header = Self {
            door: Door::Gate,
            path: "/paid/weather",
            is_counted: true,
        };
        let door = Door::Token;
        match payment.nonce[0] % 4 {
            0 => by_header,
            1 => Self {
                door,
                path: "/hours/weather",
                is_counted: false,
            },
            _ => Self { door, ..by_header },
        }
    }
}

impl Shop {
    /// Buys a pass and uses it up.
    pub(crate) async fn hold(&mut self, payment: Payment) -> Result<(), Failure> {
        let purchase = Purchase::of(&payment);
        match self.buy(&payment, purchase).await? {
            Some(bought) => self.use_up(&payment, purchase, &bought).await,
            None => Ok(()),
        }
    }

    /// Shows the payment until there is a token, or none to come.
    async fn buy(
        &mut self,
        payment: &Payment,
        purchase: Purchase,
    ) -> Result<Option<Bought>, Failure> {
        let door = purchase.door;
        while let Some(host) = self.open().await {
            self.add(payment, What::Sent(door))?;
            match ask(&host, self.purchase(payment, purchase)?).await {
                Asked::Unreachable => {}
                Asked::Broke => self.add(payment, What::Broke(door))?,
                Asked::Replied(reply) => {
                    let bought = Bought::read(&reply, door);
                    if let Some(bought) = &bought {
                        self.add(payment, What::Token(bought.token.clone()))?;
                    }
                    // A token that leaves before its money says nothing of money.
                    if bought.is_none() || door == Door::Gate {
                        let answer = self.read(&reply, payment);
                        let verdict = answer.verdict();
                        self.add(payment, What::Answered(door, answer))?;
                        let is_open = matches!(verdict, Verdict::Pending | Verdict::Later);
                        if bought.is_none() && !is_open {
                            return Ok(None);
                        }
                    }
                    if bought.is_some() {
                        return Ok(bought);
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(None)
    }

    fn purchase(
        &self,
        payment: &Payment,
        purchase: Purchase,
    ) -> Result<Request<Full<Bytes>>, Failure> {
        let terms = self.terms.as_ref().ok_or("there are no terms")?;
        if purchase.door == Door::Gate {
            return self.request(payment);
        }
        let mut body = presented(terms, payment);
        if let Some(url) = body.pointer_mut("/resource/url") {
            let named = url.as_str().unwrap_or_default();
            *url = named.replace("/paid/weather", purchase.path).into();
        }
        let request = Request::post("/token")
            .header("host", "shop")
            .header("content-type", "application/json");
        let request = request.body(Full::new(body.to_string().into()));
        request.map_err(|e| e.to_string())
    }

    /// Uses a token until it opens nothing; one for a time until its payment has
    /// ended.
    async fn use_up(
        &mut self,
        payment: &Payment,
        purchase: Purchase,
        bought: &Bought,
    ) -> Result<(), Failure> {
        let began = Instant::now();
        let mut taking = TakingBack::of(payment);
        for n in 1.. {
            let Some(host) = self.open().await else {
                return Ok(());
            };
            if taking.is_due(n) && self.take_back(payment, bought).await? {
                taking = TakingBack::Done(Instant::now());
            }
            let path = match purchase.is_counted && n % NOW_AND_THEN == 0 {
                true => BROKEN,
                false => purchase.path,
            };
            let sent_at = now();
            let mut is_closed = false;
            if let Asked::Replied(reply) = ask(&host, shown(path, &bought.bearer)?).await {
                let used = used(&reply, sent_at);
                is_closed = used.status == 402;
                self.add(payment, What::Used(used))?;
            }
            let is_over = match taking {
                TakingBack::After(_) => false,
                TakingBack::Done(since) => since.elapsed() > SHOWN_AFTER,
                TakingBack::Never if purchase.is_counted => is_closed,
                TakingBack::Never => {
                    let is_used = n >= LEAST_USES;
                    let is_late = began.elapsed() > MOST_USE;
                    is_closed || is_used && (is_late || bought.has_settled(&host).await)
                }
            };
            if is_over {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}

/// Whether the seller takes a pass back: by chance, but always the same for one
/// payment.
#[derive(Clone, Copy)]
enum TakingBack {
    Never,
    /// When it was shown so often.
    After(usize),
    /// He did, and it is shown for a while to see that it opens nothing.
    Done(Instant),
}

impl TakingBack {
    fn of(payment: &Payment) -> Self {
        match payment.nonce[1] % TAKEN_BACK {
            0 => Self::After(usize::from(payment.nonce[2]) % USES_BEFORE + 1),
            _ => Self::Never,
        }
    }

    const fn is_due(self, n: usize) -> bool {
        matches!(self, Self::After(uses) if n > uses)
    }
}

impl Shop {
    /// The seller takes the pass back; whether he was told that it is.
    async fn take_back(&mut self, payment: &Payment, bought: &Bought) -> Result<bool, Failure> {
        let Some(host) = self.admin.borrow().clone() else {
            return Ok(false);
        };
        let pass = bought.token.pass.clone();
        let request = Request::post(format!("/passes/{pass}/revoke"))
            .header("host", "shop")
            .header("authorization", format!("Bearer {}", self.admin_token));
        let request = request.body(Full::default()).map_err(|e| e.to_string())?;
        match ask(&host, request).await {
            Asked::Replied(reply) if reply.status == 200 => {
                let at = now();
                self.add(payment, What::Revoked(Revoked { pass, at }))?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

/// What a purchase brought.
struct Bought {
    bearer: String,
    token: Token,
    /// Where it is told what becomes of the payment.
    settlement: Option<String>,
}

impl Bought {
    fn read(reply: &Reply, door: Door) -> Option<Self> {
        let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        let bearer = match door {
            Door::Token => body["access_token"].as_str()?.to_owned(),
            _ => {
                let header = reply.headers.get("tollway-pass")?;
                header.to_str().ok()?.to_owned()
            }
        };
        let claims = URL_SAFE_NO_PAD.decode(bearer.split('.').nth(1)?).ok()?;
        let claims: Value = serde_json::from_slice(&claims).ok()?;
        let settlement = body["metadata"]["settlement"].as_str();
        Some(Self {
            token: Token {
                pass: claims["jti"].as_str()?.to_owned(),
                quota: claims["q"].as_u64(),
                door,
            },
            settlement: settlement.map(str::to_owned),
            bearer,
        })
    }

    /// Whether the gate says that the payment is settled.
    async fn has_settled(&self, host: &str) -> bool {
        let Some(path) = &self.settlement else {
            return true;
        };
        let request = Request::get(path.as_str()).header("host", "shop");
        let Ok(request) = request.body(Full::default()) else {
            return true;
        };
        match ask(host, request).await {
            Asked::Replied(reply) => {
                let told: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
                told["status"] == "settled"
            }
            Asked::Unreachable | Asked::Broke => false,
        }
    }
}

fn shown(path: &str, bearer: &str) -> Result<Request<Full<Bytes>>, Failure> {
    let request = Request::get(path)
        .header("host", "shop")
        .header("authorization", format!("Bearer {bearer}"));
    let request = request.body(Full::default());
    request.map_err(|e| e.to_string())
}

fn used(reply: &Reply, sent_at: u64) -> Use {
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    Use {
        sent_at,
        status: reply.status,
        code: body["error"].as_str().map(str::to_owned),
        goods: reply.status == 200 && reply.body == GOODS,
    }
}

/// Unix milliseconds.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}
