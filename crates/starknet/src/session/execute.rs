//! Any calls with a session, not only payments.

use std::time::Duration;

use starknet_crypto::Felt;
use tollway_core::{Address, Amount, Refusal, WalletError, codes};

use super::status::Wanted;
use super::wallet::SessionWallet;
use crate::felt;
use crate::outside::{Call, OutsideExecution};
use crate::payload::SignedExecution;
use crate::refusal::refuse;
use crate::selectors;
use crate::wallet::random_nonce;

/// Most calls of one execution; as our account's class has it.
const MAX_CALLS: usize = 32;
/// Longest time in which an execution may be sent.
const MAX_LIFETIME: Duration = Duration::from_secs(900);

impl SessionWallet {
    /// Signs calls that `caller` may send within a time ([`SignedExecution::call`]
    /// is what it sends): they happen all, or none. Whoever sends them pays the
    /// fee. Each call counts as one of the session's.
    ///
    /// # Errors
    /// As the preflight of a payment, for each call; `session_entrypoint_not_allowed`
    /// for the account itself and what administers it.
    pub async fn execute(
        &self,
        calls: Vec<Call>,
        caller: Felt,
        lifetime: Duration,
    ) -> Result<SignedExecution, WalletError> {
        if calls.is_empty() || calls.len() > MAX_CALLS || lifetime > MAX_LIFETIME {
            return Err(refuse(
                codes::INVALID_PAYLOAD,
                "give 1 to 32 calls and at most 900 seconds",
            )
            .into());
        }
        let mut under_way = self.under_way.lock().await;
        let now = self.clock.now();
        let end = now.plus(lifetime).secs();
        for (index, call) in calls.iter().enumerate() {
            self.check_target(call)?;
            let token = self.address_of(call);
            let status = self.status(token.as_ref()).await?;
            if index == 0 {
                self.forget_counted(&mut under_way, &status).await?;
            }
            let before = under_way.len().saturating_add(index);
            let wanted = wanted(call, end, before)?;
            status.preflight(&wanted, now)?;
        }
        let execution = OutsideExecution {
            caller,
            nonce: random_nonce()?,
            execute_after: 1,
            execute_before: u128::from(end),
            calls,
        };
        let signed = self.session.sign_execution(&self.network, execution)?;
        under_way.insert(
            felt::text(&signed.execution.nonce),
            (signed.execution.nonce, end),
        );
        Ok(signed)
    }

    /// What calls give away of the session's token, or let others take of it: for the
    /// record of spending, which holds the session to that as it does payments.
    ///
    /// # Errors
    /// `session_policy_exceeded` where one takes more than a call may;
    /// `invalid_payload` where that cannot be read.
    pub fn spending(&self, calls: &[Call]) -> Result<Amount, Refusal> {
        let Some(budget) = &self.budget else {
            return Ok(Amount::ZERO);
        };
        let mut sum = Amount::ZERO;
        for call in calls {
            if self.address_of(call).as_ref() != Some(&budget.token) {
                continue;
            }
            let amount = amount_of(call)?;
            if amount > budget.max_per_payment {
                return Err(refuse(
                    codes::SESSION_POLICY_EXCEEDED,
                    "spend less by each call, or create a session with a higher maximum",
                ));
            }
            sum = sum.checked_add(amount).unwrap_or(Amount::MAX);
        }
        Ok(sum)
    }

    fn address_of(&self, call: &Call) -> Option<Address> {
        felt::to_address(&self.network, &call.to)
    }

    fn check_target(&self, call: &Call) -> Result<(), Refusal> {
        let administrative = selectors::ADMINISTRATIVE.contains(&call.selector);
        match call.to == self.session.number() || administrative {
            true => Err(refuse(
                codes::SESSION_ENTRYPOINT_NOT_ALLOWED,
                "let the owner's key do what concerns the account itself",
            )),
            false => Ok(()),
        }
    }
}

/// What a call takes of the session's limits.
fn wanted(call: &Call, valid_until: u64, under_way: usize) -> Result<Wanted, Refusal> {
    Ok(Wanted {
        selector: call.selector,
        amount: amount_of(call)?,
        valid_until,
        under_way: u32::try_from(under_way).unwrap_or(u32::MAX),
    })
}

/// What a call gives away of the token that it is to.
fn amount_of(call: &Call) -> Result<Amount, Refusal> {
    let amount = match (
        selectors::SPENDING.contains(&call.selector),
        call.calldata.as_slice(),
    ) {
        (false, _) => Some(Amount::ZERO),
        (true, [_, low, high]) => felt::join(low, high),
        (true, _) => None,
    };
    amount.ok_or_else(|| {
        refuse(
            codes::INVALID_PAYLOAD,
            "give recipient, low and high of the amount",
        )
    })
}
