//! Who sends what an owner or a session signed: the account itself, which pays its
//! own fee, or a sponsor.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tollway_core::{ChainError, Clock, Network, SystemClock, TxHash, codes};
use tollway_rpc::RpcClient;
use tollway_starknet::{
    ANY_CALLER, Call, Felt, NewAccount, OwnerSender, SignedExecution, StarkKey, StarknetAccount,
    felt, wait,
};
use url::Url;
use zeroize::Zeroizing;

use super::flags::{Fees, Owner};
use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::{chains, keys, wiring};

/// How long a transaction may take to be in a block.
const IN_A_BLOCK: Duration = Duration::from_secs(120);
/// How long a sponsor may send what was signed for it.
const FOR_A_SPONSOR: Duration = Duration::from_secs(600);
/// How long a sponsor may take to answer: it waits for the block.
const ANSWER: Duration = Duration::from_secs(90);
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// The owner of an account.
pub struct OwnerKey {
    key: StarkKey,
}

impl OwnerKey {
    /// From the flag or the environment.
    pub fn read(owner: &Owner, environment: &Environment) -> Result<Self, Failure> {
        let file = owner
            .owner_key_file
            .clone()
            .or_else(|| environment.path("TOLLWAY_OWNER_KEY_FILE"))
            .ok_or_else(|| {
                Failure::usage(
                    "--owner-key-file is missing; name the file (mode 0600) with the account owner's key.",
                )
            })?;
        Ok(Self {
            key: chains::stark_key(&file)?,
        })
    }

    /// The public key.
    pub fn public(&self) -> Felt {
        self.key.public()
    }

    /// With the account that it owns.
    pub fn of(&self, address: tollway_core::Address) -> Result<StarknetAccount, Failure> {
        StarknetAccount::new(address, self.key.clone())
            .ok_or_else(|| Failure::usage("The account's address is zero; correct it."))
    }
}

/// Who sends.
pub enum Sender {
    /// The account, or another one: it pays.
    Own(OwnerSender),
    /// A sponsor pays.
    Sponsor(SponsorClient),
}

impl Sender {
    /// The account itself, unless a sponsor is named.
    pub async fn of(
        account: &StarknetAccount,
        fees: &Fees,
        network: &Network,
        rpc: &RpcClient,
    ) -> Result<Self, Failure> {
        if let Some(sponsor) = Self::sponsor(fees, network).await? {
            return Ok(Self::Sponsor(sponsor));
        }
        let max_fee = chains::strk(fees.max_fee.as_deref(), "--max-fee")?;
        OwnerSender::new(network, rpc.clone(), account.clone(), max_fee)
            .map(Self::Own)
            .ok_or_else(|| not_starknet(network))
    }

    /// The sponsor that is named, if one is.
    pub async fn sponsor(fees: &Fees, network: &Network) -> Result<Option<SponsorClient>, Failure> {
        let Some(url) = &fees.sponsor else {
            return Ok(None);
        };
        let key = fees.sponsor_key_file.as_deref();
        SponsorClient::connect(url, key, network).await.map(Some)
    }

    /// Has the owner's calls made, and waits until they are.
    pub async fn own_calls(
        &self,
        account: &StarknetAccount,
        network: &Network,
        rpc: &RpcClient,
        calls: Vec<Call>,
    ) -> Result<TxHash, Failure> {
        let hash = match self {
            Self::Own(sender) => sender.send(&calls).await.map_err(failed)?,
            Self::Sponsor(sponsor) => {
                let until = SystemClock.now().plus(FOR_A_SPONSOR);
                let signed = account
                    .allow(network, calls, sponsor.caller, until)
                    .map_err(|refusal| failed(refusal.into()))?;
                sponsor.execute(&signed).await?
            }
        };
        included(rpc, &hash).await?;
        Ok(hash)
    }

    /// Whether a failure proves that what was signed is in nobody's hands. A sponsor
    /// has it once it is asked, and its word that it sent nothing proves nothing;
    /// of our own transactions a trial that failed is the last step before one leaves.
    pub fn never_sent(&self, failure: &Failure) -> bool {
        let before = [codes::SIMULATION_FAILED, codes::INVALID_NETWORK];
        let code = failure.code.as_deref();
        matches!(self, Self::Own(_)) && code.is_some_and(|code| before.contains(&code))
    }

    /// Deploys an account, and waits until it is there.
    pub async fn deploy(&self, new: &NewAccount, rpc: &RpcClient) -> Result<TxHash, Failure> {
        let hash = match self {
            Self::Own(sender) => sender.deploy(new).await.map_err(failed)?,
            Self::Sponsor(sponsor) => sponsor.deploy(new).await?,
        };
        included(rpc, &hash).await?;
        Ok(hash)
    }
}

/// Waits until a transaction is in a block.
pub async fn included(rpc: &RpcClient, hash: &TxHash) -> Result<(), Failure> {
    eprintln!("transaction {hash}; waiting for its block");
    wait(rpc, hash, IN_A_BLOCK).await.map_err(failed)
}

/// What a chain said, as an exit of ours.
pub fn failed(error: ChainError) -> Failure {
    match error {
        ChainError::Refused(refusal) => {
            if let Some(detail) = refusal.detail() {
                tracing::warn!(code = refusal.code(), detail, "refused");
            }
            Failure::coded(
                Exit::RefusedByPolicy,
                refusal.code().to_owned(),
                refusal.message(),
            )
        }
        ChainError::Unavailable { message, detail } => {
            tracing::warn!(detail, "the chain cannot be asked");
            Failure::coded(Exit::Failed, "network_unavailable", message)
        }
    }
}

pub fn not_starknet(network: &Network) -> Failure {
    Failure::usage(format!(
        "{network} is not a Starknet network; name starknet or starknet-sepolia."
    ))
}

/// A facilitator that pays fees for those who have its key.
pub struct SponsorClient {
    url: Url,
    key: Option<Zeroizing<String>>,
    network: Network,
    /// Whom executions must name as their caller.
    pub caller: Felt,
}

impl SponsorClient {
    async fn connect(url: &str, key: Option<&Path>, network: &Network) -> Result<Self, Failure> {
        let base = wiring::http_url(url, "--sponsor")?;
        let loopback = matches!(base.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
        if base.scheme() != "https" && !loopback {
            return Err(Failure::usage(
                "--sponsor is plain http to another machine, which shows the key to anybody on the way; use https.",
            ));
        }
        let url = base
            .join("/sponsor")
            .map_err(|e| Failure::usage(format!("--sponsor: {e}; correct the URL.")))?;
        let mut client = Self {
            url,
            key: key.map(keys::read_private).transpose()?,
            network: network.clone(),
            caller: Felt::ZERO,
        };
        let about = client.ask(None).await?;
        let entries = about["sponsors"].as_array().into_iter().flatten();
        let caller = entries
            .filter(|entry| entry["network"] == network.as_str())
            .find_map(|entry| felt::parse(entry["caller"].as_str()?).ok());
        let caller = caller.ok_or_else(|| {
            Failure::usage(format!(
                "This sponsor does not send on {network}; name another one."
            ))
        })?;
        client.caller = somebody(caller)?;
        Ok(client)
    }

    /// Has an execution sent.
    pub async fn execute(&self, signed: &SignedExecution) -> Result<TxHash, Failure> {
        let chain_id = felt::chain_id(&self.network).ok_or_else(|| not_starknet(&self.network))?;
        let execution = signed.to_payload(&chain_id);
        self.send(json!({ "network": self.network, "execution": execution }))
            .await
    }

    async fn deploy(&self, new: &NewAccount) -> Result<TxHash, Failure> {
        let deployment = json!({
            "classHash": felt::text(&new.class_hash),
            "salt": felt::text(&new.salt),
            "publicKey": felt::text(&new.public_key),
        });
        self.send(json!({ "network": self.network, "deployment": deployment }))
            .await
    }

    async fn send(&self, body: Value) -> Result<TxHash, Failure> {
        let said = self.ask(Some(body)).await?;
        if let Some(hash) = said["transaction"].as_str() {
            return Ok(TxHash::new(hash));
        }
        let text = |field: &str| said[field].as_str().map(printable);
        Err(Failure::coded(
            Exit::RefusedByServer,
            text("errorReason").unwrap_or_else(|| "sponsor_not_allowed".to_owned()),
            text("errorMessage").unwrap_or_else(|| {
                "The sponsor refuses and says no reason; ask its operator.".to_owned()
            }),
        ))
    }

    async fn ask(&self, body: Option<Value>) -> Result<Value, Failure> {
        let unreachable = |why: &dyn std::fmt::Display| {
            tracing::warn!(%why, "the sponsor cannot be asked");
            Failure::coded(
                Exit::Failed,
                codes::NETWORK_UNAVAILABLE,
                "The sponsor cannot be reached; check --sponsor and try again: what was signed happens once at most.",
            )
        };
        let client = tollway_payer::client_builder()
            .timeout(ANSWER)
            .build()
            .map_err(|e| unreachable(&e))?;
        let mut request = match body {
            None => client.get(self.url.clone()),
            Some(body) => client.post(self.url.clone()).json(&body),
        };
        if let Some(key) = &self.key {
            request = request.bearer_auth(key.trim());
        }
        let mut response = request
            .send()
            .await
            .map_err(|e| unreachable(&e.without_url()))?;
        let mut bytes = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|e| unreachable(&e.without_url()))?
        {
            if bytes.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(unreachable(&"its answer is too long"));
            }
            bytes.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&bytes).map_err(|e| unreachable(&e))
    }
}

/// A caller that is one account: what is signed for anybody, anybody sends.
fn somebody(caller: Felt) -> Result<Felt, Failure> {
    match caller == Felt::ZERO || caller == ANY_CALLER {
        true => Err(Failure::usage(
            "This sponsor names no account of its own, so that anybody could send what is signed for it; name another one.",
        )),
        false => Ok(caller),
    }
}

fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORK: &str = "starknet:SN_SEPOLIA";

    fn sponsor(url: &str) -> SponsorClient {
        SponsorClient {
            url: url.parse().unwrap(),
            key: None,
            network: NETWORK.parse().unwrap(),
            caller: Felt::TWO,
        }
    }

    fn own() -> Sender {
        let network: Network = NETWORK.parse().unwrap();
        let address = felt::to_address(&network, &Felt::TWO).unwrap();
        let account = StarknetAccount::new(address, StarkKey::from_hex("0x5").unwrap()).unwrap();
        let rpc = RpcClient::new(tollway_rpc::RpcConfig::new(vec![
            "https://127.0.0.1:1".parse().unwrap(),
        ]));
        let rpc = rpc.unwrap();
        Sender::Own(OwnerSender::new(&network, rpc, account, 1).unwrap())
    }

    #[test]
    fn only_a_trial_of_our_own_that_failed_proves_that_nothing_was_sent() {
        let failure = |code: &str| Failure::coded(Exit::Failed, code, "");
        let (own, sponsor) = (own(), Sender::Sponsor(sponsor("http://127.0.0.1:1")));
        assert!(own.never_sent(&failure(codes::SIMULATION_FAILED)));
        for code in [codes::NETWORK_UNAVAILABLE, codes::INVALID_TRANSACTION_STATE] {
            assert!(!own.never_sent(&failure(code)), "{code}");
        }
        for code in [codes::SIMULATION_FAILED, codes::SPONSOR_NOT_ALLOWED] {
            assert!(!sponsor.never_sent(&failure(code)), "{code}");
        }
        assert!(!sponsor.never_sent(&Failure::new("")));
    }

    #[test]
    fn nothing_is_signed_for_a_sponsor_that_is_anybody() {
        assert!(somebody(Felt::ZERO).is_err());
        assert!(somebody(ANY_CALLER).is_err());
        assert_eq!(somebody(Felt::TWO).unwrap(), Felt::TWO);
    }

    #[tokio::test]
    async fn a_sponsor_that_hangs_up_leaves_open_what_it_did() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/sponsor", listener.local_addr().unwrap());
        let hangs_up = tokio::spawn(async move { drop(listener.accept().await) });
        let failure = sponsor(&url).send(json!({})).await.unwrap_err();
        hangs_up.await.unwrap();
        assert_eq!(failure.code.as_deref(), Some(codes::NETWORK_UNAVAILABLE));
    }
}
