//! Entries of `accepts`: making them from prices, and telling whether one that
//! came back is one that was offered.

use serde_json::Value;

use crate::assets::{AssetTable, Method};
use crate::compare::{contains, same_account};
use crate::money::{MoneyError, Price};
use crate::wire::{Object, PaymentRequirements};
use crate::{Family, Network, PaymentFlow, Scheme};

/// Keys of `extra` that change what a payment is; a buyer may not add them.
const RESERVED: &[&str] = &["assetTransferMethod", "paymentFlow", "proofProfile"];
/// Keys of `extra` that change from answer to answer.
const DYNAMIC_SVM: &[&str] = &["recentBlockhash", "lastValidBlockHeight"];

/// No list of redeemers is read further.
const MOST_REDEEMERS: usize = 32;

/// How a transaction is shown as proof (`extra.proofProfile`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofProfile {
    /// With a statement that its payer signed: nobody else can show it. The default.
    Signed,
    /// By its hash alone: whoever shows a transfer to the payee first has paid.
    Unsigned,
}

impl PaymentRequirements {
    /// A price as an entry of `accepts`: the asset and amount that it is on the
    /// network, with the asset's EIP-712 name and version in `extra`.
    ///
    /// # Errors
    /// [`MoneyError`] if the price means nothing on the network.
    pub fn priced(
        scheme: Scheme,
        network: &Network,
        price: &Price,
        assets: &AssetTable,
        pay_to: impl Into<String>,
        max_timeout_seconds: u64,
    ) -> Result<Self, MoneyError> {
        let priced = price.resolve(network, assets)?;
        Ok(Self {
            scheme: scheme.as_str().to_owned(),
            network: network.as_str().to_owned(),
            amount: priced.amount.to_string(),
            asset: priced.spelling,
            pay_to: pay_to.into(),
            max_timeout_seconds,
            extra: (!priced.extra.is_empty()).then_some(priced.extra),
        })
    }

    /// The entry with another key in `extra`.
    #[must_use]
    pub fn with_extra(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.extra
            .get_or_insert_with(Object::new)
            .insert(key.to_owned(), value.into());
        self
    }

    /// The entry under a transfer method. EIP-3009 is the default on EVM networks
    /// and is not named.
    #[must_use]
    pub fn with_method(mut self, method: Method) -> Self {
        if method == Method::Eip3009 {
            self.extra
                .as_mut()
                .map(|e| e.shift_remove("assetTransferMethod"));
            return self;
        }
        self.with_extra("assetTransferMethod", method.as_str())
    }

    /// Whom the server lists as redeemers of permissions (ERC-7710), under whichever of
    /// the two names in use; under both, those that stand under both.
    #[must_use]
    pub fn redeemers(&self) -> Vec<&str> {
        let list = |key: &str| -> Option<Vec<&str>> {
            let all = self.extra.as_ref()?.get(key)?.as_array()?;
            let all = all.iter().take(MOST_REDEEMERS);
            Some(all.filter_map(serde_json::Value::as_str).collect())
        };
        match (list("facilitatorAddresses"), list("facilitators")) {
            (Some(mut one), Some(other)) => {
                one.retain(|account| other.iter().any(|o| o.eq_ignore_ascii_case(account)));
                one
            }
            (one, other) => one.or(other).unwrap_or_default(),
        }
    }

    /// The entry under a payment flow. `authorization` is the default and is not named.
    #[must_use]
    pub fn with_flow(mut self, flow: PaymentFlow) -> Self {
        if flow == PaymentFlow::Authorization {
            self.extra.as_mut().map(|e| e.shift_remove("paymentFlow"));
            return self;
        }
        self.with_extra("paymentFlow", flow.as_str())
    }

    /// How a transaction is shown for this entry, if one is: method `txid`.
    #[must_use]
    pub fn proof_profile(&self) -> Option<ProofProfile> {
        if self.extra_str("assetTransferMethod") != Some(Method::Txid.as_str()) {
            return None;
        }
        Some(match self.extra_str("proofProfile") {
            Some("unsigned") => ProofProfile::Unsigned,
            _ => ProofProfile::Signed,
        })
    }

    /// Whether a key of `extra` is there and is neither a text nor `null`.
    pub(crate) fn extra_has_odd(&self, key: &str) -> bool {
        let value = self.extra.as_ref().and_then(|extra| extra.get(key));
        value.is_some_and(|v| !v.is_string() && !v.is_null())
    }

    /// Whether `accepted`, as a buyer sent it back, is this offer (x402 v2 matching).
    #[must_use]
    pub fn is_accepted_by(&self, accepted: &Self) -> bool {
        let account = |ours: &str, theirs: &str| same_account(&self.network, ours, theirs);
        self.scheme == accepted.scheme
            && self.network == accepted.network
            && self.amount == accepted.amount
            && account(&self.asset, &accepted.asset)
            && account(&self.pay_to, &accepted.pay_to)
            && self.max_timeout_seconds == accepted.max_timeout_seconds
            && self.extra_is_kept(accepted.extra.as_ref())
            && RESERVED
                .iter()
                .all(|key| self.reserved(key) == accepted.reserved(key))
    }

    fn extra_is_kept(&self, theirs: Option<&Object>) -> bool {
        let dynamic = match self.network.parse::<Network>() {
            Ok(network) if network.family() == Family::Solana => DYNAMIC_SVM,
            _ => &[],
        };
        self.extra
            .iter()
            .flatten()
            .filter(|(key, _)| !dynamic.contains(&key.as_str()))
            .all(|(key, ours)| {
                theirs
                    .and_then(|theirs| theirs.get(key))
                    .is_some_and(|value| contains(ours, value))
            })
    }

    /// A reserved key, with the default standing for its absence.
    fn reserved(&self, key: &str) -> Option<&str> {
        let defaults = ["default", "eip3009", "authorization", "signed"];
        let value = self.extra.as_ref().and_then(|extra| extra.get(key))?;
        match value.as_str() {
            Some(text) if defaults.contains(&text) => None,
            Some(text) => Some(text),
            None => Some("not a text"),
        }
    }
}
