//! Each promise can be seen broken: sound evidence, doctored in one place.

use super::{check, promises};
use crate::chain::Helped;
use crate::client::{Answer, Door, Lived, Meter, Revoked, Signed, Stream, StreamEnd, Token, Use};
use crate::ledger::{Event, Grant, Pass, Payment, Promise, Slot, Writer};
use crate::{Chain, Client, Evidence, Ledger, authorization};

const PAYEE: &str = "0x00000000000000000000000000000000000000ee";
const SIGNER: &str = "0x0000000000000000000000000000000000000051";

fn auth(n: u64) -> String {
    authorization("0xAA", &format!("0x{n:064x}"))
}

fn tx(n: u64) -> String {
    format!("0x7{n:063x}")
}

fn signed(n: u64) -> Signed {
    Signed {
        payer: "0xaa".into(),
        nonce: format!("0x{n:064x}"),
        to: PAYEE.into(),
        amount: 100,
        valid_before: 1_000,
        meter: None,
    }
}

/// Ten for each, and two at most on the way.
const METER: Meter = Meter {
    price: 10,
    piece: 2,
};

fn streamed(units: u64, end: StreamEnd) -> Stream {
    Stream {
        units,
        end,
        transaction: None,
    }
}

fn answer(n: u64, key: Option<&str>) -> Answer {
    Answer {
        status: 200,
        success: Some(true),
        transaction: Some(tx(n)),
        key: key.map(str::to_owned),
        ..Answer::default()
    }
}

fn told(n: u64, code: &str) -> Answer {
    Answer {
        success: Some(false),
        code: Some(code.into()),
        ..answer(n, None)
    }
}

fn lived(n: u64, answers: Vec<Answer>) -> Lived {
    Lived {
        signed: Some(signed(n)),
        sent: vec![Door::Settle; answers.len()],
        answers: answers.into_iter().map(|a| (Door::Settle, a)).collect(),
        ..Lived::default()
    }
}

fn token(n: u64, quota: Option<u64>) -> Token {
    Token {
        pass: format!("pas_{n}"),
        quota,
        door: Door::Token,
    }
}

fn opened(sent_at: u64) -> Use {
    Use {
        sent_at,
        status: 200,
        code: None,
        goods: true,
    }
}

fn purse(payer: &str) -> crate::ledger::Purse {
    ("n".into(), "a".into(), payer.into())
}

fn pass(n: u64) -> Pass {
    Pass {
        id: format!("pas_{n}"),
        grant: format!("grt_{n}"),
        purse: purse("0xaa"),
        amount: 100,
        ..Pass::default()
    }
}

fn grant(n: u64, state: &str) -> Grant {
    Grant {
        id: format!("grt_{n}"),
        auth: auth(n),
        state: state.into(),
        reclaimable: false,
        sells_pass: true,
        purse: purse("0xaa"),
        amount: 100,
        meter: None,
    }
}

/// A hundred at most, of which thirty are charged.
fn metered(n: u64, state: &str) -> Grant {
    Grant {
        sells_pass: false,
        amount: 30,
        meter: Some(Promise {
            permitted: 100,
            is_open: false,
        }),
        ..grant(n, state)
    }
}

fn payment(n: u64, state: &str) -> Payment {
    Payment {
        id: format!("pay_{n}"),
        auth: auth(n),
        to: PAYEE.into(),
        amount: 100,
        deadline: 1_000_000,
        state: state.into(),
        transaction: Some(tx(n)),
        handed_out: state == "settled",
    }
}

fn slot(nonce: u64, hash: u64, payment: u64) -> Slot {
    Slot {
        signer: SIGNER.into(),
        nonce,
        closed: true,
        hashes: vec![tx(hash)],
        payments: vec![format!("pay_{payment}")],
    }
}

fn transfer(n: u64) -> crate::chain::Transfer {
    crate::chain::Transfer {
        auth: Some(auth(n)),
        from: "0xaa".into(),
        to: PAYEE.into(),
        amount: 100,
        transaction: tx(n),
    }
}

fn mined(nonce: u64, hash: u64, block: u64) -> crate::chain::Mined {
    crate::chain::Mined {
        hash: tx(hash),
        from: SIGNER.into(),
        nonce,
        block,
    }
}

fn events() -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    for (seq, (subject, kind)) in [
        (1, ("pay_1", "accepted")),
        (2, ("pay_1", "submitted")),
        (3, ("pay_4", "refused")),
    ] {
        let mut event = Event {
            writer: "w".into(),
            seq,
            at: 5,
            subject: subject.into(),
            kind: kind.into(),
            data: "{}".into(),
            hash: String::new(),
        };
        let before = events.last().map_or("", |event| event.hash.as_str());
        event.hash = super::story::hash(before, &event);
        events.push(event);
    }
    events
}

/// 1: settled, with a key, after an answer that was lost. 2: settled, without.
/// 3: reverted under nonce 2, settled under nonce 3. 4: refused. 5: expired.
/// 1 bought a pass for five requests and made three until it was taken back; 4 one
/// that died with it. 6: settled, success lost, told as a duplicate. 7: three units
/// were streamed, and paid for. Their payer was helped with gas.
fn sound() -> Evidence {
    let mut client = Client::default();
    let mut lost = lived(1, vec![told(1, "settlement_pending"), answer(1, Some("k"))]);
    lost.broke = 1;
    lost.tokens = vec![token(1, Some(5))];
    lost.uses = [7, 8, 9_000].map(opened).into();
    lost.revoked = vec![Revoked {
        pass: "pas_1".into(),
        at: 9_001,
    }];
    client.payments.insert(auth(1), lost);
    client
        .payments
        .insert(auth(2), lived(2, vec![answer(2, None)]));
    client
        .payments
        .insert(auth(3), lived(3, vec![answer(3, None)]));
    let mut no = told(4, "insufficient_funds");
    no.transaction = None;
    let mut died = lived(4, vec![no]);
    died.tokens = vec![token(4, None)];
    died.uses = vec![opened(1_005)];
    client.payments.insert(auth(4), died);
    let mut late = told(5, "payment_expired");
    late.transaction = None;
    client.payments.insert(auth(5), lived(5, vec![late]));
    let mut repeat = lived(6, vec![told(6, "duplicate_settlement")]);
    repeat.broke = 1;
    client.payments.insert(auth(6), repeat);
    let mut by_meter = lived(7, Vec::new());
    by_meter.signed.as_mut().unwrap().meter = Some(METER);
    by_meter.sent = vec![Door::Meter];
    by_meter.streams = vec![Stream {
        transaction: Some(tx(7)),
        ..streamed(3, StreamEnd::Whole)
    }];
    client.payments.insert(auth(7), by_meter);
    let mut transfers: Vec<_> = [1, 2, 3, 6, 7].map(transfer).into();
    transfers[4].amount = 30;
    let chain = Chain {
        transfers,
        mined: vec![
            mined(0, 1, 10),
            mined(1, 2, 10),
            mined(2, 33, 10),
            mined(3, 3, 11),
            mined(4, 6, 12),
            mined(5, 7, 13),
        ],
        nonces: [(SIGNER.to_owned(), 6)].into(),
        used: [1, 2, 3, 6, 7].map(auth).into(),
        helped: vec![Helped {
            to: "0xaa".into(),
            wei: 5,
        }],
        time: 2_000,
    };
    let ledger = Ledger {
        payments: vec![
            payment(1, "settled"),
            payment(2, "settled"),
            payment(3, "settled"),
            payment(4, "refused"),
            payment(5, "expired"),
            payment(6, "settled"),
            Payment {
                amount: 30,
                ..payment(7, "settled")
            },
        ],
        slots: vec![
            slot(0, 1, 1),
            slot(1, 2, 2),
            slot(2, 33, 3),
            slot(3, 3, 3),
            slot(4, 6, 6),
            slot(5, 7, 7),
        ],
        grants: vec![
            grant(1, "released"),
            grant(4, "refused"),
            metered(7, "released"),
        ],
        passes: vec![
            Pass {
                quota: Some((5, 1)),
                settled: true,
                withdrawn: true,
                ..pass(1)
            },
            Pass {
                failed: true,
                lost: true,
                ..pass(4)
            },
        ],
        exposures: Vec::new(),
        losses: vec![(purse("0xaa"), 100), (purse(""), 100)],
        help: vec![(String::new(), 5), ("0xaa".into(), 7)],
        events: events(),
        writers: vec![Writer {
            name: "w".into(),
            follows: String::new(),
        }],
    };
    Evidence {
        client,
        chain,
        ledgers: vec![ledger],
    }
}

/// The promises that a change of sound evidence breaks.
fn broken(doctor: impl FnOnce(&mut Evidence)) -> Vec<&'static str> {
    let mut evidence = sound();
    doctor(&mut evidence);
    let mut rules: Vec<_> = check(&evidence).iter().map(|found| found.rule).collect();
    rules.dedup();
    rules
}

fn client(evidence: &mut Evidence, n: u64) -> &mut Lived {
    evidence.client.payments.get_mut(&auth(n)).unwrap()
}

#[test]
fn sound_evidence_breaks_no_promise() {
    assert_eq!(check(&sound()), []);
    assert_eq!(promises().count(), 26);
}

#[test]
fn money_that_moved_twice_is_seen() {
    let twice = broken(|e| e.chain.transfers.push(transfer(1)));
    assert_eq!(twice, ["moved_once", "sums_agree"]);
    let unexplained = broken(|e| {
        e.chain.transfers.push(crate::chain::Transfer {
            auth: None,
            ..transfer(9)
        });
    });
    assert_eq!(unexplained, ["moved_once"]);
}

#[test]
fn money_that_moved_by_no_permit_is_seen() {
    let unused = broken(|e| {
        e.chain.used.remove(&auth(7));
    });
    assert_eq!(unused, ["moved_once"]);
}

#[test]
fn a_success_without_money_is_seen() {
    let nothing = broken(|e| e.chain.transfers.retain(|t| t.auth != Some(auth(2))));
    assert!(nothing.contains(&"success_is_paid"), "{nothing:?}");
    let less = broken(|e| {
        e.chain.transfers[1].amount = 1;
        e.ledgers[0].payments[1].amount = 1;
    });
    assert_eq!(less, ["success_is_paid"]);
    let elsewhere = broken(|e| client(e, 2).answers[0].1.transaction = Some(tx(1)));
    assert_eq!(elsewhere, ["success_is_paid"]);
}

#[test]
fn money_that_the_ledger_does_not_know_is_seen() {
    let other = broken(|e| e.ledgers[0].payments[1].transaction = Some(tx(1)));
    assert_eq!(other, ["paid_is_settled"]);
    let open = broken(|e| e.ledgers[0].payments[5].state = "submitted".into());
    assert!(open.contains(&"paid_is_settled"), "{open:?}");
    assert!(open.contains(&"all_ends"), "{open:?}");
    assert!(open.contains(&"sums_agree"), "{open:?}");
    let lost = broken(|e| {
        e.ledgers[0].payments.remove(1);
        e.ledgers[0].slots[1].payments.clear();
    });
    assert_eq!(lost, ["paid_is_settled", "accepted_is_kept"]);
}

#[test]
fn a_sum_that_is_off_is_seen() {
    let more = broken(|e| e.ledgers[0].payments[0].amount = 101);
    assert_eq!(more, ["sums_agree"]);
}

#[test]
fn what_never_ends_is_seen() {
    let payment = broken(|e| e.ledgers[0].payments[3].state = "accepted".into());
    assert_eq!(payment, ["all_ends"]);
    let grant = broken(|e| e.ledgers[0].grants[1].state = "settling".into());
    assert_eq!(grant, ["all_ends"]);
}

#[test]
fn an_end_that_is_not_true_is_seen() {
    let early = broken(|e| e.chain.time = 999);
    assert_eq!(early, ["ends_are_true"]);
    let used = broken(|e| {
        e.chain.used.insert(auth(5));
    });
    assert_eq!(used, ["ends_are_true"]);
    let for_nothing = broken(|e| e.ledgers[0].payments[3].handed_out = true);
    assert_eq!(for_nothing, ["ends_are_true"]);
}

#[test]
fn two_grants_for_one_payment_are_seen() {
    let two = broken(|e| {
        let grant = e.ledgers[0].grants[0].clone();
        e.ledgers[0].grants.push(grant);
    });
    assert_eq!(two, ["one_grant"]);
    let goods = broken(|e| {
        let mut goods = answer(2, None);
        goods.goods = true;
        client(e, 2).answers = vec![(Door::Gate, goods.clone()), (Door::Gate, goods)];
    });
    assert_eq!(goods, ["one_grant"]);
}

#[test]
fn goods_for_nothing_and_money_for_nothing_are_seen() {
    let free = broken(|e| e.ledgers[0].grants[1].state = "released".into());
    assert_eq!(free, ["released_is_paid", "pass_is_kept"]);
    let denied = broken(|e| e.ledgers[0].grants[0].state = "refused".into());
    assert_eq!(denied, ["released_is_paid"]);
}

#[test]
fn success_that_is_handed_out_twice_is_seen() {
    let again = broken(|e| client(e, 2).answers.push((Door::Settle, answer(2, None))));
    assert_eq!(again, ["success_once"]);
    let other = answer(1, Some("other"));
    let to_another = broken(|e| client(e, 1).answers.push((Door::Settle, other)));
    assert_eq!(to_another, ["success_once"]);
    let same = answer(1, Some("k"));
    let to_the_same = broken(|e| client(e, 1).answers.push((Door::Settle, same)));
    assert_eq!(to_the_same, [""; 0]);
}

#[test]
fn a_refusal_of_what_was_paid_is_seen() {
    let no = told(2, "insufficient_funds");
    let refused = broken(|e| client(e, 2).answers.insert(0, (Door::Settle, no)));
    assert_eq!(refused, ["refusal_holds"]);
    let taken_back = |is_withdrawn: bool| {
        broken(|e| {
            let no = told(1, "token_revoked");
            client(e, 1).answers.insert(0, (Door::Token, no));
            if !is_withdrawn {
                e.ledgers[0].passes[0].withdrawn = false;
                client(e, 1).revoked.clear();
            }
        })
    };
    assert_eq!(taken_back(true), [""; 0]);
    assert_eq!(taken_back(false), ["refusal_holds"]);
}

#[test]
fn who_paid_and_was_denied_is_seen() {
    let denied = broken(|e| {
        client(e, 2).answers[0].1 = told(2, "insufficient_funds");
    });
    assert_eq!(denied, ["refusal_holds", "payer_is_served"]);
    let for_no_reason = broken(|e| client(e, 6).broke = 0);
    assert_eq!(for_no_reason, ["payer_is_served"]);
    let nameless = broken(|e| client(e, 6).answers[0].1.transaction = None);
    assert_eq!(nameless, ["payer_is_served"]);
    let silence = broken(|e| client(e, 6).answers.clear());
    assert_eq!(silence, ["payer_is_served"]);
}

#[test]
fn pending_without_a_hash_is_seen() {
    let nameless = broken(|e| client(e, 1).answers[0].1.transaction = None);
    assert_eq!(nameless, ["pending_has_hash"]);
}

#[test]
fn a_transaction_that_is_not_on_record_is_seen() {
    let mined = broken(|e| e.ledgers[0].slots[4].hashes = vec![tx(99)]);
    assert_eq!(mined, ["hashes_are_kept"]);
    let told = broken(|e| client(e, 1).answers[0].1.transaction = Some(tx(98)));
    assert_eq!(told, ["hashes_are_kept"]);
}

#[test]
fn a_second_nonce_while_the_first_can_land_is_seen() {
    let same_block = broken(|e| e.chain.mined[3].block = 10);
    assert_eq!(same_block, ["no_overlap"]);
    let unused = broken(|e| {
        e.chain.mined.truncate(3);
        e.chain.nonces.insert(SIGNER.into(), 3);
    });
    assert_eq!(unused, ["no_overlap", "no_gaps"]);
    let taken_by_another = broken(|e| {
        e.chain.mined.remove(2);
    });
    assert_eq!(taken_by_another, [""; 0]);
}

#[test]
fn a_gap_is_seen() {
    let missing = broken(|e| {
        e.ledgers[0].slots[4].nonce = 6;
    });
    assert_eq!(missing, ["no_gaps"]);
    let open = broken(|e| e.ledgers[0].slots[4].closed = false);
    assert_eq!(open, ["no_gaps"]);
    let stuck = broken(|e| {
        e.chain.nonces.insert(SIGNER.into(), 4);
    });
    assert_eq!(stuck, ["no_gaps"]);
}

#[test]
fn a_token_that_outlives_its_payment_is_seen() {
    let late = broken(|e| client(e, 4).uses.push(opened(1_006)));
    assert_eq!(late, ["token_dies_with_payment"]);
    let good = broken(|e| {
        let ledger = &mut e.ledgers[0];
        (ledger.passes[1].failed, ledger.passes[1].lost) = (false, false);
        ledger.exposures = std::mem::take(&mut ledger.losses);
    });
    assert_eq!(good, ["token_dies_with_payment"]);
}

#[test]
fn a_request_too_many_is_seen() {
    let more = broken(|e| client(e, 1).uses.extend([10, 11, 12].map(opened)));
    assert_eq!(more, ["quota_holds"]);
    let uncounted = broken(|e| e.ledgers[0].passes[0].quota = Some((5, 3)));
    assert_eq!(uncounted, ["quota_holds"]);
    let by_header = broken(|e| {
        let lived = client(e, 1);
        lived.tokens[0].door = Door::Gate;
        lived.uses.extend([10, 11].map(opened));
        e.ledgers[0].passes[0].quota = Some((5, 0));
    });
    assert_eq!(by_header, ["quota_holds"]);
}

#[test]
fn a_pass_that_was_paid_and_is_lost_is_seen() {
    let gone = broken(|e| {
        e.ledgers[0].passes.remove(0);
    });
    assert_eq!(gone, ["quota_holds", "pass_is_kept", "revoked_is_closed"]);
    let dead = broken(|e| e.ledgers[0].passes[0].failed = true);
    assert_eq!(dead, ["pass_is_kept"]);
    let two = broken(|e| client(e, 4).tokens.push(token(1, None)));
    assert_eq!(two, ["pass_is_kept"]);
}

#[test]
fn a_promise_that_is_not_counted_is_seen() {
    let forgotten = broken(|e| e.ledgers[0].losses.clear());
    assert_eq!(forgotten, ["exposure_is_conserved"]);
    let kept = broken(|e| e.ledgers[0].exposures.push((purse("0xaa"), 100)));
    assert_eq!(kept, ["exposure_is_conserved"]);
    let streaming = broken(|e| {
        if let Some(promise) = &mut e.ledgers[0].grants[2].meter {
            promise.is_open = true;
        }
    });
    assert_eq!(streaming, ["exposure_is_conserved"]);
    let unpaid = broken(|e| {
        e.chain.transfers.remove(4);
        e.ledgers[0].payments[6].state = "refused".into();
        e.ledgers[0].payments[6].handed_out = false;
        e.ledgers[0].grants[2].state = "refused".into();
        client(e, 7).streams[0].transaction = None;
    });
    assert_eq!(unpaid, ["exposure_is_conserved"]);
}

#[test]
fn a_pass_that_was_taken_back_and_opens_is_seen() {
    let late = broken(|e| client(e, 1).uses.push(opened(9_002)));
    assert_eq!(late, ["revoked_is_closed"]);
    let good = broken(|e| e.ledgers[0].passes[0].withdrawn = false);
    assert_eq!(good, ["revoked_is_closed"]);
    let of_time = |after: u64| {
        broken(|e| {
            e.ledgers[0].passes[0].quota = None;
            let lived = client(e, 1);
            lived.tokens[0].quota = None;
            lived.uses.push(opened(9_001 + after));
        })
    };
    assert_eq!(of_time(1_000), [""; 0]);
    assert_eq!(of_time(1_001), ["revoked_is_closed"]);
}

#[test]
fn goods_of_a_meter_without_a_promise_are_seen() {
    let nothing = broken(|e| e.ledgers[0].grants[2].meter = None);
    assert_eq!(nothing, ["metered_is_promised", "metered_is_charged"]);
    let less = broken(|e| {
        if let Some(promise) = &mut e.ledgers[0].grants[2].meter {
            promise.permitted = 99;
        }
    });
    assert_eq!(less, ["metered_is_promised"]);
}

#[test]
fn a_charge_that_is_not_what_came_is_seen() {
    let other = |units, end| {
        broken(|e| {
            let stream = &mut client(e, 7).streams[0];
            (stream.units, stream.end) = (units, end);
        })
    };
    let wrong = ["metered_is_charged"];
    assert_eq!(other(4, StreamEnd::Whole), wrong);
    assert_eq!(other(2, StreamEnd::Whole), wrong);
    assert_eq!(other(6, StreamEnd::Broke), wrong, "given away");
    assert_eq!(other(0, StreamEnd::Broke), wrong, "never came");
    for units in 1..=5 {
        assert_eq!(other(units, StreamEnd::Broke), [""; 0]);
        assert_eq!(other(units, StreamEnd::Left), [""; 0]);
    }
    assert_eq!(other(6, StreamEnd::Left), wrong);
    assert_eq!(other(0, StreamEnd::Left), [""; 0]);
    let moved = broken(|e| {
        e.chain.transfers[4].amount = 40;
        e.ledgers[0].payments[6].amount = 40;
    });
    assert_eq!(moved, wrong);
    let too_much = broken(|e| {
        e.chain.transfers[4].amount = 110;
        e.ledgers[0].payments[6].amount = 110;
        e.ledgers[0].grants[2].amount = 110;
        client(e, 7).streams[0].units = 11;
    });
    assert_eq!(too_much, wrong);
    let again = broken(|e| client(e, 7).streams.push(streamed(1, StreamEnd::Left)));
    assert!(again.contains(&"one_grant"), "{again:?}");
    let elsewhere = broken(|e| client(e, 7).streams[0].transaction = Some(tx(6)));
    assert_eq!(elsewhere, ["success_is_paid"]);
}

#[test]
fn what_costs_nothing_may_end_without_money() {
    let free = broken(|e| {
        e.chain.transfers.remove(4);
        e.ledgers[0].payments[6].amount = 0;
        e.ledgers[0].grants[2].amount = 0;
        client(e, 7).streams = vec![streamed(0, StreamEnd::Broke)];
    });
    assert_eq!(free, [""; 0]);
}

#[test]
fn help_that_is_not_counted_or_given_twice_is_seen() {
    for page in [0, 1] {
        let less = broken(|e| e.ledgers[0].help[page].1 = 4);
        assert_eq!(less, ["help_is_counted"]);
    }
    let twice = broken(|e| {
        let again = e.chain.helped[0].clone();
        e.chain.helped.push(Helped { wei: 0, ..again });
    });
    assert_eq!(twice, ["help_once"]);
    let for_nothing = broken(|e| {
        let mut no = told(5, "erc20_approval_tx_failed");
        no.transaction = None;
        client(e, 5).answers.push((Door::Settle, no));
    });
    assert_eq!(for_nothing, ["help_once"]);
}

#[test]
fn a_changed_story_is_seen() {
    let changed = broken(|e| e.ledgers[0].events[1].data = "{1}".into());
    assert_eq!(changed, ["story_holds"]);
    let gone = broken(|e| {
        e.ledgers[0].events.remove(1);
    });
    assert_eq!(gone, ["story_holds"]);
    let loose = broken(|e| {
        e.ledgers[0].writers[0].follows = "gone".into();
    });
    assert_eq!(loose, ["story_holds"]);
    let nobody = broken(|e| e.ledgers[0].writers.clear());
    assert_eq!(nobody, ["story_holds"]);
}
