//! What a thief of a session key, or a payer who cheats, tries on the account
//! itself: whatever the facilitator would send.

use std::time::Duration;

use serde_json::{Value, json};
use tollway_core::{ChainError, Clock, SystemClock, Wallet};
use tollway_starknet::invoke::{Bound, Bounds, Invoke};
use tollway_starknet::session::{Registration, revoke};
use tollway_starknet::{
    ANY_CALLER, Call, Felt, OutsideExecution, StarkKey, felt, outside::calls_calldata, selectors,
};

use crate::sessions::Session;
use tollway_test_starknet::{PAYEE, PRICE, STRK, limits, network, number};

impl Session {
    /// What the account says to calls that the session signs and the stranger
    /// sends: nothing where they happened.
    async fn try_calls(
        &self,
        calls: Vec<Call>,
        change: impl FnOnce(&mut Vec<Felt>),
    ) -> Option<String> {
        let execution = OutsideExecution {
            caller: ANY_CALLER,
            nonce: tollway_starknet::random_nonce().unwrap(),
            execute_after: 1,
            execute_before: u128::from(SystemClock.now().secs() + 600),
            calls,
        };
        self.try_execution(&execution, change).await
    }

    async fn try_execution(
        &self,
        execution: &OutsideExecution,
        change: impl FnOnce(&mut Vec<Felt>),
    ) -> Option<String> {
        let chain_id = felt::chain_id(&network()).unwrap();
        let account = number(&self.world.payer.address);
        let hash = execution.hash(&chain_id, &account);
        let mut signature = self.key.signer().sign(&hash).unwrap();
        change(&mut signature);
        let call = Call {
            to: account,
            selector: selectors::EXECUTE_FROM_OUTSIDE,
            calldata: execution.calldata(&signature),
        };
        let sender = self.world.sender(&self.world.stranger);
        match sender.send(&[call]).await {
            Ok(hash) => {
                sender.wait(&hash, Duration::from_secs(60)).await.unwrap();
                None
            }
            Err(ChainError::Refused(refusal)) => {
                Some(refusal.detail().unwrap_or_default().to_owned())
            }
            Err(other) => panic!("{other}"),
        }
    }
}

fn transfer(amount: u64) -> Call {
    Call {
        to: number(STRK),
        selector: selectors::TRANSFER,
        calldata: vec![number(PAYEE), Felt::from(amount), Felt::ZERO],
    }
}

fn says(outcome: Option<String>, words: &str) {
    let said = outcome.unwrap_or_else(|| panic!("it happened; expected `{words}`"));
    let hex: String = words.bytes().map(|byte| format!("{byte:02x}")).collect();
    assert!(
        said.contains(words) || said.contains(&hex),
        "expected `{words}`: {said}"
    );
}

#[tokio::test]
async fn a_stolen_session_key_takes_what_is_left_of_its_cap_and_no_more() {
    let session = Session::allowed(3).await;
    let before = session.world.balance(PAYEE).await;
    let all = || vec![transfer(PRICE); 4];
    says(
        session.try_calls(all(), |_| {}).await,
        "Session: no calls left",
    );
    says(
        session.try_calls(vec![transfer(PRICE + 1)], |_| {}).await,
        "Policy: over call limit",
    );
    assert_eq!(
        session.try_calls(vec![transfer(PRICE); 3], |_| {}).await,
        None
    );
    says(
        session.try_calls(vec![transfer(1)], |_| {}).await,
        "Session: invalid",
    );
    assert_eq!(
        session.world.balance(PAYEE).await,
        before + u128::from(PRICE) * 3
    );
}

#[tokio::test]
async fn a_session_never_reaches_the_account_itself_nor_what_administers_it() {
    let everything = Registration {
        max_calls: 9,
        entrypoints: Vec::new(),
        everything: true,
    };
    let session = Session::with(everything, None).await;
    let own = number(&session.world.payer.address);
    let key = session.key.public();
    let call = |to: Felt, name: &str| Call {
        to,
        selector: selectors::parse(name).unwrap(),
        calldata: vec![],
    };
    says(
        session.try_calls(vec![revoke(own, key)], |_| {}).await,
        "Session: own account",
    );
    says(
        session
            .try_calls(vec![call(own, "get_public_key")], |_| {})
            .await,
        "Session: own account",
    );
    for name in [
        "upgrade",
        "add_or_update_session_key",
        "revoke_session_key",
        "__execute__",
        "set_public_key",
        "setPublicKey",
        "execute_from_outside_v2",
        "set_spending_policy",
        "remove_spending_policy",
    ] {
        let outcome = session
            .try_calls(vec![call(number(STRK), name)], |_| {})
            .await;
        says(outcome, "Session: administrative");
    }
    says(
        session.try_calls(vec![], |_| {}).await,
        "Session: nothing to do",
    );
    // What it may do, it may: all tokens, as the owner consented.
    assert_eq!(session.try_calls(vec![transfer(PRICE)], |_| {}).await, None);
}

#[tokio::test]
async fn signatures_of_other_shapes_and_ends_are_no_signatures() {
    let session = Session::allowed(9).await;
    let one = || vec![transfer(1)];
    let later = Felt::from(session.key.valid_until() + 1);
    says(
        session.try_calls(one(), |s| s[3] = later).await,
        "Session: invalid",
    );
    says(
        session.try_calls(one(), |s| s[3] = Felt::from(1_u8)).await,
        "Session: invalid",
    );
    let wide = Felt::from(u128::MAX);
    says(
        session.try_calls(one(), |s| s[3] = wide).await,
        "Session: invalid",
    );
    says(
        session.try_calls(one(), |s| s[1] += Felt::ONE).await,
        "Session: invalid",
    );
    says(
        session.try_calls(one(), |s| s[0] = Felt::from(7_u8)).await,
        "Session: invalid",
    );
    says(
        session.try_calls(one(), |s| s.truncate(3)).await,
        "Account: signature length",
    );
    says(
        session.try_calls(one(), |s| s.push(Felt::ONE)).await,
        "Account: signature length",
    );
    says(
        session.try_calls(one(), Vec::clear).await,
        "Account: signature length",
    );
    says(
        session.try_calls(one(), |s| s.truncate(2)).await,
        "Account: invalid signature",
    );
    assert_eq!(session.try_calls(one(), |_| {}).await, None);
}

#[tokio::test]
async fn an_execution_is_for_its_caller_its_time_and_once() {
    let session = Session::allowed(9).await;
    let now = u128::from(SystemClock.now().secs());
    let good = OutsideExecution {
        caller: number(&session.world.stranger.address),
        nonce: Felt::from(1_u8),
        execute_after: 1,
        execute_before: now + 600,
        calls: vec![transfer(1)],
    };
    let with = |change: &dyn Fn(&mut OutsideExecution)| {
        let mut execution = good.clone();
        change(&mut execution);
        execution
    };
    let foreign = with(&|e| e.caller = Felt::from(9_u8));
    says(
        session.try_execution(&foreign, |_| {}).await,
        "SNIP9: invalid caller",
    );
    let nobody = with(&|e| e.caller = Felt::ZERO);
    says(
        session.try_execution(&nobody, |_| {}).await,
        "SNIP9: invalid caller",
    );
    let late = with(&|e| e.execute_before = now - 60);
    says(
        session.try_execution(&late, |_| {}).await,
        "SNIP9: too late",
    );
    let early = with(&|e| e.execute_after = now + 500);
    says(
        session.try_execution(&early, |_| {}).await,
        "SNIP9: too early",
    );
    assert_eq!(session.try_execution(&good, |_| {}).await, None);
    says(
        session.try_execution(&good, |_| {}).await,
        "SNIP9: nonce used",
    );
}

#[tokio::test]
async fn a_session_sends_no_transaction_of_the_account_itself() {
    let session = Session::allowed(9).await;
    let bound = |amount, price| Bound { amount, price };
    let invoke = Invoke {
        sender: number(&session.world.payer.address),
        // The owner's registration was the first.
        nonce: 1,
        tip: 0,
        bounds: Bounds {
            l1_gas: bound(0, 1_000_000_000_000),
            l2_gas: bound(20_000_000, 100_000_000_000),
            l1_data_gas: bound(10_000, 1_000_000_000_000),
        },
        calldata: calls_calldata(&[transfer(1)]),
    };
    let hash = invoke.hash(&felt::chain_id(&network()).unwrap());
    let send = |signature: Vec<Felt>| {
        let params = json!({ "invoke_transaction": invoke.signed(&signature) });
        let rpc = session.world.node.rpc.clone();
        async move {
            rpc.call::<Value>("starknet_addInvokeTransaction", params)
                .await
        }
    };
    let by_session = session.key.signer().sign(&hash).unwrap();
    let two = by_session[1..3].to_vec();
    for signature in [by_session, two] {
        let refused = send(signature).await.unwrap_err();
        assert!(refused.to_string().contains("code 55"), "{refused}");
    }
    let owner = StarkKey::from_hex(&session.world.payer.key).unwrap();
    let sent = send(owner.sign(&hash).unwrap().to_vec()).await;
    assert!(
        sent.is_ok(),
        "the owner's signature over the same: {sent:?}"
    );
}

#[tokio::test]
async fn what_fails_inside_undoes_the_whole_execution() {
    let session = Session::allowed(9).await;
    let before = session.world.balance(PAYEE).await;
    let owner = session.world.owner_wallet(&session.world.payer);
    let terms = session.world.terms_of(STRK, PRICE);
    let prepared = owner.prepare(&terms, &limits()).await.unwrap();
    let verified = session.world.verify(&terms, prepared).await.unwrap();
    // Between verify and settle the payer's money leaves.
    let all = session.world.balance(&session.world.payer.address).await;
    let keep = 2_000_000_000_000_000_000_u128.min(all / 2);
    let away = Call {
        to: number(STRK),
        selector: selectors::TRANSFER,
        calldata: vec![number("0x7"), Felt::from(all - keep), Felt::ZERO],
    };
    session.world.own(&[away]).await;
    let rest = session.world.balance(&session.world.payer.address).await;
    let drain = Call {
        to: number(STRK),
        selector: selectors::TRANSFER,
        calldata: vec![number("0x7"), Felt::from(rest + 1), Felt::ZERO],
    };
    let chain_id = felt::chain_id(&network()).unwrap();
    let both = OutsideExecution {
        caller: ANY_CALLER,
        nonce: Felt::from(77_u8),
        execute_after: 1,
        execute_before: u128::from(SystemClock.now().secs() + 600),
        calls: vec![transfer(PRICE), drain],
    };
    let account = number(&session.world.payer.address);
    let key = tollway_starknet::StarkKey::from_hex(&session.world.payer.key).unwrap();
    let signature = key.sign(&both.hash(&chain_id, &account)).unwrap();
    let call = Call {
        to: account,
        selector: selectors::EXECUTE_FROM_OUTSIDE,
        calldata: both.calldata(&signature),
    };
    let outcome = session
        .world
        .sender(&session.world.stranger)
        .send(&[call])
        .await;
    assert!(
        matches!(outcome, Err(ChainError::Refused(_))),
        "{outcome:?}"
    );
    assert_eq!(
        session.world.balance(PAYEE).await,
        before,
        "neither call happened"
    );
    // The payment that was verified before still settles: it is covered.
    let outcome = session.world.submit(&verified).await;
    assert!(
        matches!(outcome, tollway_core::Outcome::Settled(_)),
        "{outcome:?}"
    );
}
