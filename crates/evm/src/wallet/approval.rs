//! Letting Permit2 move a token: once by a transaction of one's own, or by what a
//! server sponsors.

use alloy_primitives::U256;
use alloy_sol_types::SolCall;
use tollway_core::assets::Method;
use tollway_core::extensions::Envelope;
use tollway_core::wire::Object;
use tollway_core::{Amount, Offered, Raw, Terms, WalletError, codes};

use super::EvmWallet;
use crate::abi::Allowances;
use crate::chain::known_account;
use crate::methods::Way;
use crate::methods::sponsoring::{
    EIP2612_GAS_SPONSORING, ERC20_APPROVAL_GAS_SPONSORING, approval_extension, permit_extension,
};
use crate::refusal::refuse;
use crate::typed_data::{Permit, Permit2Transfer};

/// Gas of an approval, as official clients ask for it.
const APPROVAL_GAS: u64 = 70_000;

impl EvmWallet {
    /// A signed transaction that lets Permit2 move the asset of these terms, for
    /// this and later payments. It is not sent: [`tollway_core::Wallet::broadcast`]
    /// does that.
    ///
    /// # Errors
    /// [`WalletError`] if the asset is not in the table or no node is known.
    pub async fn approval(&self, terms: &Terms) -> Result<Raw, WalletError> {
        self.approval_of(terms, None).await
    }

    /// The same for so much of it in all, in atomic units; `None` for any amount. It
    /// takes the place of what was approved before.
    ///
    /// # Errors
    /// As [`EvmWallet::approval`].
    pub async fn approval_of(
        &self,
        terms: &Terms,
        amount: Option<Amount>,
    ) -> Result<Raw, WalletError> {
        self.asset(terms, Way::Permit2)
            .ok_or_else(super::unknown_asset)?;
        let call = Allowances::approveCall {
            spender: self.contracts(&terms.network).permit2,
            amount: amount.map_or(U256::MAX, Amount::as_u256),
        };
        let asset = known_account(&terms.asset)?;
        self.transact(
            &terms.network,
            asset,
            call.abi_encode().into(),
            APPROVAL_GAS,
        )
        .await
    }

    /// The extension that goes with a permit which Permit2 could not spend yet.
    pub(super) async fn sponsoring(
        &self,
        terms: &Terms,
        permit: &Permit2Transfer,
        offered: Offered<'_>,
    ) -> Result<Option<Object>, WalletError> {
        if !self.nodes.contains_key(&terms.network) {
            return Ok(None);
        }
        let permit2 = self.contracts(&terms.network).permit2;
        let question = Allowances::allowanceCall {
            owner: self.signer.address(),
            spender: permit2,
        };
        let allowed = self.token_says(terms, question.abi_encode()).await?;
        if allowed.is_some_and(|allowed| allowed >= permit.amount) {
            return Ok(None);
        }
        let declared = |key| Envelope::find(offered.extensions, key);
        let permits = self
            .asset(terms, Way::Permit2)
            .is_some_and(|row| row.methods.contains(&Method::Eip2612));
        if let Some(declared) = declared(EIP2612_GAS_SPONSORING).filter(|_| permits) {
            let filled = self.permit_permit2(terms, permit, &declared).await?;
            return Ok(extension(EIP2612_GAS_SPONSORING, &filled));
        }
        let sponsored = declared(ERC20_APPROVAL_GAS_SPONSORING).filter(|_| offered.may_approve);
        if let Some(declared) = sponsored {
            let raw = self.approval(terms).await?;
            let from = self.signer.address();
            let filled = approval_extension(&declared, from, permit.token, permit2, &raw.bytes);
            return Ok(extension(ERC20_APPROVAL_GAS_SPONSORING, &filled));
        }
        Err(refuse(
            codes::PERMIT2_ALLOWANCE_REQUIRED,
            &format!(
                "call approve({permit2}, amount) on {} with this account, once, or choose another way to pay",
                permit.token
            ),
        )
        .into())
    }

    async fn permit_permit2(
        &self,
        terms: &Terms,
        permit: &Permit2Transfer,
        declared: &Envelope,
    ) -> Result<Envelope, WalletError> {
        let domain = self.domain(terms, Way::Eip2612)?;
        let sponsored = Permit {
            owner: self.signer.address(),
            spender: self.contracts(&terms.network).permit2,
            value: permit.amount,
            nonce: self.permit_nonce(terms).await?,
            deadline: permit.deadline,
        };
        let signature = self.signer.sign(sponsored.digest(&domain)).await?;
        Ok(permit_extension(
            declared,
            &sponsored,
            permit.token,
            &signature,
        ))
    }
}

fn extension(key: &str, envelope: &Envelope) -> Option<Object> {
    let value = serde_json::to_value(envelope).ok()?;
    Some([(key.to_owned(), value)].into_iter().collect())
}
