//! Payers that are contracts: they decide by their code, and success is the
//! transfer.

use alloy_primitives::{Address as Account, B256, Bytes, U256};
use alloy_sol_types::{SolCall, SolValue, sol};
use tollway_core::{Amount, Chain, Outcome, Phase, SignedWith};
use tollway_devnet::Contract;
use tollway_evm::{EvmChain, SignedPermit2, permit2_domain};

use super::*;
use crate::support::world::{code, look};

sol! {
    interface Factory {
        function deploy(address owner, bytes32 salt) returns (address);
        function predict(address owner, bytes32 salt) returns (address);
    }
    interface Owned {
        function initialize(address owner);
    }
    interface Moody {
        function set(uint8 mood, uint256 bound);
    }
}

const WRAPPER: [u8; 32] = [
    0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92,
    0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92,
];

/// A Permit2 payment of any account, signed by any key, in any wrapper.
async fn permit_of(
    world: &World,
    chain: &EvmChain,
    from: Account,
    signer: &EvmSigner,
    wrap: impl FnOnce(Vec<u8>) -> Vec<u8>,
) -> Intent {
    let terms = exact(world, "permit2");
    let prepared = tollway_core::Wallet::prepare(
        &tollway_evm::EvmWallet::new(signer.clone()).with_clock(world.clock.clone()),
        &terms,
        &limits(),
    )
    .await
    .unwrap();
    let mut signed = SignedPermit2::parse(&prepared.payload, false).unwrap();
    signed.from = from;
    let digest = signed
        .permit
        .digest(&permit2_domain(world.devnet.chain_id(), PERMIT2));
    signed.signature = wrap(signer.sign(digest).to_vec()).into();
    let payment = present(&terms, signed.to_payload(), None);
    inspect(chain, &terms, &payment).unwrap()
}

/// An account that runs this code, with money and an allowance for Permit2.
fn place(world: &World, account: Account, contract: Contract) {
    let dollar = world.devnet.dollar().address;
    world.devnet.mint(account, U256::from(10 * PRICE)).unwrap();
    allow(world, account, dollar);
    world.devnet.set_code(account, contract.runtime()).unwrap();
}

/// Writes the allowance, since a contract cannot be asked to.
fn allow(world: &World, account: Account, dollar: Account) {
    use alloy_primitives::keccak256;
    // balances and allowances are mappings; the one of allowances is found by trying.
    for slot in 0_u64..12 {
        let inner = keccak256((account, U256::from(slot)).abi_encode());
        let place = keccak256((PERMIT2, inner).abi_encode());
        world.devnet.set_storage(dollar, place.into(), U256::MAX);
        let question = Allowance::allowanceCall {
            owner: account,
            spender: PERMIT2,
        };
        let answer = world
            .devnet
            .call(dollar, question.abi_encode().into())
            .unwrap();
        if U256::from_be_slice(&answer) == U256::MAX {
            return;
        }
        world.devnet.set_storage(dollar, place.into(), U256::ZERO);
    }
    panic!("no allowance found");
}

sol! {
    interface Allowance {
        function allowance(address owner, address spender) returns (uint256);
    }
}

#[tokio::test]
async fn a_smart_wallet_pays_by_its_code_and_never_by_a_key_of_the_same_address() {
    let world = World::new().await;
    let (wallet, owner) = (EvmSigner::random().unwrap(), EvmSigner::random().unwrap());
    place(&world, wallet.address(), Contract::SmartWallet);
    let initialize = Owned::initializeCall {
        owner: owner.address(),
    };
    world
        .devnet
        .system_call(wallet.address(), initialize.abi_encode().into())
        .unwrap();
    let good = permit_of(&world, &world.chain, wallet.address(), &owner, |s| s).await;
    settles(&world, &world.chain, &good, PRICE).await;
    // The account's own key, which once was all there was.
    let own = permit_of(&world, &world.chain, wallet.address(), &wallet, |s| s).await;
    assert_eq!(world.refusal(&own).await, "invalid_permit2_signature");
}

#[tokio::test]
async fn a_wallets_payment_that_somebody_settled_is_said_to_be_used_and_not_to_lack_money() {
    let world = World::new().await;
    let (wallet, owner) = (Account::repeat_byte(0x51), EvmSigner::random().unwrap());
    place(&world, wallet, Contract::SmartWallet);
    let initialize = Owned::initializeCall {
        owner: owner.address(),
    };
    world
        .devnet
        .system_call(wallet, initialize.abi_encode().into())
        .unwrap();
    let intent = permit_of(&world, &world.chain, wallet, &owner, |s| s).await;
    // All that it has is promised to others.
    let promised = Amount::from(U256::from(10 * PRICE));
    let ask = || world.chain.verify(intent.clone(), Phase::Settle, promised);
    assert_eq!(code(&ask().await), "permit2_insufficient_balance");
    front_run(&world, &intent).await;
    assert_eq!(code(&ask().await), "permit2_invalid_nonce");
}

#[tokio::test]
async fn an_account_with_a_delegation_pays_by_the_code_that_it_runs() {
    let world = World::new().await;
    let (account, owner) = (EvmSigner::random().unwrap(), EvmSigner::random().unwrap());
    let code_at = Account::repeat_byte(0x77);
    let dollar = world.devnet.dollar().address;
    world
        .devnet
        .mint(account.address(), U256::from(10 * PRICE))
        .unwrap();
    allow(&world, account.address(), dollar);
    let runtime = Contract::SmartWallet.runtime();
    world.devnet.set_code(code_at, runtime).unwrap();
    let designator = [&[0xef, 0x01, 0x00][..], code_at.as_slice()].concat();
    world
        .devnet
        .set_code(account.address(), designator.into())
        .unwrap();
    let initialize = Owned::initializeCall {
        owner: owner.address(),
    };
    world
        .devnet
        .system_call(account.address(), initialize.abi_encode().into())
        .unwrap();
    let good = permit_of(&world, &world.chain, account.address(), &owner, |s| s).await;
    settles(&world, &world.chain, &good, PRICE).await;
    let own = permit_of(&world, &world.chain, account.address(), &account, |s| s).await;
    assert_eq!(world.refusal(&own).await, "invalid_permit2_signature");
}

#[tokio::test]
async fn wallets_whose_answer_depends_on_when_and_who_asks_never_count_as_paid() {
    // Mood and bound: yes only in this block, or only while asked, or only to us.
    let world = World::new().await;
    let now = world.devnet.block_number();
    for (mood, bound) in [(0_u8, 0), (4, now + 2), (2, 0), (6, 1), (3, 5_000_000)] {
        let wallet = EvmSigner::random().unwrap();
        place(&world, wallet.address(), Contract::MoodyWallet);
        let call = Moody::setCall {
            mood,
            bound: U256::from(bound),
        };
        world
            .devnet
            .system_call(wallet.address(), call.abi_encode().into())
            .unwrap();
        let intent = permit_of(&world, &world.chain, wallet.address(), &wallet, |s| s).await;
        let before = world.payee_has();
        match verify(&world.chain, &intent, Phase::Settle).await {
            Err(_) => continue,
            Ok(_) => world.devnet.mine(5).unwrap(),
        };
        let (_, watch) = world.send(&intent).await;
        let outcome = look(&world.chain, &watch).await;
        let moved = world.payee_has() - before;
        assert_eq!(
            matches!(outcome, Outcome::Settled(_)),
            moved == U256::from(PRICE),
            "mood {mood}: {outcome:?}"
        );
    }
}

#[tokio::test]
async fn a_two_faced_wallet_is_asked_with_the_price_that_is_paid() {
    let world = World::new().await;
    for cheat in [Contract::TwoFacedWallet, Contract::GasBurnerWallet] {
        let wallet = EvmSigner::random().unwrap();
        place(&world, wallet.address(), cheat);
        let intent = permit_of(&world, &world.chain, wallet.address(), &wallet, |s| s).await;
        let refused = world.refusal(&intent).await;
        let codes = ["invalid_permit2_signature", "permit2_simulation_failed"];
        assert!(codes.contains(&refused.as_str()), "{cheat:?}: {refused}");
    }
}

/// A factory, and the wallet that it would deploy.
struct Counterfactual {
    factory: Account,
    owner: EvmSigner,
    wallet: Account,
    deployment: Vec<u8>,
}

fn counterfactual(world: &World) -> Counterfactual {
    let factory = Account::repeat_byte(0x49);
    let runtime = Contract::SmartWalletFactory.runtime();
    world.devnet.set_code(factory, runtime).unwrap();
    let owner = EvmSigner::random().unwrap();
    let (salt, address) = (B256::repeat_byte(1), owner.address());
    let predict = Factory::predictCall {
        owner: address,
        salt,
    };
    let answer = world
        .devnet
        .call(factory, predict.abi_encode().into())
        .unwrap();
    let wallet = Account::from_slice(&answer[12..32]);
    world.devnet.mint(wallet, U256::from(10 * PRICE)).unwrap();
    allow(world, wallet, world.devnet.dollar().address);
    let deployment = Factory::deployCall {
        owner: address,
        salt,
    };
    Counterfactual {
        factory,
        owner,
        wallet,
        deployment: deployment.abi_encode(),
    }
}

impl Counterfactual {
    fn wrap(&self, factory: Account, inner: Vec<u8>) -> Vec<u8> {
        let call = Bytes::from(self.deployment.clone());
        let body = (factory, call, Bytes::from(inner)).abi_encode_params();
        [&body[..], &WRAPPER].concat()
    }
}

async fn with_factory(world: &World, factories: Vec<Account>, helper: bool) -> EvmChain {
    let mut config = world.config(world.rpc.clone());
    config.wallet_factories = factories;
    config.helper = helper.then(|| crate::support::world::helper(4, 10_u128.pow(18)));
    EvmChain::connect(config).await.unwrap()
}

#[tokio::test]
async fn a_wallet_that_does_not_exist_yet_is_deployed_by_an_account_without_rights() {
    let world = World::new().await;
    let there = counterfactual(&world);
    let chain = with_factory(&world, vec![there.factory], true).await;
    let wrap = |inner| there.wrap(there.factory, inner);
    let intent = permit_of(&world, &chain, there.wallet, &there.owner, wrap).await;
    verify(&chain, &intent, Phase::Verify).await.unwrap();
    assert!(
        world.devnet.code(there.wallet).is_empty(),
        "verify sends nothing"
    );
    let signer_before = world.devnet.nonce(key(2).address());
    let verified = verify(&chain, &intent, Phase::Settle).await.unwrap();
    assert!(!world.devnet.code(there.wallet).is_empty());
    assert_eq!(world.devnet.nonce(key(2).address()), signer_before);
    assert_eq!(world.devnet.nonce(key(4).address()), 1);
    assert_eq!(verified.signers, chain.signers());
    settles(&world, &chain, &intent, PRICE).await;
}

#[tokio::test]
async fn a_deployed_wallet_may_still_wrap_its_signature_for_eip3009_too() {
    let world = World::new().await;
    let there = counterfactual(&world);
    transact(&world, &key(3), there.factory, there.deployment.clone());
    let wrap = |inner| there.wrap(there.factory, inner);
    let intent = permit_of(&world, &world.chain, there.wallet, &there.owner, wrap).await;
    settles(&world, &world.chain, &intent, PRICE).await;
}

#[tokio::test]
async fn no_factory_is_called_that_the_operator_does_not_name() {
    let world = World::new().await;
    let there = counterfactual(&world);
    let foreign = Account::repeat_byte(0x50);
    // By default none; of two the other; a token as the factory.
    let dollar = world.devnet.dollar().address;
    for (allowed, named) in [
        (vec![], there.factory),
        (vec![foreign], there.factory),
        (vec![there.factory], dollar),
    ] {
        let chain = with_factory(&world, allowed, true).await;
        let wrap = |inner| there.wrap(named, inner);
        let intent = permit_of(&world, &chain, there.wallet, &there.owner, wrap).await;
        for phase in [Phase::Verify, Phase::Settle] {
            assert_eq!(
                code(&verify(&chain, &intent, phase).await),
                "eip6492_factory_not_allowed"
            );
        }
    }
    assert_eq!(world.devnet.nonce(key(4).address()), 0);
    let chain = with_factory(&world, vec![there.factory], false).await;
    let wrap = |inner| there.wrap(there.factory, inner);
    let intent = permit_of(&world, &chain, there.wallet, &there.owner, wrap).await;
    assert_eq!(
        code(&verify(&chain, &intent, Phase::Verify).await),
        "invalid_exact_evm_payload_undeployed_smart_wallet"
    );
}

#[tokio::test]
async fn what_helping_may_cost_is_bounded_and_taken_before_anything_is_sent() {
    let world = World::new().await;
    let there = counterfactual(&world);
    let mut config = world.config(world.rpc.clone());
    config.wallet_factories = vec![there.factory];
    config.helper = Some(crate::support::world::helper(4, 1_000));
    let chain = EvmChain::connect(config).await.unwrap();
    let wrap = |inner| there.wrap(there.factory, inner);
    let intent = permit_of(&world, &chain, there.wallet, &there.owner, wrap).await;
    assert_eq!(
        code(&verify(&chain, &intent, Phase::Settle).await),
        "gas_budget_exhausted"
    );
    assert_eq!(world.devnet.nonce(key(4).address()), 0);
    assert!(world.devnet.code(there.wallet).is_empty());
}

#[tokio::test]
async fn a_forged_signature_deploys_nothing() {
    let world = World::new().await;
    let there = counterfactual(&world);
    let chain = with_factory(&world, vec![there.factory], true).await;
    let forger = EvmSigner::random().unwrap();
    let wrap = |inner| there.wrap(there.factory, inner);
    let intent = permit_of(&world, &chain, there.wallet, &forger, wrap).await;
    assert_eq!(
        code(&verify(&chain, &intent, Phase::Settle).await),
        "permit2_simulation_failed"
    );
    assert!(world.devnet.code(there.wallet).is_empty());
    assert_eq!(world.devnet.nonce(key(4).address()), 0);
}

#[tokio::test]
async fn the_account_that_settles_is_not_the_one_that_helps() {
    let world = World::new().await;
    let mut config = world.config(world.rpc.clone());
    config.helper = Some(crate::support::world::helper(2, 0));
    let error = EvmChain::new(config).unwrap_err();
    assert!(error.to_string().contains("without rights"), "{error}");
}

#[tokio::test]
async fn a_smart_wallet_pays_by_a_permit_of_its_token_too() {
    use tollway_evm::SignedPermit;
    use tollway_evm::typed_data::{Domain, Permit};

    let world = World::new().await;
    let (wallet, owner) = (EvmSigner::random().unwrap(), EvmSigner::random().unwrap());
    place(&world, wallet.address(), Contract::SmartWallet);
    let initialize = Owned::initializeCall {
        owner: owner.address(),
    };
    world
        .devnet
        .system_call(wallet.address(), initialize.abi_encode().into())
        .unwrap();
    let terms = exact(&world, "eip2612");
    let payee = tollway_devnet::DEV_ACCOUNTS[1].address;
    let permit = Permit {
        owner: wallet.address(),
        spender: tollway_evm::settler_address(payee),
        value: U256::from(PRICE),
        nonce: U256::ZERO,
        deadline: U256::from(crate::support::world::NOW + 60),
    };
    let dollar = world.devnet.dollar();
    let domain = Domain::new(&dollar.name, "2", world.devnet.chain_id(), dollar.address);
    let signed = |signer: &EvmSigner| {
        let signature = signer.sign(permit.digest(&domain)).to_vec().into();
        let signed = SignedPermit { permit, signature };
        let payment = present(&terms, signed.to_payload(), None);
        inspect(&world.chain, &terms, &payment).unwrap()
    };
    assert_eq!(
        world.refusal(&signed(&wallet)).await,
        "invalid_exact_evm_eip2612_signature"
    );
    settles(&world, &world.chain, &signed(&owner), PRICE).await;
}

#[tokio::test]
async fn a_contract_is_asked_as_the_account_that_settles_now() {
    let world = World::new().await;
    let (wallet, owner) = (EvmSigner::random().unwrap(), EvmSigner::random().unwrap());
    place(&world, wallet.address(), Contract::SmartWallet);
    let initialize = Owned::initializeCall {
        owner: owner.address(),
    };
    world
        .devnet
        .system_call(wallet.address(), initialize.abi_encode().into())
        .unwrap();
    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let rpc = crate::support::fake_node::behind(&world.devnet, move |method, params| {
        if method == "eth_call" && !params[0]["from"].is_null() {
            let from = params[0]["from"].as_str().unwrap().to_owned();
            seen.lock().unwrap().push(from);
        }
        None
    });
    let mut config = world.config(rpc.await);
    config.signers = vec![key(2).into(), key(4).into()];
    let chain = EvmChain::connect(config).await.unwrap();
    let signers = chain.signers();
    for preferred in [1, 0] {
        chain.prefer(&[signers[preferred].clone()]);
        asked.lock().unwrap().clear();
        let intent = permit_of(&world, &chain, wallet.address(), &owner, |s| s).await;
        let verified = verify(&chain, &intent, Phase::Settle).await.unwrap();
        assert_eq!(verified.signers, [signers[preferred].clone()]);
        let asked = asked.lock().unwrap();
        assert!(!asked.is_empty());
        assert!(asked.iter().all(|from| from == signers[preferred].as_str()));
    }
}

#[tokio::test]
async fn a_message_is_signed_by_the_accounts_key_or_by_its_code_and_by_nobody_else() {
    let world = World::new().await;
    let (wallet, owner) = (EvmSigner::random().unwrap(), EvmSigner::random().unwrap());
    let plain = EvmSigner::random().unwrap();
    let text = "api.example wants you to sign in";
    let signature = |signer: &EvmSigner, text: &str| {
        let digest = tollway_evm::typed_data::message_digest(text);
        Bytes::copy_from_slice(&signer.sign(digest)).to_string()
    };
    let whose = async |account: Account, signature: String| {
        let network = world.chain.network();
        let account = network.address(&account.to_string()).unwrap();
        let signer = world.chain.message_signer(&account, text, &signature);
        signer.await.unwrap()
    };
    let own = signature(&plain, text);
    assert_eq!(
        whose(plain.address(), own.clone()).await,
        Some(SignedWith::Key)
    );
    assert_eq!(whose(owner.address(), own).await, None);
    assert_eq!(
        whose(plain.address(), signature(&plain, "another")).await,
        None
    );
    for garbage in ["", "0x", "0xzz", &format!("0x{}", "00".repeat(9000))] {
        assert_eq!(whose(plain.address(), garbage.to_owned()).await, None);
    }
    place(&world, wallet.address(), Contract::SmartWallet);
    let initialize = Owned::initializeCall {
        owner: owner.address(),
    };
    world
        .devnet
        .system_call(wallet.address(), initialize.abi_encode().into())
        .unwrap();
    let by_owner = signature(&owner, text);
    assert_eq!(
        whose(wallet.address(), by_owner).await,
        Some(SignedWith::Code)
    );
    assert_eq!(whose(wallet.address(), signature(&plain, text)).await, None);
}
