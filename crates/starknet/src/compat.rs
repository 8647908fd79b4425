//! The exchange of the published session SDKs, as far as it can be verified: plain
//! JSON headers in the manner of version 1, for servers that opt in.
//!
//! What such a client sends is one of three things. An outside execution with its
//! signature (`shhh.oeCalldata`) is what the registered scheme settles, and is read
//! into it. A signature over the SDK's own typed data is one that no account executes,
//! and a bare transaction hash (`s` is `session` or `direct`) says neither which
//! request it pays nor who may show it: both are refused with their reason.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use starknet_crypto::Felt;
use tollway_core::wire::{Object, PaymentPayload, PaymentRequired, PaymentRequirements};
use tollway_core::{Network, Refusal, codes};

use crate::felt;
use crate::outside::{Call, OutsideExecution};
use crate::payload::{MAX_SIGNATURE_FELTS, SignedExecution, malformed};
use crate::refusal::refuse;

/// Most felts of an execution's calldata.
const MAX_CALLDATA: usize = 256;
/// Most calls of one.
const MAX_CALLS: usize = 8;
/// Where a transaction's hash stands in place of a signature.
const BARE: [&str; 2] = ["session", "direct"];

/// The one way to pay that such a server names: its header `Payment-Required`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SdkRequirement {
    scheme: &'static str,
    network: String,
    max_amount_required: String,
    resource: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mime_type: Option<String>,
    pay_to: String,
    max_timeout_seconds: u64,
    asset: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra: Option<Object>,
}

impl SdkRequirement {
    /// Of the first offer of the terms that such a client can pay.
    #[must_use]
    pub fn of(terms: &PaymentRequired) -> Option<Self> {
        let offer = payable(terms)?;
        Some(Self {
            scheme: "exact",
            network: name(&offer.network)?.to_owned(),
            max_amount_required: offer.amount.clone(),
            resource: terms.resource.url.clone(),
            description: terms.resource.description.clone(),
            mime_type: terms.resource.mime_type.clone(),
            pay_to: offer.pay_to.clone(),
            max_timeout_seconds: offer.max_timeout_seconds,
            asset: offer.asset.clone(),
            extra: offer.extra.clone(),
        })
    }
}

/// The first offer of scheme `exact` on a Starknet network.
fn payable(terms: &PaymentRequired) -> Option<&PaymentRequirements> {
    let fits =
        |offer: &&PaymentRequirements| offer.scheme == "exact" && name(&offer.network).is_some();
    terms.accepts.iter().find(fits)
}

/// What the SDKs call a network.
fn name(network: &str) -> Option<&'static str> {
    match network {
        "starknet:SN_MAIN" => Some("starknet-mainnet"),
        "starknet:SN_SEPOLIA" => Some("starknet-sepolia"),
        _ => None,
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sent {
    x402_version: u64,
    scheme: String,
    network: String,
    payload: SentPayload,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SentPayload {
    signature: Option<SentSignature>,
    from_address: String,
    to_address: String,
    amount: String,
    asset: String,
    shhh: Option<Shhh>,
}

#[derive(Deserialize)]
struct SentSignature {
    s: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shhh {
    oe_calldata: Vec<String>,
}

/// Reads the header `X-PAYMENT` of such a client into a payment of the registered
/// scheme, against the terms that it was offered. All further rules are the scheme's.
///
/// # Errors
/// `unbound_transaction`, `unusable_signature`, `invalid_payload`, or the code of the
/// term that differs.
pub fn decode(header: &str, terms: &PaymentRequired) -> Result<PaymentPayload, Refusal> {
    let offer = payable(terms).ok_or_else(|| {
        refuse(
            codes::INVALID_NETWORK,
            "this server is not paid on Starknet",
        )
    })?;
    let sent: Sent = serde_json::from_str(header)
        .map_err(|e| malformed("the header is not what the SDK writes").with_detail(e))?;
    check_terms(&sent, offer)?;
    let signed = execution(sent.payload)?;
    let network: Network = offer
        .network
        .parse()
        .map_err(|_| malformed("the network is none"))?;
    let chain_id = felt::chain_id(&network).ok_or_else(|| malformed("the network is none"))?;
    Ok(PaymentPayload {
        x402_version: 2,
        resource: Some(terms.resource.clone()),
        accepted: offer.clone(),
        payload: signed.to_payload(&chain_id),
        extensions: None,
    })
}

fn check_terms(sent: &Sent, offer: &PaymentRequirements) -> Result<(), Refusal> {
    let mismatch = |code| Err(refuse(code, "pay what the server asks for"));
    let differs = |theirs: &str, ours: &str| {
        let same = felt::parse(theirs).ok().zip(felt::parse(ours).ok());
        same.is_none_or(|(theirs, ours)| theirs != ours)
    };
    if sent.x402_version != 1 || sent.scheme != "exact" {
        return mismatch(codes::INVALID_SCHEME);
    }
    if Some(sent.network.as_str()) != name(&offer.network) {
        return mismatch(codes::INVALID_NETWORK);
    }
    let payload = &sent.payload;
    if differs(&payload.to_address, &offer.pay_to) {
        return mismatch(codes::INVALID_EXACT_STARKNET_PAYLOAD_RECIPIENT_MISMATCH);
    }
    if differs(&payload.asset, &offer.asset) {
        return mismatch(codes::INVALID_EXACT_STARKNET_PAYLOAD_ASSET_MISMATCH);
    }
    if payload.amount != offer.amount {
        return mismatch(codes::INVALID_EXACT_STARKNET_PAYLOAD_AMOUNT_MISMATCH);
    }
    Ok(())
}

fn execution(payload: SentPayload) -> Result<SignedExecution, Refusal> {
    let from = felt::parse(&payload.from_address)
        .map_err(|_| malformed("fromAddress is not a field element"))?;
    if let Some(shhh) = payload.shhh {
        return calldata(from, &shhh.oe_calldata);
    }
    let bare = payload
        .signature
        .is_some_and(|signature| BARE.contains(&signature.s.as_str()));
    Err(match bare {
        true => refuse(
            codes::UNBOUND_TRANSACTION,
            "sign an outside execution for this request: a transaction's hash is bound to none, and anybody can show it",
        ),
        false => refuse(
            codes::UNUSABLE_SIGNATURE,
            "sign an outside execution: no account executes the SDK's own typed data",
        ),
    })
}

/// Reads what `execute_from_outside_v2` is called with.
fn calldata(from: Felt, texts: &[String]) -> Result<SignedExecution, Refusal> {
    let bad = || malformed("oeCalldata is not that of execute_from_outside_v2");
    if texts.len() > MAX_CALLDATA {
        return Err(bad());
    }
    let felts = texts.iter().map(|text| felt::parse(text));
    let felts = felts.collect::<Result<Vec<_>, _>>().map_err(|_| bad())?;
    let mut rest = felts.into_iter();
    let mut next = || rest.next().ok_or_else(bad);
    let (caller, nonce) = (next()?, next()?);
    let (after, before) = (next()?, next()?);
    let count = length(&next()?, MAX_CALLS).ok_or_else(bad)?;
    let mut calls = Vec::with_capacity(count);
    for _ in 0..count {
        let (to, selector) = (next()?, next()?);
        let felts = length(&next()?, MAX_CALLDATA).ok_or_else(bad)?;
        let calldata = (0..felts).map(|_| next()).collect::<Result<_, _>>()?;
        calls.push(Call {
            to,
            selector,
            calldata,
        });
    }
    let felts = length(&next()?, MAX_SIGNATURE_FELTS).filter(|n| *n > 0);
    let signature: Vec<Felt> = (0..felts.ok_or_else(bad)?)
        .map(|_| next())
        .collect::<Result<_, _>>()?;
    if rest.next().is_some() {
        return Err(bad());
    }
    Ok(SignedExecution {
        from,
        execution: OutsideExecution {
            caller,
            nonce,
            execute_after: felt::to_u128(&after).ok_or_else(bad)?,
            execute_before: felt::to_u128(&before).ok_or_else(bad)?,
            calls,
        },
        signature,
    })
}

fn length(felt: &Felt, most: usize) -> Option<usize> {
    let length = usize::try_from(felt::to_u64(felt)?).ok()?;
    (length <= most).then_some(length)
}

/// Whether a header is one of such a client: version 1 of the standard is base64.
#[must_use]
pub fn is_plain_json(header: &str) -> bool {
    header.trim_start().starts_with('{')
}

/// The body of such a server's 402.
#[must_use]
pub fn body(error: &str, requirement: &SdkRequirement) -> Value {
    serde_json::json!({ "error": error, "paymentRequirement": requirement })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PAYEE: &str = "0x2dd1b492765c064eac4039e3841aa5f382773b598097a40073bd8b48170ab57";
    const USDC: &str = "0x33068f6539f8e6e6b131e6b2b814e6c34a5224bc66947c47dab9dfee93b35fb";
    const PAYER: &str = "0x3f16efeb2ae57f7d8befb03af08a3a370562dde15149c3506ac2038ffa9be24";

    fn terms() -> PaymentRequired {
        serde_json::from_value(json!({
            "x402Version": 2,
            "resource": {"url": "https://api.example/paid/weather"},
            "accepts": [{
                "scheme": "exact", "network": "starknet:SN_MAIN", "amount": "10000",
                "asset": USDC, "payTo": PAYEE, "maxTimeoutSeconds": 300,
                "extra": {"feePayer": "0x5f2"},
            }],
        }))
        .unwrap()
    }

    fn sent(change: impl FnOnce(&mut Value)) -> String {
        let padded = format!("0x0{}", &PAYEE[2..]);
        let mut sent = json!({
            "x402Version": 1, "scheme": "exact", "network": "starknet-mainnet",
            "payload": {
                "signature": {"r": "0x1", "s": "0x2"}, "fromAddress": PAYER,
                "toAddress": padded, "amount": "10000", "asset": USDC,
                "validUntil": 1_768_312_445, "nonce": "9f1c6a4e-0000-4000-8000-000000000000",
            },
        });
        change(&mut sent);
        sent.to_string()
    }

    fn signed() -> SignedExecution {
        SignedExecution {
            from: felt::parse(PAYER).unwrap(),
            execution: OutsideExecution {
                caller: felt::parse("0x5f2").unwrap(),
                nonce: Felt::from(7_u8),
                execute_after: 1,
                execute_before: 1_768_312_445,
                calls: vec![Call {
                    to: felt::parse(USDC).unwrap(),
                    selector: crate::selectors::TRANSFER,
                    calldata: vec![felt::parse(PAYEE).unwrap(), Felt::from(10_000), Felt::ZERO],
                }],
            },
            signature: vec![Felt::from(3_u8); 9],
        }
    }

    fn with_calldata(calldata: &[Felt]) -> String {
        sent(|sent| {
            sent["payload"]["shhh"] = json!({
                "walletType": "SHHH", "signerKind": "stark", "oeCalldata": felt::texts(calldata),
            });
        })
    }

    fn refused(header: &str) -> String {
        decode(header, &terms()).unwrap_err().code().to_owned()
    }

    #[test]
    fn an_outside_execution_of_the_published_sdk_is_the_registered_schemes() {
        let calldata = signed().execution.calldata(&signed().signature);
        let payment = decode(&with_calldata(&calldata), &terms()).unwrap();
        assert_eq!(payment.accepted, terms().accepts[0]);
        let network: Network = "starknet:SN_MAIN".parse().unwrap();
        let read = SignedExecution::parse(&payment.payload, &felt::chain_id(&network).unwrap());
        assert_eq!(read.unwrap(), signed());
    }

    #[test]
    fn a_bare_transaction_hash_of_the_published_sdk_pays_nothing() {
        for word in BARE {
            let header = sent(|sent| sent["payload"]["signature"]["s"] = word.into());
            assert_eq!(refused(&header), codes::UNBOUND_TRANSACTION);
        }
    }

    #[test]
    fn a_signature_that_no_account_executes_pays_nothing() {
        assert_eq!(refused(&sent(|_| {})), codes::UNUSABLE_SIGNATURE);
    }

    #[test]
    fn what_differs_from_the_terms_or_cannot_be_read_is_refused() {
        for (field, value, code) in [
            (
                "toAddress",
                json!("0x1234"),
                codes::INVALID_EXACT_STARKNET_PAYLOAD_RECIPIENT_MISMATCH,
            ),
            (
                "asset",
                json!("0x1234"),
                codes::INVALID_EXACT_STARKNET_PAYLOAD_ASSET_MISMATCH,
            ),
            (
                "amount",
                json!("9999"),
                codes::INVALID_EXACT_STARKNET_PAYLOAD_AMOUNT_MISMATCH,
            ),
            ("amount", json!(10_000), codes::INVALID_PAYLOAD),
            ("fromAddress", json!("me"), codes::INVALID_PAYLOAD),
        ] {
            let header = sent(|sent| sent["payload"][field] = value);
            assert_eq!(refused(&header), code, "{field}");
        }
        let network = sent(|sent| sent["network"] = "starknet-sepolia".into());
        assert_eq!(refused(&network), codes::INVALID_NETWORK);
        assert_eq!(refused("{"), codes::INVALID_PAYLOAD);
        let whole = signed().execution.calldata(&signed().signature);
        for end in 0..whole.len() {
            assert_eq!(
                refused(&with_calldata(&whole[..end])),
                codes::INVALID_PAYLOAD
            );
        }
        let longer = [&whole[..], &[Felt::ONE]].concat();
        assert_eq!(refused(&with_calldata(&longer)), codes::INVALID_PAYLOAD);
        for place in [4, 7] {
            let mut huge = whole.clone();
            huge[place] = Felt::ZERO - Felt::ONE;
            assert_eq!(refused(&with_calldata(&huge)), codes::INVALID_PAYLOAD);
        }
    }

    #[test]
    fn the_terms_are_told_in_the_published_sdks_words() {
        let told = serde_json::to_value(SdkRequirement::of(&terms()).unwrap()).unwrap();
        assert_eq!(told["network"], "starknet-mainnet");
        assert_eq!(told["maxAmountRequired"], "10000");
        assert_eq!(told["resource"], "https://api.example/paid/weather");
        let mut elsewhere = terms();
        elsewhere.accepts[0].network = "eip155:8453".to_owned();
        assert_eq!(SdkRequirement::of(&elsewhere), None);
    }
}
