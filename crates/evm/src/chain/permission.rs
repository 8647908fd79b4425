//! Would redeeming this permission make exactly the transfer that is asked, and no
//! other? And is that still so with all that is under way?

use alloy_primitives::{Address as Account, B256, Bytes, U256};
use alloy_sol_types::SolCall;
use serde_json::Value;
use tollway_core::wire::Object;
use tollway_core::{Amount, ChainError, Identity, Intent, Phase, Verified, codes};

use super::EvmChain;
use super::allowance::Hold;
use super::outcome::effect;
use super::rules::Redeemable;
use crate::abi::delegation::{LimitedCalls, PeriodTransfer, Streaming, TransferAmount};
use crate::delegation::{CaveatTerms, Delegation, Enforcer};
use crate::methods::erc7710::PermissionPayment;
use crate::receipt::Effect;
use crate::refusal::refuse;
use crate::token::Token;

/// What a caveat still lets through, and how much of that a payment takes.
struct Remaining<'a> {
    delegation: &'a Delegation,
    terms: CaveatTerms,
    takes: U256,
}

/// For how long a verification holds a part of an allowance, in seconds: its seller
/// settles by then, and settling looks again.
const ASKED_FOR: u64 = 300;

impl EvmChain {
    /// What `/supported` says of permissions: every account that redeems them, under
    /// both names that are in use, and the managers; nothing where none is settled.
    pub(super) fn redeemers(&self) -> Object {
        let there = |manager: &&Account| self.knows(**manager);
        let managers: Vec<Value> = self.managers.iter().filter(there).map(text_of).collect();
        let redeemers: Vec<Value> = self
            .signers
            .iter()
            .map(|signer| text_of(&signer.address()))
            .collect();
        if managers.is_empty() || redeemers.is_empty() {
            return Object::new();
        }
        Object::from_iter([
            ("facilitatorAddresses".to_owned(), redeemers.clone().into()),
            ("facilitators".to_owned(), redeemers.into()),
            ("delegationManagers".to_owned(), managers.into()),
        ])
    }

    pub(super) async fn verify_permission(
        &self,
        intent: Intent,
        permission: &PermissionPayment,
        (token, phase, held): (&Token, Phase, Amount),
    ) -> Result<Verified, ChainError> {
        let redeemable = self.check_delegations(&intent, permission, token, phase)?;
        self.check_accepted(&intent)?;
        self.require_check().await?;
        super::simulate::require_deployed(token)?;
        if !self.is_there(permission.manager).await? {
            return Err(refuse(
                codes::INVALID_EXACT_EVM_ERC7710_MANAGER_NOT_DEPLOYED,
                "choose another transfer method",
            )
            .into());
        }
        let wanted = effect(&intent.identity, &intent.expected)?;
        let tried = self.try_redemption(permission, &redeemable, &wanted).await;
        let tried = match tried {
            Ok(tried) => tried,
            Err(why) => return Err(self.unless_used(why, &wanted).await),
        };
        let needed = redeemable.value.saturating_add(held.as_u256());
        if tried.balance < needed {
            return Err(refuse(
                codes::INVALID_EXACT_EVM_ERC7710_INSUFFICIENT_BALANCE,
                "fund the delegator",
            )
            .into());
        }
        let until = held_until(phase, redeemable.ends, self.now().secs());
        self.reserve(&intent.identity, permission, &redeemable, until)
            .await?;
        let signers = self.account_of(redeemable.redeemer);
        Ok(Verified {
            intent,
            gas: tried.gas,
            signers: signers.into_iter().collect(),
        })
    }

    /// What was used up says of itself only that too little is left.
    async fn unless_used(&self, why: ChainError, wanted: &Effect) -> ChainError {
        let exceeded = codes::INVALID_EXACT_EVM_ERC7710_ALLOWANCE_EXCEEDED;
        match &why {
            ChainError::Refused(refusal) if refusal.code() == exceeded => {}
            _ => return why,
        }
        match self.nonce_state(wanted).await {
            Ok((Some(true), ..)) => refuse(
                codes::INVALID_EXACT_EVM_ERC7710_ALREADY_USED,
                "sign a new delegation if this one did not pay",
            )
            .into(),
            Ok(_) => why,
            Err(unknown) => unknown,
        }
    }

    /// Holds this payment's part of every allowance of its chain, so that two
    /// payments that are under way together never count the same money.
    async fn reserve(
        &self,
        identity: &Identity,
        permission: &PermissionPayment,
        redeemable: &Redeemable,
        until: u64,
    ) -> Result<(), ChainError> {
        let counted = counted(&permission.chain, redeemable.value);
        let holds: Vec<Hold> = counted
            .iter()
            .map(|one| Hold {
                manager: permission.manager,
                delegation: one.delegation.hash(),
                enforcer: one.terms.enforcer(),
                takes: one.takes,
            })
            .collect();
        let now = self.now().secs();
        let others = self.allowances.take(identity, &holds, until, now)?;
        for (one, others) in counted.iter().zip(others) {
            // Alone it was just seen to fit.
            if others.is_zero() {
                continue;
            }
            let left = self.remaining(permission.manager, one).await;
            let fits = left
                .as_ref()
                .is_ok_and(|left| others.saturating_add(one.takes) <= *left);
            if !fits {
                self.allowances.release(identity);
                left?;
                return Err(refuse(
                    codes::INVALID_EXACT_EVM_ERC7710_ALLOWANCE_EXCEEDED,
                    "wait for the payments that are under way, or ask for a larger permission",
                )
                .into());
            }
        }
        Ok(())
    }

    /// What the chain says that a caveat still lets through.
    async fn remaining(&self, manager: Account, one: &Remaining<'_>) -> Result<U256, ChainError> {
        let hash = one.delegation.hash();
        let enforcer = one.terms.enforcer().address();
        let question = question(manager, hash, &one.terms);
        let [answer] = self.facts([(enforcer, question)]).await?;
        let now = U256::from(self.now().secs());
        answer
            .and_then(|answer| left(&one.terms, &answer, now))
            .ok_or_else(|| {
                ChainError::unavailable("an enforcer does not say what is left of an allowance")
            })
    }
}

/// How an enforcer is asked what was used of a delegation.
fn question(manager: Account, hash: B256, terms: &CaveatTerms) -> Vec<u8> {
    match terms {
        CaveatTerms::LimitedCalls(_) => LimitedCalls::callCountsCall {
            delegationManager: manager,
            delegationHash: hash,
        }
        .abi_encode(),
        CaveatTerms::PeriodTransfer { .. } => PeriodTransfer::getAvailableAmountCall {
            delegationHash: hash,
            delegationManager: manager,
            terms: terms.caveat().map(|c| c.terms).unwrap_or_default(),
        }
        .abi_encode(),
        CaveatTerms::Streaming { .. } => Streaming::streamingAllowancesCall {
            delegationManager: manager,
            delegationHash: hash,
        }
        .abi_encode(),
        _ => TransferAmount::spentMapCall {
            delegationManager: manager,
            delegationHash: hash,
        }
        .abi_encode(),
    }
}

/// What the answer leaves; `None` if it is none.
fn left(terms: &CaveatTerms, answer: &Bytes, now: U256) -> Option<U256> {
    let word = |at: usize| {
        let bytes = answer.get(32 * at..32 * (at + 1))?;
        Some(U256::from_be_slice(bytes))
    };
    match terms {
        CaveatTerms::LimitedCalls(most) | CaveatTerms::TransferAmount { most, .. } => {
            Some(most.saturating_sub(word(0)?))
        }
        CaveatTerms::PeriodTransfer { .. } => word(0),
        CaveatTerms::Streaming {
            initial,
            most,
            per_second,
            start,
            ..
        } => {
            let grown = now.saturating_sub(*start).saturating_mul(*per_second);
            let unlocked = initial.saturating_add(grown).min(*most);
            Some(unlocked.saturating_sub(word(4)?))
        }
        _ => None,
    }
}

fn text_of(account: &Account) -> Value {
    account.to_checksum(None).into()
}

/// The caveats that count, and what a payment takes of them.
fn counted(chain: &[Delegation], value: U256) -> Vec<Remaining<'_>> {
    let takes = |terms: &CaveatTerms| match terms.enforcer() {
        Enforcer::TransferAmount | Enforcer::PeriodTransfer | Enforcer::Streaming => Some(value),
        Enforcer::LimitedCalls => Some(U256::ONE),
        _ => None,
    };
    let mut counted = Vec::new();
    for delegation in chain {
        for terms in delegation.terms().flatten() {
            if let Some(takes) = takes(&terms) {
                counted.push(Remaining {
                    delegation,
                    terms,
                    takes,
                });
            }
        }
    }
    counted
}

/// Until when a payment holds its part of the allowances: as long as it can settle,
/// and for a while where it was only asked about, which costs nobody anything.
fn held_until(phase: Phase, ends: u64, now: u64) -> u64 {
    match phase {
        Phase::Verify => ends.min(now.saturating_add(ASKED_FOR)),
        Phase::Settle => ends,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_only_asks_holds_nothing_for_long() {
        let year = 31_536_000;
        assert_eq!(
            held_until(Phase::Verify, 1_000 + year, 1_000),
            1_000 + ASKED_FOR
        );
        assert_eq!(held_until(Phase::Verify, 1_010, 1_000), 1_010);
        assert_eq!(held_until(Phase::Settle, 1_000 + year, 1_000), 1_000 + year);
    }
}
