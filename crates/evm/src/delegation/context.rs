//! Permission contexts: `abi.encode(Delegation[])`, leaf first.
//!
//! The decoder is written out by hand. It takes the one encoding that there is
//! for a chain and no other: what lies elsewhere than it must lie, overlaps, or is
//! padded with anything but zero is refused, so a short text cannot stand for much.

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::SolValue;

use super::{Caveat, Delegation};
use crate::abi::delegation as abi;

/// Most bytes of a context.
pub const MAX_CONTEXT_BYTES: usize = 16 * 1024;
/// Most delegations of a chain.
pub const MAX_LINKS: usize = 5;
/// Most caveats of a delegation.
pub const MAX_CAVEATS: usize = 16;
/// Most bytes of a caveat's terms, of its arguments, and of a signature.
pub const MAX_BYTES: usize = 2048;

/// Why bytes are no context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContextError {
    /// More than [`MAX_CONTEXT_BYTES`].
    #[error("a permission context has at most {MAX_CONTEXT_BYTES} bytes; use a shorter chain")]
    TooLong,
    /// More than [`MAX_LINKS`], or none.
    #[error("a permission context has 1 to {MAX_LINKS} delegations; use another chain")]
    Links,
    /// More than [`MAX_CAVEATS`].
    #[error("a delegation has at most {MAX_CAVEATS} caveats; use fewer")]
    Caveats,
    /// More than [`MAX_BYTES`].
    #[error(
        "terms, arguments and signatures have at most {MAX_BYTES} bytes each; use shorter ones"
    )]
    Bytes,
    /// Not the ABI encoding of a chain.
    #[error("the permission context is not the ABI encoding of delegations; encode it anew")]
    Malformed,
}

/// Writes a chain, leaf first.
#[must_use]
pub fn encode_context(chain: &[Delegation]) -> Bytes {
    let chain: Vec<abi::Delegation> = chain.iter().map(to_abi).collect();
    chain.abi_encode().into()
}

pub(super) fn to_abi(delegation: &Delegation) -> abi::Delegation {
    let caveat = |caveat: &Caveat| abi::Caveat {
        enforcer: caveat.enforcer,
        terms: caveat.terms.clone(),
        args: caveat.args.clone(),
    };
    abi::Delegation {
        delegate: delegation.delegate,
        delegator: delegation.delegator,
        authority: delegation.authority,
        caveats: delegation.caveats.iter().map(caveat).collect(),
        salt: delegation.salt,
        signature: delegation.signature.clone(),
    }
}

/// Reads a chain, leaf first. Nothing of it is believed yet.
///
/// # Errors
/// [`ContextError`].
pub fn decode_context(bytes: &[u8]) -> Result<Vec<Delegation>, ContextError> {
    if bytes.len() > MAX_CONTEXT_BYTES {
        return Err(ContextError::TooLong);
    }
    let mut reader = Reader { bytes, at: 0 };
    reader.expect(32)?;
    let chain = reader.list(MAX_LINKS, ContextError::Links, Reader::delegation)?;
    match reader.at == bytes.len() && !chain.is_empty() {
        true => Ok(chain),
        false if chain.is_empty() => Err(ContextError::Links),
        false => Err(ContextError::Malformed),
    }
}

/// Reads from the front to the back, and never back.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

type Read<T> = Result<T, ContextError>;

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Read<&'a [u8]> {
        let end = self.at.checked_add(count).ok_or(ContextError::Malformed)?;
        let taken = self.bytes.get(self.at..end);
        self.at = end;
        taken.ok_or(ContextError::Malformed)
    }

    fn word(&mut self) -> Read<B256> {
        Ok(B256::from_slice(self.take(32)?))
    }

    fn address(&mut self) -> Read<Address> {
        let word = self.word()?;
        match word.starts_with(&[0; 12]) {
            true => Ok(Address::from_word(word)),
            false => Err(ContextError::Malformed),
        }
    }

    /// A length or an offset.
    fn count(&mut self) -> Read<usize> {
        let number = U256::from_be_bytes(self.word()?.0);
        usize::try_from(number).map_err(|_| ContextError::Malformed)
    }

    fn expect(&mut self, number: usize) -> Read<()> {
        match self.count()? == number {
            true => Ok(()),
            false => Err(ContextError::Malformed),
        }
    }

    /// What was said to begin `offset` bytes after `base` begins here.
    fn reached(&self, base: usize, offset: usize) -> Read<()> {
        match base.checked_add(offset) == Some(self.at) {
            true => Ok(()),
            false => Err(ContextError::Malformed),
        }
    }

    fn list<T>(
        &mut self,
        most: usize,
        too_many: ContextError,
        item: fn(&mut Self) -> Read<T>,
    ) -> Read<Vec<T>> {
        let count = self.count()?;
        if count > most {
            return Err(too_many);
        }
        let base = self.at;
        let offsets: Vec<usize> = (0..count).map(|_| self.count()).collect::<Result<_, _>>()?;
        let mut items = Vec::with_capacity(count);
        for offset in offsets {
            self.reached(base, offset)?;
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn delegation(&mut self) -> Read<Delegation> {
        let base = self.at;
        let (delegate, delegator) = (self.address()?, self.address()?);
        let authority = self.word()?;
        let caveats_at = self.count()?;
        let salt = U256::from_be_bytes(self.word()?.0);
        let signature_at = self.count()?;
        self.reached(base, caveats_at)?;
        let caveats = self.list(MAX_CAVEATS, ContextError::Caveats, Self::caveat)?;
        self.reached(base, signature_at)?;
        Ok(Delegation {
            delegate,
            delegator,
            authority,
            caveats,
            salt,
            signature: self.bytes()?,
        })
    }

    fn caveat(&mut self) -> Read<Caveat> {
        let base = self.at;
        let enforcer = self.address()?;
        let (terms_at, args_at) = (self.count()?, self.count()?);
        self.reached(base, terms_at)?;
        let terms = self.bytes()?;
        self.reached(base, args_at)?;
        Ok(Caveat {
            enforcer,
            terms,
            args: self.bytes()?,
        })
    }

    fn bytes(&mut self) -> Read<Bytes> {
        let count = self.count()?;
        if count > MAX_BYTES {
            return Err(ContextError::Bytes);
        }
        let bytes = self.take(count)?;
        let padding = self.take(count.next_multiple_of(32) - count)?;
        match padding.iter().all(|byte| *byte == 0) {
            true => Ok(Bytes::copy_from_slice(bytes)),
            false => Err(ContextError::Malformed),
        }
    }
}
