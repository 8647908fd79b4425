//! Permit2, the x402 proxies and Multicall3 elsewhere than they are published.

use tollway_evm::{
    Contracts, EXACT_PROXY, EvmConfig, EvmWallet, SignedPermit2, StartError, UPTO_PROXY,
    permit2_domain,
};

use super::*;
use crate::support::world::{code, verify_all};

/// A chain that has them elsewhere, and none where they are published.
struct Elsewhere {
    world: World,
    contracts: Contracts,
    chain: EvmChain,
}

impl Elsewhere {
    async fn new() -> Self {
        let world = World::new().await;
        let there = world.devnet.displace_contracts().unwrap();
        let contracts = Contracts {
            permit2: there.permit2,
            exact_proxy: there.exact_proxy,
            upto_proxy: there.upto_proxy,
            multicall3: there.multicall3,
        };
        let chain = EvmChain::connect(config(&world, contracts)).await.unwrap();
        let this = Self {
            world,
            contracts,
            chain,
        };
        this.approve(&key(0));
        this
    }

    fn approve(&self, signer: &EvmSigner) {
        let call = Erc20::approveCall {
            spender: self.contracts.permit2,
            amount: U256::MAX,
        };
        let dollar = self.world.devnet.dollar().address;
        transact(&self.world, signer, dollar, call.abi_encode());
    }

    fn wallet(&self, signer: EvmSigner) -> EvmWallet {
        let network = self.world.network.clone();
        self.world
            .wallet(signer)
            .with_contracts(network, self.contracts)
    }

    async fn paid(&self, signer: EvmSigner, terms: &Terms) -> Intent {
        let prepared = self.wallet(signer).prepare(terms, &limits()).await.unwrap();
        let payment = present(terms, prepared.payload, prepared.extensions);
        let intent = inspect(&self.chain, terms, &payment).unwrap();
        assert_eq!(intent.identity, prepared.identity);
        intent
    }
}

fn config(world: &World, contracts: Contracts) -> EvmConfig {
    let mut config = world.config(world.rpc.clone());
    config.contracts = contracts;
    config
}

#[tokio::test]
async fn permits_settle_where_a_network_has_its_permit2_and_proxies() {
    let there = Elsewhere::new().await;
    let intent = there.paid(key(0), &exact(&there.world, "permit2")).await;
    let scope = format!("{:#x}", there.contracts.permit2);
    assert_eq!(intent.identity.scope, scope);
    let settled = settles(&there.world, &there.chain, &intent, PRICE).await;
    assert_eq!(
        lookup(&there.chain, &intent).await,
        Lookup::Settled(settled)
    );
    let again = verify(&there.chain, &intent, Phase::Verify).await;
    assert_eq!(code(&again), "permit2_invalid_nonce");

    let named = json!({"facilitatorAddress": key(2).address().to_checksum(None)});
    let metered = offer(&there.world, "upto", &named);
    let intent = there.paid(key(0), &metered).await;
    settles(&there.world, &there.chain, &intent, 1_234).await;
}

#[tokio::test]
async fn payments_share_a_transaction_through_the_networks_own_multicall() {
    let there = Elsewhere::new().await;
    let terms = exact(&there.world, "permit2");
    let mut intents = Vec::new();
    for _ in 0..2 {
        let signer = there.world.payer(PRICE);
        there.approve(&signer);
        intents.push(there.paid(signer, &terms).await);
    }
    let verified = verify_all(&there.chain, &intents).await;
    assert!(verified.iter().all(Result::is_ok), "{verified:?}");
    let before = there.world.payee_has();
    let (plan, _) = there.world.send_together(&there.chain, &intents).await;
    assert_eq!(plan.payments.len(), 2);
    assert_eq!(there.world.payee_has() - before, U256::from(2 * PRICE));
    for intent in &intents {
        assert!(matches!(
            lookup(&there.chain, intent).await,
            Lookup::Settled(_)
        ));
    }
}

/// Whoever signs for the published contracts is not paid for by others, and the
/// other way round.
#[tokio::test]
async fn a_permit_is_good_for_the_contracts_that_it_was_signed_for_and_no_others() {
    let there = Elsewhere::new().await;
    let terms = exact(&there.world, "permit2");
    let blind = EvmWallet::new(key(0)).with_clock(there.world.clock.clone());
    let published = blind.prepare(&terms, &limits()).await.unwrap();
    let payment = present(&terms, published.payload, None);
    let intent = inspect(&there.chain, &terms, &payment).unwrap();
    let refused = verify(&there.chain, &intent, Phase::Verify).await;
    assert_eq!(code(&refused), "invalid_permit2_spender");

    // The right spender, under the published Permit2's domain.
    let half = Contracts {
        permit2: PERMIT2,
        ..there.contracts
    };
    let network = there.world.network.clone();
    let half = blind.with_contracts(network, half);
    let forged = half.prepare(&terms, &limits()).await.unwrap();
    let forged = present(&terms, forged.payload, None);
    let forged = inspect(&there.chain, &terms, &forged).unwrap();
    let refused = verify(&there.chain, &forged, Phase::Verify).await;
    assert_eq!(code(&refused), "invalid_permit2_signature");
}

#[tokio::test]
async fn a_contract_that_is_not_where_it_was_said_to_be_stops_the_start() {
    let world = World::new().await;
    for name in ["permit2", "exact-proxy", "upto-proxy", "multicall3"] {
        let nowhere = Account::repeat_byte(0x55);
        let mut contracts = Contracts::default();
        assert!(contracts.place(name, nowhere));
        let error = EvmChain::connect(config(&world, contracts))
            .await
            .unwrap_err();
        assert!(
            matches!(error, StartError::ContractMissing { .. }),
            "{error}"
        );
        let told = error.to_string();
        assert!(
            told.contains(name) && told.contains(&nowhere.to_checksum(None)),
            "{told}"
        );
    }
    for odd in [Account::ZERO, EXACT_PROXY] {
        let contracts = Contracts {
            permit2: odd,
            ..Contracts::default()
        };
        let error = EvmChain::new(config(&world, contracts)).unwrap_err();
        assert!(matches!(error, StartError::OddContracts(_)), "{error}");
    }
}

/// Whatever terms say: under an attacker's Permit2, or with his contract as spender, a
/// signature would be good for all that the payer holds.
#[tokio::test]
async fn no_server_names_the_contracts_that_a_payer_signs_for() {
    let world = approved().await;
    let his = stranger();
    let words = json!({
        "permit2": his, "permit2Address": his, "permit2_address": his,
        "proxy": his, "exactProxy": his, "uptoProxy": his, "spender": his,
        "verifyingContract": his, "multicall3": his,
        "contracts": {"permit2": his, "exact-proxy": his, "upto-proxy": his},
        "facilitatorAddress": key(2).address().to_checksum(None),
    });
    let domain = permit2_domain(world.devnet.chain_id(), PERMIT2);
    for scheme in ["exact", "upto"] {
        let mut extra = words.clone();
        extra["assetTransferMethod"] = "permit2".into();
        let terms = offer(&world, scheme, &extra);
        let prepared = prepare(&world, &terms).await.unwrap();
        assert_eq!(prepared.identity.scope, format!("{PERMIT2:#x}"));
        let signed = SignedPermit2::parse(&prepared.payload, scheme == "upto").unwrap();
        let proxies = [EXACT_PROXY, UPTO_PROXY];
        assert!(proxies.contains(&signed.permit.spender), "{scheme}");
        let signature = Signature::try_from(signed.signature.as_ref()).unwrap();
        let digest = signed.permit.digest(&domain);
        let signer = signature.recover_address_from_prehash(&digest).unwrap();
        assert_eq!(signer, key(0).address(), "{scheme}");
    }
}

/// The same for the allowance that a server offers to sponsor.
#[tokio::test]
async fn no_server_names_whom_a_payer_lets_move_its_money() {
    use alloy_consensus::Transaction;
    use alloy_eips::eip2718::Decodable2718;

    let world = World::new().await;
    let terms = exact(&world, "permit2");
    let declared = json!({"info": {"spender": stranger(), "version": "1"}, "schema": {}});
    let dollar = world.devnet.dollar();
    for key_of_extension in ["eip2612GasSponsoring", "erc20ApprovalGasSponsoring"] {
        let extensions = json!({ key_of_extension: declared });
        let extensions = extensions.as_object();
        let prepared = prepare_as(&world, key(0), &terms, extensions)
            .await
            .unwrap();
        let info = &prepared.extensions.unwrap()[key_of_extension]["info"];
        if let Some(raw) = info["signedTransaction"].as_str() {
            let raw: Bytes = raw.parse().unwrap();
            let sent = TxEnvelope::decode_2718(&mut raw.as_ref()).unwrap();
            let call = Erc20::approveCall::abi_decode(sent.input()).unwrap();
            assert_eq!(call.spender, PERMIT2);
            continue;
        }
        let permit = tollway_evm::typed_data::Permit {
            owner: key(0).address(),
            spender: PERMIT2,
            value: info["amount"].as_str().unwrap().parse().unwrap(),
            nonce: info["nonce"].as_str().unwrap().parse().unwrap(),
            deadline: info["deadline"].as_str().unwrap().parse().unwrap(),
        };
        let domain = tollway_evm::typed_data::Domain::new(
            &dollar.name,
            "2",
            world.devnet.chain_id(),
            dollar.address,
        );
        let signature: Bytes = info["signature"].as_str().unwrap().parse().unwrap();
        let signature = Signature::try_from(signature.as_ref()).unwrap();
        let signer = signature.recover_address_from_prehash(&permit.digest(&domain));
        assert_eq!(signer.unwrap(), key(0).address());
    }
}
