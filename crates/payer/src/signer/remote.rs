//! [`RemoteWallet`]: a wallet whose key is in another process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout};
use tollway_core::{
    Address, Amount, ChainError, Identity, Limits, Network, Offered, Prepared, Raw, Refusal, Terms,
    Wallet, WalletError, codes,
};

use super::answers::unnamed;
use super::frame::{self, FrameError};
use super::wire::{Answer, Ask, AskAgain, AskBalance, AskSend, AskSign};
use crate::method::PayMethod;

/// How long an answer may take: the signer's own limits are shorter.
const ANSWER: Duration = Duration::from_secs(130);
/// How long a signer that went away in the middle is asked again.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long it is waited between.
const PAUSE: Duration = Duration::from_millis(200);

/// A wallet without a key: a signer at a Unix socket decides by its own policy what
/// it signs. Whoever asks again by the name of a purchase, also after the signer
/// died, gets the payment that was signed for it.
#[derive(Debug)]
pub struct RemoteWallet {
    path: PathBuf,
    agent: String,
    accounts: BTreeMap<Network, Address>,
}

/// How an exchange ended without an answer.
enum Lost {
    /// Nobody is at the socket.
    Absent(std::io::Error),
    /// The connection ended in the middle.
    Broken(String),
    /// What is there speaks something else.
    Foreign(String),
}

impl RemoteWallet {
    /// Asks the signer at a socket whose money it spends.
    ///
    /// # Errors
    /// [`WalletError`] if no signer answers there, or what answers is none.
    pub async fn connect(path: &Path) -> Result<Self, WalletError> {
        let mut remote = Self {
            path: path.to_owned(),
            agent: String::new(),
            accounts: BTreeMap::new(),
        };
        match remote.ask(&Ask::Accounts).await? {
            Answer::Accounts(own) => {
                remote.agent = own.agent;
                let accounts = own.accounts.into_iter();
                remote.accounts = accounts.map(|a| (a.network, a.address)).collect();
                Ok(remote)
            }
            other => Err(remote.no_answer(other)),
        }
    }

    /// Under which name the signer counts what it signs for.
    #[must_use]
    pub fn agent(&self) -> &str {
        &self.agent
    }

    /// The accounts that it pays from.
    #[must_use]
    pub const fn accounts(&self) -> &BTreeMap<Network, Address> {
        &self.accounts
    }

    /// One question and its answer. What was asked before a signer died is asked
    /// again: by the same name nothing is signed twice.
    async fn ask(&self, ask: &Ask) -> Result<Answer, ChainError> {
        let until = Instant::now() + PATIENCE;
        let mut was_there = false;
        loop {
            let lost = match self.exchange(ask).await {
                Ok(Answer::Unavailable(words))
                    if words.code == codes::SIGNER_BUSY && Instant::now() < until =>
                {
                    sleep(PAUSE).await;
                    continue;
                }
                Ok(answer) => return Ok(answer),
                Err(lost) => lost,
            };
            was_there |= matches!(lost, Lost::Broken(_));
            if !was_there || matches!(lost, Lost::Foreign(_)) || Instant::now() > until {
                return Err(self.gone(&lost));
            }
            sleep(PAUSE).await;
        }
    }

    async fn exchange(&self, ask: &Ask) -> Result<Answer, Lost> {
        let stream = UnixStream::connect(&self.path).await;
        let mut stream = stream.map_err(Lost::Absent)?;
        let exchanged = timeout(ANSWER, async {
            // A signer that is busy answers before it is asked.
            let written = frame::write(&mut stream, ask).await;
            match (frame::read(&mut stream).await, written) {
                (Ok(Some(answer)), _) => Ok(answer),
                (_, Err(error)) | (Err(error), _) => Err(error),
                (Ok(None), Ok(())) => {
                    Err(FrameError::Lost(std::io::ErrorKind::UnexpectedEof.into()))
                }
            }
        });
        match exchanged.await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(FrameError::Foreign(why))) => Err(Lost::Foreign(why)),
            Ok(Err(error)) => Err(Lost::Broken(error.to_string())),
            Err(_) => Err(Lost::Foreign("it does not answer".to_owned())),
        }
    }

    fn gone(&self, lost: &Lost) -> ChainError {
        let path = self.path.display();
        let (message, detail) = match lost {
            Lost::Absent(error) => (
                format!(
                    "No signer answers at {path}; start it with `tollway signer serve --socket {path}`."
                ),
                error.to_string(),
            ),
            Lost::Broken(why) => (
                format!(
                    "The signer at {path} went away before it answered; no payment left, so look at its log and try again."
                ),
                why.clone(),
            ),
            Lost::Foreign(why) => (
                format!(
                    "What answers at {path} is no signer of this version; name the socket of `tollway signer serve`."
                ),
                why.clone(),
            ),
        };
        ChainError::unavailable_because(message, detail)
    }

    /// An answer to something else than what was asked.
    fn no_answer(&self, answer: Answer) -> WalletError {
        match answer {
            Answer::Refused(words) => {
                let message = format!("The signer refuses. {}", words.message);
                Refusal::foreign(words.code, message).into()
            }
            Answer::Unavailable(words) => {
                let message = format!("The signer cannot sign now. {}", words.message);
                WalletError::Chain(ChainError::unavailable_because(message, words.code))
            }
            _ => self
                .gone(&Lost::Foreign("it answers another question".to_owned()))
                .into(),
        }
    }
}

#[async_trait]
impl Wallet for RemoteWallet {
    fn address(&self, network: &Network) -> Option<Address> {
        self.accounts.get(network).cloned()
    }

    /// Whether the signer pays there at all; by which ways it says when it is asked,
    /// and then the next offer is looked at.
    fn supports(&self, terms: &Terms) -> bool {
        self.accounts.contains_key(&terms.network)
            && PayMethod::of(terms) != Some(PayMethod::Erc7710)
    }

    async fn balance(
        &self,
        network: &Network,
        asset: &Address,
    ) -> Result<Option<Amount>, ChainError> {
        let ask = Ask::Balance(AskBalance {
            network: network.clone(),
            asset: asset.clone(),
        });
        match self.ask(&ask).await? {
            Answer::Balance(held) => Ok(held),
            other => Err(as_chain_error(self.no_answer(other))),
        }
    }

    async fn prepare(&self, terms: &Terms, limits: &Limits) -> Result<Prepared, WalletError> {
        self.prepare_offered(terms, limits, Offered::default())
            .await
    }

    async fn prepare_offered(
        &self,
        terms: &Terms,
        limits: &Limits,
        offered: Offered<'_>,
    ) -> Result<Prepared, WalletError> {
        let (id, url) = match offered.purchase {
            Some(purchase) => (purchase.id.clone(), purchase.url),
            None => (unnamed()?, offered.resource.map_or("", |r| r.url.as_str())),
        };
        let ask = Ask::Sign(Box::new(AskSign {
            id,
            url: url.to_owned(),
            terms: terms.wire.as_ref().clone(),
            max_amount: limits.max_amount,
            max_lifetime: limits.max_lifetime.as_secs(),
            resource: offered.resource.cloned(),
            extensions: offered.extensions.cloned(),
            may_approve: offered.may_approve,
        }));
        match self.ask(&ask).await? {
            Answer::Signed(signed) => Ok((*signed).into()),
            other => Err(self.no_answer(other)),
        }
    }

    async fn sign_again(
        &self,
        _terms: &Terms,
        _limits: &Limits,
        identity: &Identity,
    ) -> Result<Option<Prepared>, WalletError> {
        let ask = Ask::SignAgain(AskAgain {
            identity: identity.clone(),
        });
        match self.ask(&ask).await? {
            Answer::Signed(signed) => Ok(Some((*signed).into())),
            Answer::Nothing => Ok(None),
            other => Err(self.no_answer(other)),
        }
    }

    async fn approval(&self, terms: &Terms) -> Result<Raw, WalletError> {
        Err(Refusal::new(
            codes::NO_ACCEPTABLE_TERMS,
            format!(
                "The signer makes no approvals on {}; let its owner make it (`tollway wallet approve`).",
                terms.network
            ),
        )
        .into())
    }

    async fn broadcast(&self, network: &Network, raw: &Raw) -> Result<(), ChainError> {
        let ask = Ask::Send(AskSend {
            network: network.clone(),
            transaction: raw.hash.clone(),
        });
        match self.ask(&ask).await? {
            Answer::Sent => Ok(()),
            other => Err(as_chain_error(self.no_answer(other))),
        }
    }
}

fn as_chain_error(error: WalletError) -> ChainError {
    match error {
        WalletError::Refused(refusal) => refusal.into(),
        WalletError::Chain(error) => error,
    }
}
