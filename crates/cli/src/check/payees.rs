//! Who is paid: an address that somebody can spend from, spelled without a slip.

use alloy_primitives::Address;
use tollway_core::assets::AssetTable;
use tollway_core::{Family, Network};
use tollway_evm::{CREATE2_DEPLOYER, EXACT_PROXY, MULTICALL3, PERMIT2, UPTO_PROXY};

use super::Report;

/// Addresses from which nobody gets money back, with what they are.
const NOBODY: [(Address, &str); 6] = [
    (Address::ZERO, "the zero address"),
    (PERMIT2, "the contract of Permit2"),
    (EXACT_PROXY, "a payment contract"),
    (UPTO_PROXY, "a payment contract"),
    (MULTICALL3, "the contract Multicall3"),
    (CREATE2_DEPLOYER, "a deployment contract"),
];

/// Looks at who is paid on a network. `signers` pay for gas there.
pub fn look(
    report: &mut Report,
    network: &Network,
    payee: &str,
    assets: &AssetTable,
    signers: &[String],
) {
    match fault(network, payee, assets, signers) {
        Some((message, cure)) => report.red("payee", message, cure),
        None => report.green("payee", format!("{payee} is paid on {network}.")),
    }
}

/// What is wrong with a payee, and its cure.
pub fn fault(
    network: &Network,
    payee: &str,
    assets: &AssetTable,
    signers: &[String],
) -> Option<Fault> {
    let fault = match network.family() {
        Family::Evm => evm(network, payee, signers),
        _ => starknet(network, payee, signers),
    };
    fault.or_else(|| {
        let known = network.address(payee).ok()?;
        let asset = assets.iter().find(|asset| asset.address == known)?;
        Some((
            format!(
                "{payee} is the contract of {} itself: what is paid to it is lost.",
                asset.symbol
            ),
            "Name your own address with pay_to.",
        ))
    })
}

type Fault = (String, &'static str);

fn evm(network: &Network, payee: &str, signers: &[String]) -> Option<Fault> {
    let Ok(address) = payee.parse::<Address>() else {
        return Some((
            format!("{payee} is no address on {network}."),
            "Name one with pay_to: 0x and 40 hex digits.",
        ));
    };
    let digits = payee.trim_start_matches("0x");
    let is_mixed = digits.bytes().any(|b| b.is_ascii_lowercase())
        && digits.bytes().any(|b| b.is_ascii_uppercase());
    if is_mixed && Address::parse_checksummed(payee, None).is_err() {
        return Some((
            format!("{payee} has a wrong checksum: a letter or digit is not what it was."),
            "Copy the address again from your wallet.",
        ));
    }
    if let Some((_, what)) = NOBODY.iter().find(|(nobody, _)| *nobody == address) {
        return Some((
            format!("{payee} is {what}: what is paid to it is lost."),
            "Name your own address with pay_to.",
        ));
    }
    is_signer(payee, signers)
}

fn starknet(network: &Network, payee: &str, signers: &[String]) -> Option<Fault> {
    let Ok(address) = network.address(payee) else {
        return Some((
            format!("{payee} is no address on {network}."),
            "Name one with starknet_pay_to: 0x and up to 64 hex digits.",
        ));
    };
    if address.as_str() == "0x0" {
        return Some((
            format!("{payee} is the zero address: what is paid to it is lost."),
            "Name your own address with starknet_pay_to.",
        ));
    }
    is_signer(address.as_str(), signers)
}

fn is_signer(payee: &str, signers: &[String]) -> Option<Fault> {
    let own = signers
        .iter()
        .any(|signer| signer.eq_ignore_ascii_case(payee));
    own.then(|| {
        (
            format!("{payee} is paid and is also the account that pays for gas, whose key lies on this machine."),
            "Let income go to an address whose key is elsewhere.",
        )
    })
}
