//! Which contract is which money: the built-in table, and what the owner adds to it.

use alloy_primitives::Address as EvmAddress;
use tollway_core::assets::{AssetInfo, AssetTable, Method};
use tollway_core::{Family, Network};

use crate::environment::Environment;
use crate::exit::Failure;
use crate::wiring;

/// Most digits after the point that an asset can have.
const MAX_DECIMALS: u8 = 36;
/// Longest name or version of an EIP-712 domain.
const MAX_DOMAIN_BYTES: usize = 64;

/// What is between two assets in the environment.
const BETWEEN: char = ';';

/// The asset table: the built-in one with what `--add-asset` adds, or else what the
/// environment does. One of the same name on the same network takes the other's place,
/// and its rank.
pub fn table(said: &[String], environment: &Environment) -> Result<AssetTable, Failure> {
    let behind = environment.get("TOLLWAY_ADD_ASSET").unwrap_or_default();
    let behind = behind.split(BETWEEN).map(str::trim);
    let behind = behind.filter(|text| !text.is_empty() && said.is_empty());
    let all = said.iter().map(String::as_str).chain(behind);
    let mut own = all.map(asset).collect::<Result<Vec<_>, _>>()?;
    let mut table = AssetTable::empty();
    for built_in in AssetTable::builtin().iter() {
        let same = |asset: &AssetInfo| {
            asset.network == built_in.network && asset.symbol.eq_ignore_ascii_case(&built_in.symbol)
        };
        let replaced = own.iter().position(same);
        table = table.with(replaced.map_or_else(|| built_in.clone(), |at| own.remove(at)));
    }
    Ok(own.into_iter().fold(table, AssetTable::with))
}

/// `SYMBOL=CONTRACT,DECIMALS,NETWORK[,NAME,VERSION[,METHOD…]]`
fn asset(text: &str) -> Result<AssetInfo, Failure> {
    let bad = |why: String| {
        Failure::usage(format!(
            "--add-asset {text}: {why}; write for example EURC=0x60a3…,6,base,EURC,2 or USDC=0x0512…,6,starknet-sepolia."
        ))
    };
    let (symbol, rest) = text.split_once('=').unwrap_or_default();
    let parts: Vec<&str> = rest.split(',').map(str::trim).collect();
    let [contract, decimals, network, domain @ ..] = parts.as_slice() else {
        return Err(bad(
            "it has not the parts name, contract, decimals and network".to_owned(),
        ));
    };
    let symbol = symbol.trim();
    let sound =
        (1..=16).contains(&symbol.len()) && symbol.bytes().all(|b| b.is_ascii_alphanumeric());
    if !sound {
        return Err(bad("a name has 1 to 16 letters and digits".to_owned()));
    }
    let network = wiring::network(network)?;
    let decimals = decimals.parse::<u8>().ok().filter(|d| *d <= MAX_DECIMALS);
    let (name, version, methods) = moved(&network, domain).map_err(&bad)?;
    let address = network.address(contract).map_err(|e| bad(e.to_string()))?;
    let spelling = match contract.parse::<EvmAddress>() {
        Ok(address) if network.family() == Family::Evm => address.to_checksum(None),
        _ => (*contract).to_owned(),
    };
    Ok(AssetInfo {
        address,
        symbol: symbol.to_owned().into(),
        spelling: spelling.into(),
        decimals: decimals.ok_or_else(|| bad("decimals are a number up to 36".to_owned()))?,
        name: name.map(Into::into),
        version: version.map(Into::into),
        verified: false,
        methods: methods.into(),
        network,
    })
}

/// Name and version of its EIP-712 domain, and how it can be moved.
type Moved = (Option<String>, Option<String>, Vec<Method>);

fn moved(network: &Network, parts: &[&str]) -> Result<Moved, String> {
    match (network.family(), parts) {
        (Family::Starknet, []) => Ok((None, None, Vec::new())),
        (Family::Starknet, _) => Err("Starknet's assets have no domain".to_owned()),
        // Whoever signs for it by Permit2 signs nothing of the token's.
        (Family::Evm, []) => Ok((None, None, vec![Method::Permit2])),
        (Family::Evm, [name, version, methods @ ..]) => {
            for text in [name, version] {
                if !(1..=MAX_DOMAIN_BYTES).contains(&text.len()) {
                    return Err("a domain's name and version have 1 to 64 bytes each".to_owned());
                }
            }
            let methods = match methods {
                [] => vec![Method::Eip3009, Method::Permit2],
                named => named.iter().map(|m| method(m)).collect::<Result<_, _>>()?,
            };
            let text = |text: &str| Some(text.to_owned());
            Ok((text(name), text(version), methods))
        }
        (Family::Evm, [_]) => Err("a domain has a name and a version".to_owned()),
        _ => Err(format!("{network} is no network that is paid on")),
    }
}

fn method(text: &str) -> Result<Method, String> {
    let known = [Method::Eip3009, Method::Permit2, Method::Eip2612];
    let found = known.into_iter().find(|method| method.as_str() == text);
    found.ok_or_else(|| format!("`{text}` is none of eip3009, permit2 and eip2612"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    const OWN: &str = "0x1111111111111111111111111111111111111111";

    #[test]
    fn an_assets_parts_are_its_own_and_what_is_missing_is_said() {
        let one = asset(&format!("EUR={OWN},2,eip155:777,Own Euro,3,eip2612")).unwrap();
        assert_eq!((one.decimals, one.name.as_deref()), (2, Some("Own Euro")));
        assert_eq!(one.methods.as_ref(), [Method::Eip2612]);
        let bare = asset(&format!("EUR={OWN},2,eip155:777")).unwrap();
        assert_eq!(bare.methods.as_ref(), [Method::Permit2]);
        for bad in [
            "EUR".to_owned(),
            format!("EUR={OWN}"),
            format!("={OWN},6,base"),
            format!("E UR={OWN},6,base"),
            "EUR=0x11,6,base".to_owned(),
            format!("EUR={OWN},37,base"),
            format!("EUR={OWN},-1,base"),
            format!("EUR={OWN},6,nowhere"),
            format!("EUR={OWN},6,base,Name"),
            format!("EUR={OWN},6,base,,1"),
            format!("EUR={OWN},6,base,Name,1,cash"),
            "USDC=0x1,6,starknet,Name,1".to_owned(),
        ] {
            let told = asset(&bad).map(|_| ()).unwrap_err();
            assert!(matches!(told.exit, Exit::Usage), "{bad}: {}", told.message);
        }
    }

    #[test]
    fn an_asset_of_a_known_name_takes_its_place() {
        let none = Environment::empty();
        let table = table(&[format!("USDC={OWN},6,base,Mine,1")], &none).unwrap();
        let base: Network = "eip155:8453".parse().unwrap();
        assert_eq!(table.default_for(&base).unwrap().address.as_str(), OWN);
    }
}
