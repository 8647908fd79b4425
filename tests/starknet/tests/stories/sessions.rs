//! A session's life: allowed, paying, used up, over, revoked.

use tollway_core::{Amount, Clock, SystemClock, Wallet, WalletError, codes};
use tollway_starknet::session::{
    DEFAULT_DURATION, Policy, Registration, SessionKey, SessionWallet, register, revoke, set_policy,
};
use tollway_starknet::{Signer, StarknetWallet, selectors};

use tollway_test_starknet::{
    ETH, PAYEE, PRICE, STRK, World, address, assets, limits, network, number,
};

pub struct Session {
    pub world: World,
    pub key: SessionKey,
    pub wallet: SessionWallet,
}

impl Session {
    /// Allowed by the owner: so many transfers of at most the price each.
    pub async fn allowed(max_calls: u32) -> Self {
        let price = Amount::from_atomic(PRICE.into());
        let policy = Policy::for_session(price, max_calls, DEFAULT_DURATION.as_secs());
        Self::with(Registration::transfers(max_calls), policy).await
    }

    pub async fn with(registration: Registration, policy: Option<Policy>) -> Self {
        let world = World::new().await;
        let key = SessionKey::create(SystemClock.now(), DEFAULT_DURATION).unwrap();
        let account = number(&world.payer.address);
        let mut calls = vec![register(account, &key, &registration).unwrap()];
        if let Some(policy) = policy {
            calls.push(set_policy(account, key.public(), number(STRK), &policy).unwrap());
        }
        world.own(&calls).await;
        let owner = address(&world.payer.address);
        let wallet = SessionWallet::new(&owner, network(), key.clone(), world.node.rpc.clone())
            .unwrap()
            .with(assets(), std::sync::Arc::new(SystemClock));
        Self { world, key, wallet }
    }

    /// A wallet that signs with the session and asks nobody.
    pub fn blind(&self, valid_until: u64) -> StarknetWallet {
        let Signer::Session { key, .. } = self.key.signer() else {
            panic!("no session");
        };
        let signer = Signer::Session { key, valid_until };
        StarknetWallet::new(&address(&self.world.payer.address), vec![network()], signer)
            .unwrap()
            .with_assets(assets())
    }

    pub async fn code(&self) -> String {
        match self.wallet.prepare(&self.world.terms(), &limits()).await {
            Err(WalletError::Refused(refusal)) => refusal.code().to_owned(),
            other => panic!("not refused: {other:?}"),
        }
    }

    /// The code with which the facilitator refuses what the session signs blindly.
    pub async fn refused_blind(&self, asset: &str, amount: u64) -> String {
        let terms = self.world.terms_of(asset, amount);
        let blind = self.blind(self.key.valid_until());
        let prepared = blind.prepare(&terms, &limits()).await.unwrap();
        self.world.refused(&terms, prepared).await
    }

    pub async fn pay(&self) {
        let terms = self.world.terms();
        let prepared = self.wallet.prepare(&terms, &limits()).await.unwrap();
        self.world.settle(&terms, prepared).await;
    }
}

#[tokio::test]
async fn a_session_pays_until_its_calls_are_used_up_and_then_the_owner_does() {
    let mut session = Session::allowed(2).await;
    let before = session.world.balance(PAYEE).await;
    session.pay().await;
    let status = session.wallet.status(Some(&address(STRK))).await.unwrap();
    assert_eq!((status.data.max_calls, status.data.calls_used), (2, 1));
    assert_eq!(status.entrypoints, [selectors::TRANSFER]);
    let (policy, left) = status.policy(SystemClock.now()).unwrap();
    assert_eq!(
        policy.max_per_window,
        Amount::from_atomic(u128::from(PRICE) * 2)
    );
    assert_eq!(left, Amount::from_atomic(PRICE.into()));
    session.pay().await;
    assert_eq!(
        session.world.balance(PAYEE).await,
        before + u128::from(PRICE) * 2
    );
    assert_eq!(session.code().await, codes::SESSION_MAX_CALLS_EXCEEDED);
    // Whoever signs all the same is refused by the account itself.
    let code = codes::INVALID_EXACT_STARKNET_PAYLOAD_SIGNATURE;
    assert_eq!(session.refused_blind(STRK, PRICE).await, code);

    let owner = session.world.owner_wallet(&session.world.payer);
    session.wallet = session.wallet.with_owner(owner);
    session.pay().await;
    assert_eq!(
        session.world.balance(PAYEE).await,
        before + u128::from(PRICE) * 3
    );
}

#[tokio::test]
async fn a_session_that_is_revoked_or_unknown_pays_nothing() {
    let session = Session::allowed(5).await;
    let account = number(&session.world.payer.address);
    session
        .world
        .own(&[revoke(account, session.key.public())])
        .await;
    assert_eq!(session.code().await, codes::SESSION_REVOKED);
    let code = codes::INVALID_EXACT_STARKNET_PAYLOAD_SIGNATURE;
    assert_eq!(session.refused_blind(STRK, PRICE).await, code);

    let unknown = SessionKey::create(SystemClock.now(), DEFAULT_DURATION).unwrap();
    let owner = address(&session.world.payer.address);
    let wallet = SessionWallet::new(&owner, network(), unknown, session.world.node.rpc.clone());
    let wallet = wallet
        .unwrap()
        .with(assets(), std::sync::Arc::new(SystemClock));
    let outcome = wallet.prepare(&session.world.terms(), &limits()).await;
    let Err(WalletError::Refused(refusal)) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(refusal.code(), codes::SESSION_NOT_REGISTERED);
}

#[tokio::test]
async fn a_session_that_is_over_by_the_chains_clock_pays_nothing() {
    let session = Session::allowed(5).await;
    session.pay().await;
    session
        .world
        .node
        .pass(DEFAULT_DURATION.as_secs() + 60)
        .await;
    let status = session.wallet.status(None).await.unwrap();
    assert!(status.as_of.secs() > session.key.valid_until());
    // Our own clock has not seen it.
    assert_eq!(session.code().await, codes::SESSION_EXPIRED);
    let code = codes::INVALID_EXACT_STARKNET_PAYLOAD_SIGNATURE;
    assert_eq!(session.refused_blind(STRK, PRICE).await, code);
}

#[tokio::test]
async fn a_policy_holds_per_call_and_per_window_until_the_window_is_over() {
    let policy = Policy {
        max_per_call: Amount::from_atomic(PRICE.into()),
        max_per_window: Amount::from_atomic(u128::from(PRICE) * 3 / 2),
        window_seconds: 100,
    };
    let session = Session::with(Registration::transfers(9), Some(policy)).await;
    let failed = codes::SIMULATION_FAILED;
    assert_eq!(
        session.refused_blind(STRK, PRICE + 1).await,
        failed,
        "over the limit per call"
    );
    session.pay().await;
    assert_eq!(session.code().await, codes::SESSION_POLICY_EXCEEDED);
    assert_eq!(
        session.refused_blind(STRK, PRICE).await,
        failed,
        "over the window"
    );
    let terms = session.world.terms_of(STRK, PRICE / 2);
    let exact = session.wallet.prepare(&terms, &limits()).await.unwrap();
    session.world.settle(&terms, exact).await;
    session.world.node.pass(100).await;
    // By the chain's clock the window is over; our own is not asked here.
    let terms = session.world.terms();
    let blind = session.blind(session.key.valid_until());
    let prepared = blind.prepare(&terms, &limits()).await.unwrap();
    session.world.settle(&terms, prepared).await;
}

#[tokio::test]
async fn a_transfer_of_another_token_is_not_what_the_session_was_given() {
    let session = Session::allowed(5).await;
    assert_eq!(
        session.refused_blind(ETH, PRICE).await,
        codes::SIMULATION_FAILED
    );
}
