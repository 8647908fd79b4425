//! The rules of permissions, as far as they can be told without the chain: the
//! manager, the chain of delegations, and every caveat of it.
//!
//! An enforcer is a contract that our transaction calls with our gas, so only those
//! of the published framework are called. What they would refuse is refused here
//! first, with a reason.

use alloy_primitives::{Address as Account, Bytes, U256};
use alloy_sol_types::SolCall;
use tollway_core::{Intent, Phase, Refusal, codes};

use super::require_amount;
use crate::SigningKey;
use crate::abi::Allowances;
use crate::chain::{EvmChain, account};
use crate::delegation::{CaveatError, CaveatTerms, Delegation, is_linked, transfer_execution};
use crate::methods::ERC7710;
use crate::methods::erc7710::PermissionPayment;
use crate::refusal::refuse;
use crate::token::Token;

/// A permission that keeps the rules.
pub(in crate::chain) struct Redeemable {
    /// The settling account that redeems it: it alone was looked at.
    pub redeemer: Account,
    pub value: U256,
    /// The manager's call.
    pub call: Bytes,
    /// When the redemption can no longer happen, Unix seconds.
    pub ends: u64,
}

/// What is asked of a permission.
struct Asked {
    asset: Account,
    value: U256,
    /// The transfer's calldata.
    data: Bytes,
}

/// Who may redeem it, and when.
struct Bounds {
    redeemers: Vec<Account>,
    says_who: bool,
    /// The first second.
    begins: u128,
}

impl EvmChain {
    pub(in crate::chain) fn check_delegations(
        &self,
        intent: &Intent,
        permission: &PermissionPayment,
        token: &Token,
        phase: Phase,
    ) -> Result<Redeemable, Refusal> {
        let payee = account(&intent.terms.pay_to).unwrap_or_default();
        let value = intent.terms.amount.as_u256();
        self.check_manager(permission, token)?;
        self.check_delegator(permission, payee, token)?;
        if !is_linked(&permission.chain) {
            return Err(refuse(
                codes::INVALID_EXACT_EVM_ERC7710_AUTHORITY,
                "present the whole chain, leaf first",
            ));
        }
        // Whoever sees an open link can spend by it, here too: a leaf only pays.
        if permission.chain.iter().skip(1).any(Delegation::is_open) {
            return Err(refuse(
                codes::INVALID_EXACT_EVM_ERC7710_OPEN,
                "ask for a permission for one account, and pay from that",
            ));
        }
        if permission
            .chain
            .iter()
            .any(|link| link.signature.is_empty())
        {
            return Err(refuse(
                codes::INVALID_EXACT_EVM_ERC7710_SIGNATURE,
                "sign every delegation",
            ));
        }
        require_amount(value)?;
        let asked = Asked {
            asset: token.address,
            value,
            data: transfer_execution(token.address, payee, value).data,
        };
        let bounds = self.check_caveats(permission, &asked)?;
        let ends = permission.ends()?;
        let window = (U256::from(bounds.begins), U256::from(ends));
        self.check_window(window, &intent.terms, phase, &ERC7710)?;
        Ok(Redeemable {
            redeemer: self.redeemer_of(permission, &bounds)?,
            value,
            call: permission.redemption(token.address, payee, value),
            ends,
        })
    }

    /// Only a manager that the operator named, and never a contract that does
    /// something else with our calls.
    fn check_manager(&self, permission: &PermissionPayment, token: &Token) -> Result<(), Refusal> {
        let manager = permission.manager;
        let mut odd = vec![token.address, Account::ZERO];
        odd.extend(self.contracts.named().map(|(_, address)| address));
        let ours = self.signers.iter().any(|s| s.address() == manager);
        match self.managers.contains(&manager) && !odd.contains(&manager) && !ours {
            true => Ok(()),
            false => Err(refuse(
                codes::INVALID_EXACT_EVM_ERC7710_MANAGER_NOT_ALLOWED,
                "pay through the published DelegationManager",
            )),
        }
    }

    fn check_delegator(
        &self,
        permission: &PermissionPayment,
        payee: Account,
        token: &Token,
    ) -> Result<(), Refusal> {
        let payer = permission.delegator;
        let root = permission.chain.last().map(|root| root.delegator);
        if root != Some(payer) {
            return Err(refuse(
                codes::INVALID_EXACT_EVM_ERC7710_DELEGATOR_MISMATCH,
                "state the delegator of the chain's root",
            ));
        }
        let odd = [payee, token.address, permission.manager, Account::ZERO];
        let ours = self.signers.iter().any(|s| s.address() == payer);
        match odd.contains(&payer) || ours {
            true => Err(refuse(
                codes::INVALID_EXACT_EVM_ERC7710_DELEGATOR,
                "pay from an account of the buyer's own",
            )),
            false => Ok(()),
        }
    }

    fn check_caveats(
        &self,
        permission: &PermissionPayment,
        asked: &Asked,
    ) -> Result<Bounds, Refusal> {
        let mut bounds = Bounds {
            redeemers: self.signers.iter().map(SigningKey::address).collect(),
            says_who: false,
            begins: 0,
        };
        let caveats = permission.chain.iter().flat_map(|link| &link.caveats);
        for caveat in caveats {
            let terms = CaveatTerms::decode(caveat.enforcer, &caveat.terms).map_err(unread)?;
            check_caveat(&terms, asked, &mut bounds)?;
        }
        Ok(bounds)
    }

    /// The account that redeems it: the preferred one, where it may.
    fn redeemer_of(
        &self,
        permission: &PermissionPayment,
        bounds: &Bounds,
    ) -> Result<Account, Refusal> {
        let leaf = permission.chain.first();
        let is_open = leaf.is_some_and(Delegation::is_open);
        if is_open && !bounds.says_who {
            return Err(refuse(
                codes::INVALID_EXACT_EVM_ERC7710_OPEN,
                "name the facilitator's accounts in a redeemer caveat",
            ));
        }
        let may = |account: &Account| {
            bounds.redeemers.contains(account)
                && (is_open || leaf.is_some_and(|leaf| leaf.delegate == *account))
        };
        let preferred = self.preferred().filter(may);
        preferred
            .or_else(|| bounds.redeemers.iter().copied().find(may))
            .ok_or_else(|| {
                refuse(
                    codes::INVALID_EXACT_EVM_ERC7710_REDEEMER,
                    "delegate to one of the facilitatorAddresses that /supported lists",
                )
            })
    }
}

fn unread(error: CaveatError) -> Refusal {
    match error {
        CaveatError::UnknownEnforcer => refuse(
            codes::INVALID_EXACT_EVM_ERC7710_ENFORCER_NOT_ALLOWED,
            "use published caveats only",
        ),
        CaveatError::Malformed => refuse(
            codes::INVALID_EXACT_EVM_ERC7710_CAVEAT,
            "pack the terms as the enforcer reads them",
        ),
    }
}

/// One caveat against the transfer that is asked.
fn check_caveat(terms: &CaveatTerms, asked: &Asked, bounds: &mut Bounds) -> Result<(), Refusal> {
    match terms {
        CaveatTerms::Redeemer(all) => {
            bounds.says_who = true;
            bounds.redeemers.retain(|ours| all.contains(ours));
            Ok(())
        }
        CaveatTerms::TransferAmount { token, most } => check_allowance(asked, *token, *most),
        CaveatTerms::PeriodTransfer {
            token,
            amount,
            start,
            ..
        } => {
            bounds.begins = bounds.begins.max(start.saturating_to());
            check_allowance(asked, *token, *amount)
        }
        CaveatTerms::Streaming {
            token, most, start, ..
        } => {
            bounds.begins = bounds.begins.max(start.saturating_to());
            check_allowance(asked, *token, *most)
        }
        CaveatTerms::Timestamp { after, .. } => {
            let first = match after {
                0 => 0,
                after => after.saturating_add(1),
            };
            bounds.begins = bounds.begins.max(first);
            Ok(())
        }
        CaveatTerms::AllowedCalldata { start, value } => check_part(asked, *start, value),
        CaveatTerms::ExactCalldata(call) if *call != asked.data => Err(call_not_allowed()),
        CaveatTerms::AllowedTargets(all) if !all.contains(&asked.asset) => Err(other_asset()),
        CaveatTerms::AllowedMethods(all) if !all.contains(&Allowances::transferCall::SELECTOR) => {
            Err(call_not_allowed())
        }
        // The chain knows these; the transfer moves none of its own money.
        CaveatTerms::ExactCalldata(_)
        | CaveatTerms::AllowedTargets(_)
        | CaveatTerms::AllowedMethods(_)
        | CaveatTerms::LimitedCalls(_)
        | CaveatTerms::ValueLte(_)
        | CaveatTerms::Nonce(_)
        | CaveatTerms::Id(_) => Ok(()),
    }
}

fn check_allowance(asked: &Asked, token: Account, most: U256) -> Result<(), Refusal> {
    if token != asked.asset {
        return Err(other_asset());
    }
    match asked.value <= most {
        true => Ok(()),
        false => Err(refuse(
            codes::INVALID_EXACT_EVM_ERC7710_AMOUNT_MISMATCH,
            "ask for a permission that covers the price",
        )),
    }
}

/// A part of the calldata, where it says who is paid and how much.
fn check_part(asked: &Asked, start: U256, value: &Bytes) -> Result<(), Refusal> {
    let start = usize::try_from(start).unwrap_or(usize::MAX);
    let end = start.saturating_add(value.len());
    if asked.data.get(start..end) == Some(value.as_ref()) {
        return Ok(());
    }
    Err(match start {
        4..36 => refuse(
            codes::INVALID_EXACT_EVM_ERC7710_RECIPIENT_MISMATCH,
            "delegate a transfer to the payee that is asked for",
        ),
        36..68 => refuse(
            codes::INVALID_EXACT_EVM_ERC7710_AMOUNT_MISMATCH,
            "delegate a transfer of exactly the amount that is asked",
        ),
        _ => call_not_allowed(),
    })
}

fn other_asset() -> Refusal {
    refuse(
        codes::INVALID_EXACT_EVM_ERC7710_ASSET_MISMATCH,
        "delegate a transfer of the asset that is asked for",
    )
}

fn call_not_allowed() -> Refusal {
    refuse(
        codes::INVALID_EXACT_EVM_ERC7710_CALL_NOT_ALLOWED,
        "delegate the asset's `transfer`",
    )
}
