//! Contexts from strangers.

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::{SolValue, sol};
use proptest::collection::vec;
use proptest::prelude::*;
use tollway_evm::delegation::{
    Caveat, CaveatTerms, ContextError, Delegation, Enforcer, MAX_BYTES, MAX_CAVEATS,
    MAX_CONTEXT_BYTES, MAX_LINKS, decode_context, encode_context,
};

sol! {
    struct AbiCaveat {
        address enforcer;
        bytes terms;
        bytes args;
    }

    struct AbiDelegation {
        address delegate;
        address delegator;
        bytes32 authority;
        AbiCaveat[] caveats;
        uint256 salt;
        bytes signature;
    }
}

fn some_bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..100).prop_map(Bytes::from)
}

fn caveat() -> impl Strategy<Value = Caveat> {
    (any::<[u8; 20]>(), some_bytes(), some_bytes()).prop_map(|(enforcer, terms, args)| Caveat {
        enforcer: Address::from(enforcer),
        terms,
        args,
    })
}

fn delegation() -> impl Strategy<Value = Delegation> {
    let caveats = vec(caveat(), 0..6);
    let parts = (
        any::<[u8; 20]>(),
        any::<[u8; 20]>(),
        any::<[u8; 32]>(),
        caveats,
        any::<[u8; 32]>(),
        some_bytes(),
    );
    parts.prop_map(
        |(delegate, delegator, authority, caveats, salt, signature)| Delegation {
            delegate: Address::from(delegate),
            delegator: Address::from(delegator),
            authority: B256::from(authority),
            caveats,
            salt: U256::from_be_bytes(salt),
            signature,
        },
    )
}

fn chain() -> impl Strategy<Value = Vec<Delegation>> {
    vec(delegation(), 1..=MAX_LINKS)
}

proptest! {
    #[test]
    fn what_was_written_is_read_again(chain in chain()) {
        prop_assert_eq!(decode_context(&encode_context(&chain)), Ok(chain));
    }

    /// A context that is read is the one encoding of what was read: nothing of a
    /// payment can be spelled in two ways.
    #[test]
    fn one_chain_has_one_spelling(chain in chain(), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let mut bytes = encode_context(&chain).to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(other) = decode_context(&bytes) {
            let again = encode_context(&other);
            prop_assert_eq!(again.as_ref(), bytes.as_slice());
            prop_assert_ne!(other, chain);
        }
    }

    #[test]
    fn noise_is_refused_and_never_a_panic(noise in vec(any::<u8>(), 0..2000)) {
        prop_assert!(decode_context(&noise).is_err());
    }

    #[test]
    fn a_context_that_ends_too_early_or_goes_on_is_refused(chain in chain(), cut in 1..64_usize) {
        let whole = encode_context(&chain);
        prop_assert!(decode_context(&whole[..whole.len() - cut]).is_err());
        let longer = [whole.as_ref(), &vec![0; cut]].concat();
        prop_assert!(decode_context(&longer).is_err());
    }

    #[test]
    fn what_is_read_is_what_another_decoder_reads(chain in chain()) {
        let others = Vec::<AbiDelegation>::abi_decode(&encode_context(&chain)).unwrap();
        prop_assert_eq!(others.len(), chain.len());
        for (other, ours) in others.iter().zip(&chain) {
            prop_assert_eq!(other.delegate, ours.delegate);
            prop_assert_eq!(other.salt, ours.salt);
            prop_assert_eq!(&other.signature, &ours.signature);
            prop_assert_eq!(other.caveats.len(), ours.caveats.len());
        }
    }

    /// Terms that are read are packed again to the same bytes.
    #[test]
    fn terms_have_one_spelling(place in 0..Enforcer::ALL.len(), noise in vec(any::<u8>(), 0..160)) {
        let enforcer = Enforcer::ALL[place].address();
        if let Ok(terms) = CaveatTerms::decode(enforcer, &noise) {
            let caveat = terms.caveat().unwrap();
            prop_assert_eq!(caveat.enforcer, enforcer);
            prop_assert_eq!(caveat.terms.as_ref(), noise.as_slice());
        }
    }
}

fn plain() -> Delegation {
    Delegation {
        delegate: Address::ZERO,
        delegator: Address::ZERO,
        authority: B256::ZERO,
        caveats: Vec::new(),
        salt: U256::ZERO,
        signature: Bytes::new(),
    }
}

#[test]
fn there_is_a_limit_on_everything_in_a_context() {
    let read = |chain: &[Delegation]| decode_context(&encode_context(chain));
    let links = |count| vec![plain(); count];
    assert!(read(&links(MAX_LINKS)).is_ok());
    assert_eq!(read(&links(MAX_LINKS + 1)), Err(ContextError::Links));
    assert_eq!(read(&[]), Err(ContextError::Links));

    let caveat = || Caveat {
        enforcer: Address::ZERO,
        terms: Bytes::new(),
        args: Bytes::new(),
    };
    let caveats = |count| Delegation {
        caveats: vec![caveat(); count],
        ..plain()
    };
    assert!(read(&[caveats(MAX_CAVEATS)]).is_ok());
    assert_eq!(
        read(&[caveats(MAX_CAVEATS + 1)]),
        Err(ContextError::Caveats)
    );

    let signature = |count| Delegation {
        signature: vec![1; count].into(),
        ..plain()
    };
    assert!(read(&[signature(MAX_BYTES)]).is_ok());
    assert_eq!(read(&[signature(MAX_BYTES + 1)]), Err(ContextError::Bytes));
    assert_eq!(
        decode_context(&vec![0; MAX_CONTEXT_BYTES + 32]),
        Err(ContextError::TooLong)
    );
}

/// Lists whose elements all lie in the same few bytes would grow without end.
#[test]
fn elements_that_share_their_bytes_are_refused() {
    let word = |number: usize| U256::from(number).to_be_bytes::<32>();
    let mut bomb = [word(32), word(2)].concat();
    for _ in 0..2 {
        bomb.extend(word(64));
    }
    bomb.extend(&encode_context(&[plain()])[96..]);
    assert!(Vec::<AbiDelegation>::abi_decode(&bomb).is_ok());
    assert_eq!(decode_context(&bomb), Err(ContextError::Malformed));
}
