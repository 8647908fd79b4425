//! Accounts and storage, with a journal that can take every change back.
//!
//! One journal serves everything that looks at the past: a snapshot is a
//! position in it, a reorg unwinds it, and a query at an older block reads
//! through the changes made since. There is no trie: nothing proves against a
//! test chain's state root.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;

use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256};
use revm::state::{Account, AccountInfo, Bytecode, EvmState};
use revm::{Database, DatabaseRef};

use crate::error::RpcError;

/// A position in the journal: how many changes were ever recorded before it.
pub(crate) type Mark = u64;

/// How many recent block hashes the BLOCKHASH opcode can see.
const BLOCK_HASHES: usize = 256;

/// What one change overwrote.
#[derive(Clone, Debug)]
enum Undo {
    Account(Address, Option<AccountInfo>),
    Slot(Address, U256, U256),
}

/// The current state of the chain and the way back.
#[derive(Debug, Default)]
pub(crate) struct World {
    accounts: HashMap<Address, AccountInfo>,
    slots: HashMap<(Address, U256), U256>,
    journal: VecDeque<Undo>,
    /// The mark of the journal's oldest remaining entry.
    journal_start: Mark,
    hashes: HashMap<u64, B256>,
}

impl World {
    /// The account as it is now; absent accounts are `None`.
    pub(crate) fn account(&self, address: Address) -> Option<&AccountInfo> {
        self.accounts.get(&address)
    }

    /// The transaction count of `address`.
    pub(crate) fn nonce(&self, address: Address) -> u64 {
        self.account(address).map_or(0, |info| info.nonce)
    }

    /// The balance of `address` in wei.
    pub(crate) fn balance(&self, address: Address) -> U256 {
        self.account(address)
            .map_or(U256::ZERO, |info| info.balance)
    }

    /// Changes one account through `edit`, creating it if absent.
    pub(crate) fn edit(&mut self, address: Address, edit: impl FnOnce(&mut AccountInfo)) {
        let mut info = self.accounts.get(&address).cloned().unwrap_or_default();
        edit(&mut info);
        self.put_account(address, Some(info));
    }

    /// Places runtime code at `address`, keeping balance, nonce and storage.
    pub(crate) fn set_code(&mut self, address: Address, code: Bytes) -> Result<(), RpcError> {
        let code = bytecode(code)?;
        self.edit(address, |info| {
            info.code_hash = if code.is_empty() {
                KECCAK256_EMPTY
            } else {
                code.hash_slow()
            };
            info.code = Some(code);
        });
        Ok(())
    }

    /// Sets one storage slot.
    pub(crate) fn set_slot(&mut self, address: Address, slot: U256, value: U256) {
        let key = (address, slot);
        let old = if value.is_zero() {
            self.slots.remove(&key)
        } else {
            self.slots.insert(key, value)
        };
        let old = old.unwrap_or_default();
        if old != value {
            self.journal.push_back(Undo::Slot(address, slot, old));
        }
    }

    fn put_account(&mut self, address: Address, info: Option<AccountInfo>) {
        let old = match info {
            Some(info) => self.accounts.insert(address, info),
            None => self.accounts.remove(&address),
        };
        self.journal.push_back(Undo::Account(address, old));
    }

    /// Writes what an execution changed.
    pub(crate) fn commit(&mut self, changes: EvmState) {
        for (address, account) in changes {
            if account.is_touched() {
                self.commit_account(address, account);
            }
        }
    }

    fn commit_account(&mut self, address: Address, account: Account) {
        // Since EIP-6780 only an account made in the same transaction can
        // disappear, so its storage was never written here.
        if account.is_selfdestructed() || account.is_empty() {
            if self.accounts.contains_key(&address) {
                self.put_account(address, None);
            }
            return;
        }
        let same = self
            .accounts
            .get(&address)
            .is_some_and(|old| *old == account.info);
        if !same {
            self.put_account(address, Some(account.info));
        }
        for (slot, value) in account.storage {
            if value.is_changed() {
                self.set_slot(address, slot, value.present_value());
            }
        }
    }

    /// Where the journal stands now.
    pub(crate) fn mark(&self) -> Mark {
        self.journal_start + self.journal.len() as u64
    }

    /// Takes back every change made after `mark`.
    pub(crate) fn unwind(&mut self, mark: Mark) {
        while self.mark() > mark {
            match self.journal.pop_back() {
                Some(Undo::Account(address, Some(info))) => {
                    self.accounts.insert(address, info);
                }
                Some(Undo::Account(address, None)) => {
                    self.accounts.remove(&address);
                }
                Some(Undo::Slot(address, slot, value)) if value.is_zero() => {
                    self.slots.remove(&(address, slot));
                }
                Some(Undo::Slot(address, slot, value)) => {
                    self.slots.insert((address, slot), value);
                }
                None => return,
            }
        }
    }

    /// Whether the state at `mark` can still be read.
    pub(crate) fn remembers(&self, mark: Mark) -> bool {
        mark >= self.journal_start
    }

    /// Forgets how to go back before `mark`.
    pub(crate) fn forget_before(&mut self, mark: Mark) {
        while self.journal_start < mark && self.journal.pop_front().is_some() {
            self.journal_start += 1;
        }
    }

    /// Remembers the hash of a block for BLOCKHASH.
    pub(crate) fn put_block_hash(&mut self, number: u64, hash: B256) {
        self.hashes.insert(number, hash);
        if let Some(old) = number.checked_sub(BLOCK_HASHES as u64 + 1) {
            self.hashes.remove(&old);
        }
    }

    /// The state as it is now, for reading.
    pub(crate) fn now(&self) -> View<'_> {
        View {
            world: self,
            accounts: HashMap::new(),
            slots: HashMap::new(),
        }
    }

    /// The state as it was at `mark`, if still remembered.
    pub(crate) fn at(&self, mark: Mark) -> Option<View<'_>> {
        if !self.remembers(mark) {
            return None;
        }
        let mut view = self.now();
        let skip = usize::try_from(mark - self.journal_start).unwrap_or(usize::MAX);
        // Newest first, so that the oldest change after the mark wins: what it
        // overwrote is the value at the mark.
        for undo in self.journal.iter().skip(skip).rev() {
            match undo {
                Undo::Account(address, info) => {
                    view.accounts.insert(*address, info.clone());
                }
                Undo::Slot(address, slot, value) => {
                    view.slots.insert((*address, *slot), *value);
                }
            }
        }
        Some(view)
    }
}

/// Analysed runtime code; refuses a malformed EIP-7702 designator.
pub(crate) fn bytecode(code: Bytes) -> Result<Bytecode, RpcError> {
    Bytecode::new_raw_checked(code).map_err(|_| {
        RpcError::params("the code is not valid: 0xef01 must begin an EIP-7702 designator")
    })
}

/// A read-only state: the current one seen through the changes since some block.
#[derive(Clone, Debug)]
pub(crate) struct View<'a> {
    world: &'a World,
    accounts: HashMap<Address, Option<AccountInfo>>,
    slots: HashMap<(Address, U256), U256>,
}

impl View<'_> {
    /// The account in this state.
    pub(crate) fn account(&self, address: Address) -> Option<&AccountInfo> {
        match self.accounts.get(&address) {
            Some(past) => past.as_ref(),
            None => self.world.account(address),
        }
    }

    /// The storage slot in this state.
    pub(crate) fn slot(&self, address: Address, slot: U256) -> U256 {
        let key = (address, slot);
        self.slots
            .get(&key)
            .or_else(|| self.world.slots.get(&key))
            .copied()
            .unwrap_or_default()
    }
}

impl DatabaseRef for View<'_> {
    type Error = Infallible;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        Ok(self.account(address).cloned())
    }

    // Every stored account carries its code, so the EVM never asks by hash.
    fn code_by_hash_ref(&self, _: B256) -> Result<Bytecode, Infallible> {
        Ok(Bytecode::default())
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, Infallible> {
        Ok(self.slot(address, slot))
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, Infallible> {
        Ok(self.world.hashes.get(&number).copied().unwrap_or_default())
    }
}

/// The same reads for an EVM that wants `&mut`.
impl Database for View<'_> {
    type Error = Infallible;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        self.basic_ref(address)
    }

    fn code_by_hash(&mut self, hash: B256) -> Result<Bytecode, Infallible> {
        self.code_by_hash_ref(hash)
    }

    fn storage(&mut self, address: Address, slot: U256) -> Result<U256, Infallible> {
        self.storage_ref(address, slot)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, Infallible> {
        self.block_hash_ref(number)
    }
}
