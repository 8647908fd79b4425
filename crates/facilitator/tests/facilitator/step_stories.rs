//! The pure machine against a hostile little world, one story per seed.

use std::time::Duration;

use tollway_ledger::PaymentState;

use crate::world::{Chaos, World};

const STORIES: u64 = 1000;
/// Longest lifetime, expiry grace, and a while for what is stuck to be cancelled.
const LONG_ENOUGH: Duration = Duration::from_secs(600);

fn tell(mut world: World, payments: u64, turns: u64) -> World {
    for turn in 0..turns {
        if turn % (turns / payments) == 0 {
            world.accept_one();
        }
        world.turn();
    }
    world.heal(LONG_ENOUGH);
    world.check_end();
    world
}

/// Runs a story, and says which seed it was if it goes wrong.
fn named(seed: u64, chaos: Chaos) -> World {
    let told = std::panic::catch_unwind(|| tell(World::new(seed, chaos), 6, 402));
    told.unwrap_or_else(|_| panic!("the story of seed {seed} went wrong"))
}

#[test]
fn in_a_healthy_world_every_payment_settles() {
    for seed in 0..200 {
        let mut world = World::new(seed, Chaos::NONE);
        world.shortest_life = 300;
        let calm = tell(world, 6, 402);
        assert_eq!(calm.count(PaymentState::Settled), 6, "seed {seed}");
    }
}

#[test]
fn nodes_that_fail_and_answers_that_are_lost_move_money_at_most_once() {
    let moody = Chaos {
        calls: 250,
        crashes: 0,
        ..Chaos::NONE
    };
    let settled: usize = (0..STORIES)
        .map(|seed| named(seed, moody).count(PaymentState::Settled))
        .sum();
    assert!(settled > 1000, "the world is too hostile to show anything");
}

#[test]
fn crashes_at_any_moment_lose_nothing_and_repeat_nothing() {
    let crashing = Chaos {
        calls: 100,
        crashes: 30,
        ..Chaos::NONE
    };
    for seed in 0..STORIES {
        named(seed, crashing);
    }
}

#[test]
fn front_runners_cancellations_empty_accounts_and_used_nonces_end_truthfully() {
    let hostile = Chaos {
        calls: 120,
        crashes: 10,
        adversary: 40,
        ..Chaos::NONE
    };
    let mut ends = [0; 3];
    for seed in 0..STORIES {
        let world = named(seed, hostile);
        ends[0] += world.count(PaymentState::Settled);
        ends[1] += world.count(PaymentState::Refused);
        ends[2] += world.count(PaymentState::Expired);
    }
    assert!(ends.iter().all(|n| *n > 20), "an end never came: {ends:?}");
}

#[test]
fn blocks_that_are_replaced_leave_nobody_settled_who_was_not_paid() {
    let forking = Chaos {
        calls: 60,
        crashes: 6,
        reorgs: 12,
        ..Chaos::NONE
    };
    let (mut taken_back, mut settled) = (0, 0);
    for seed in 0..STORIES {
        let world = named(seed, forking);
        taken_back += world.taken_back;
        settled += world.count(PaymentState::Settled);
    }
    assert!(taken_back > 100, "only {taken_back} were taken back");
    assert!(settled > 1000, "only {settled} settled");
}

#[test]
fn a_signer_that_another_machine_takes_is_left_alone_and_nothing_is_lost() {
    let thieving = Chaos {
        calls: 60,
        crashes: 6,
        thefts: 15,
        ..Chaos::NONE
    };
    let settled: usize = (0..STORIES)
        .map(|seed| named(seed, thieving).count(PaymentState::Settled))
        .sum();
    assert!(settled > 1000, "only {settled} settled");
}

#[test]
fn one_seed_tells_one_story() {
    let chaos = Chaos {
        calls: 150,
        crashes: 20,
        adversary: 30,
        reorgs: 5,
        thefts: 5,
    };
    for seed in [1, 7, 99] {
        assert_eq!(named(seed, chaos).trace, named(seed, chaos).trace);
    }
}
