//! Would redeeming this permission make exactly the transfer that is asked, and no
//! other? And is that still so with all that is under way?

use alloy_primitives::{Address as Account, B256, Bytes, U256, keccak256};
use alloy_sol_types::SolCall;
use serde_json::Value;
use tollway_core::wire::Object;
use tollway_core::{Amount, ChainError, Identity, Intent, Phase, Verified, codes};

use super::EvmChain;
use super::allowance::Hold;
use super::outcome::effect;
use super::redemption::{Attempt, Tried};
use super::rules::Redeemable;
use crate::abi::delegation::{LimitedCalls, PeriodTransfer, Streaming, TransferAmount};
use crate::delegation::{CaveatTerms, Delegation, Dependency, Enforcer};
use crate::methods::Payment;
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

impl Remaining<'_> {
    /// What the enforcer counts by: the delegation, and for a number that its
    /// delegator may use once, that number, in whatever delegation.
    fn counted_by(&self) -> B256 {
        match self.terms {
            CaveatTerms::Id(number) => {
                let delegator = self.delegation.delegator.into_word();
                keccak256([delegator.0, number.to_be_bytes::<32>()].concat())
            }
            _ => self.delegation.hash(),
        }
    }
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
        let deployment = self.deployment_of(permission).await?;
        let attempt = Attempt {
            manager: permission.manager,
            redeemable: &redeemable,
            wanted: &wanted,
            deployment,
        };
        let mut tried = match self.try_redemption(&attempt).await {
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
        if phase == Phase::Settle && attempt.deployment.is_some() {
            let deployed = Box::pin(self.deploy_delegator(attempt)).await;
            tried = deployed.inspect_err(|_| self.allowances.release(&intent.identity))?;
        }
        let signers = self.account_of(redeemable.redeemer);
        Ok(Verified {
            intent,
            gas: tried.gas,
            signers: signers.into_iter().collect(),
        })
    }

    /// What must be deployed before anything can be paid from the delegator, where
    /// it is not there yet: by a factory that the operator named, and by the account
    /// without rights. Once it is there it does not matter what deploys it.
    async fn deployment_of<'a>(
        &self,
        permission: &'a PermissionPayment,
    ) -> Result<Option<&'a Dependency>, ChainError> {
        let all = permission.dependencies.as_slice();
        if all.is_empty() || !self.code(permission.delegator).await?.is_empty() {
            return Ok(None);
        }
        let [one] = all else {
            return Err(refuse(
                codes::INVALID_EXACT_EVM_ERC7710_DELEGATOR_NOT_DEPLOYED,
                "deploy all accounts but the delegator's first, and name its factory alone",
            )
            .into());
        };
        if !self.helper.allows(&one.factory) {
            return Err(refuse(
                codes::INVALID_EXACT_EVM_ERC7710_FACTORY_NOT_ALLOWED,
                "deploy the account first, then pay from it",
            )
            .into());
        }
        match self.helper.is_there() {
            true => Ok(Some(one)),
            false => Err(refuse(
                codes::INVALID_EXACT_EVM_ERC7710_DELEGATOR_NOT_DEPLOYED,
                "deploy the account first, then pay from it",
            )
            .into()),
        }
    }

    /// Deploys the delegator's account, right before the money moves, and tries the
    /// redemption again as it will be sent.
    async fn deploy_delegator(&self, attempt: Attempt<'_>) -> Result<Tried, ChainError> {
        if let Some(one) = attempt.deployment {
            let payer = attempt.wanted.from;
            self.deploy_wallet(payer, one.factory, &one.factory_data)
                .await?;
        }
        let there = Attempt {
            deployment: None,
            ..attempt
        };
        self.try_redemption(&there).await
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
        let holds = holds_of(permission.manager, &counted);
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

    /// Holds the parts of a payment that was accepted before this process knew it:
    /// its transaction may be on its way, so the chain does not count it yet.
    pub(super) fn hold_again(&self, intent: &Intent) {
        let payment = Payment::parse(&intent.payload.payload, &intent.terms);
        let Ok(Payment::Erc7710(permission)) = payment else {
            return;
        };
        let counted = counted(&permission.chain, intent.expected.amount.as_u256());
        let holds = holds_of(permission.manager, &counted);
        let (ends, now) = (intent.deadline.secs(), self.now().secs());
        if let Err(error) = self.allowances.take(&intent.identity, &holds, ends, now) {
            tracing::warn!(?error, "a payment under way holds nothing of its allowance");
        }
    }

    /// What the chain says that a caveat still lets through.
    async fn remaining(&self, manager: Account, one: &Remaining<'_>) -> Result<U256, ChainError> {
        // It was just seen to be unused.
        if let CaveatTerms::Id(_) = one.terms {
            return Ok(U256::ONE);
        }
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
        Enforcer::LimitedCalls | Enforcer::Id => Some(U256::ONE),
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

fn holds_of(manager: Account, counted: &[Remaining<'_>]) -> Vec<Hold> {
    let hold = |one: &Remaining<'_>| Hold {
        manager,
        delegation: one.counted_by(),
        enforcer: one.terms.enforcer(),
        takes: one.takes,
    };
    counted.iter().map(hold).collect()
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

    /// A number is used up for all that its delegator signed with it.
    #[test]
    fn delegations_that_share_a_number_share_what_is_left_of_it() {
        let signed = |delegator: u8, salt: u64, terms: CaveatTerms| Delegation {
            delegate: Account::ZERO,
            delegator: Account::with_last_byte(delegator),
            authority: B256::repeat_byte(0xff),
            caveats: vec![terms.caveat().unwrap()],
            salt: U256::from(salt),
            signature: Bytes::new(),
        };
        let places = |chain: &[Delegation]| -> Vec<B256> {
            let counted = counted(chain, U256::from(10));
            let holds = holds_of(Account::ZERO, &counted);
            holds.iter().map(|hold| hold.delegation).collect()
        };
        let number = || CaveatTerms::Id(U256::from(7));
        let one = places(&[signed(1, 1, number())]);
        assert_eq!(one.len(), 1);
        assert_eq!(one, places(&[signed(1, 2, number())]));
        assert_ne!(one, places(&[signed(2, 1, number())]));
        assert_ne!(one, places(&[signed(1, 1, CaveatTerms::Id(U256::ONE))]));
        let calls = CaveatTerms::LimitedCalls(U256::ONE);
        assert_ne!(
            places(&[signed(1, 1, calls.clone())]),
            places(&[signed(1, 2, calls)])
        );
    }

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
