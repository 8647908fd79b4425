//! An account with one owner and any number of session keys.
//!
//! The owner signs `[r, s]` and may do anything. A session signs
//! `[session key, r, s, valid until]` and may only have calls sent for it by
//! somebody else (SNIP-9): it never sends a transaction of the account itself, since
//! a contract of this version cannot see which fees such a transaction offers.
//!
//! Calls are all or nothing: one that fails undoes the whole execution.

use array::{ArrayTrait, SpanTrait};
use starknet::ContractAddress;
use starknet::account::Call;
use tollway_account::outside::OutsideExecution;
use tollway_account::session::{SessionData, SpendingPolicy};

#[starknet::interface]
trait IAccount<TState> {
    fn __validate__(ref self: TState, calls: Array<Call>) -> felt252;
    fn __execute__(ref self: TState, calls: Array<Call>) -> Array<Span<felt252>>;
    fn __validate_declare__(self: @TState, class_hash: felt252) -> felt252;
    fn __validate_deploy__(
        self: @TState, class_hash: felt252, contract_address_salt: felt252, public_key: felt252
    ) -> felt252;
    fn is_valid_signature(self: @TState, hash: felt252, signature: Array<felt252>) -> felt252;
    fn isValidSignature(self: @TState, hash: felt252, signature: Array<felt252>) -> felt252;
    fn supports_interface(self: @TState, interface_id: felt252) -> bool;
    fn supportsInterface(self: @TState, interfaceId: felt252) -> bool;
    fn get_public_key(self: @TState) -> felt252;
    fn getPublicKey(self: @TState) -> felt252;
}

#[starknet::interface]
trait IOutsideExecution<TState> {
    fn execute_from_outside_v2(
        ref self: TState, outside_execution: OutsideExecution, signature: Array<felt252>
    ) -> Array<Span<felt252>>;
    fn is_valid_outside_execution_nonce(self: @TState, nonce: felt252) -> bool;
    fn get_snip9_version(self: @TState) -> u8;
}

#[starknet::interface]
trait ISessions<TState> {
    fn add_or_update_session_key(
        ref self: TState,
        session_key: felt252,
        valid_until: u64,
        max_calls: u32,
        allowed_entrypoints: Array<felt252>
    );
    fn revoke_session_key(ref self: TState, session_key: felt252);
    fn get_session_data(self: @TState, session_key: felt252) -> SessionData;
    fn get_session_allowed_entrypoints_len(self: @TState, session_key: felt252) -> u32;
    fn get_session_allowed_entrypoint_at(
        self: @TState, session_key: felt252, index: u32
    ) -> felt252;
    fn compute_session_message_hash(
        self: @TState, calls: Array<Call>, valid_until: u64
    ) -> felt252;
    fn set_spending_policy(
        ref self: TState,
        session_key: felt252,
        token: ContractAddress,
        max_per_call: u256,
        max_per_window: u256,
        window_seconds: u64
    );
    fn get_spending_policy(
        self: @TState, session_key: felt252, token: ContractAddress
    ) -> SpendingPolicy;
    fn remove_spending_policy(ref self: TState, session_key: felt252, token: ContractAddress);
}

#[starknet::contract]
mod Account {
    use array::{ArrayTrait, SpanTrait};
    use box::BoxTrait;
    use ecdsa::check_ecdsa_signature;
    use option::OptionTrait;
    use traits::{Into, TryInto};
    use zeroable::Zeroable;
    use starknet::{
        ContractAddress, contract_address_to_felt252, get_block_timestamp, get_caller_address,
        get_contract_address, get_tx_info
    };
    use starknet::account::Call;
    use starknet::syscalls::call_contract_syscall;
    use tollway_account::outside::{ANY_CALLER, OutsideExecution, message_hash};
    use tollway_account::session::{
        SessionData, SpendingPolicy, is_administrative, is_spending, session_message_hash
    };

    /// Interfaces that the account says it has (SRC-5).
    const SRC5: felt252 = 0x3f918d17e5ee77373b56385708f855659a07f75997f365cf87748628532a055;
    const SRC6: felt252 = 0x2ceccef7f994940b3962a6c67e0ba4fcd37df7d131417c604f91e03caecc1cd;
    const SRC9_V2: felt252 = 0x1d1144bb2138366ff28d8e9ab57456b1d332ac42196230c3a602003c89872;
    const SESSION_MANAGER: felt252 =
        0x37ab4f01106526662a612eaa2926df2aa314c4144b964f183805880bbcfa55d;
    /// Most entry points of one session, and most calls of one session's execution.
    const MAX_ENTRYPOINTS: u32 = 32;

    #[storage]
    struct Storage {
        // The name under which others' accounts keep it: tools look there.
        Account_public_key: felt252,
        outside_nonces: LegacyMap::<felt252, bool>,
        session_keys: LegacyMap::<felt252, SessionData>,
        session_entrypoints: LegacyMap::<(felt252, u32), felt252>,
        policies: LegacyMap::<(felt252, ContractAddress), SpendingPolicy>,
        policy_counts: LegacyMap::<felt252, u32>,
    }

    #[event]
    #[derive(Drop, starknet::Event)]
    enum Event {
        SessionKeyAdded: SessionKeyAdded,
        SessionKeyRevoked: SessionKeyRevoked,
        SpendingPolicySet: SpendingPolicySet,
        SpendingPolicyRemoved: SpendingPolicyRemoved,
    }

    #[derive(Drop, starknet::Event)]
    struct SessionKeyAdded {
        #[key]
        session_key: felt252,
        valid_until: u64,
        max_calls: u32,
    }

    #[derive(Drop, starknet::Event)]
    struct SessionKeyRevoked {
        #[key]
        session_key: felt252,
    }

    #[derive(Drop, starknet::Event)]
    struct SpendingPolicySet {
        #[key]
        session_key: felt252,
        #[key]
        token: ContractAddress,
        max_per_call: u256,
        max_per_window: u256,
        window_seconds: u64,
    }

    #[derive(Drop, starknet::Event)]
    struct SpendingPolicyRemoved {
        #[key]
        session_key: felt252,
        #[key]
        token: ContractAddress,
    }

    #[constructor]
    fn constructor(ref self: ContractState, public_key: felt252) {
        assert(public_key != 0, 'Account: no public key');
        self.Account_public_key.write(public_key);
    }

    #[external(v0)]
    impl AccountImpl of super::IAccount<ContractState> {
        fn __validate__(ref self: ContractState, calls: Array<Call>) -> felt252 {
            self.assert_owner_sent()
        }

        fn __execute__(ref self: ContractState, calls: Array<Call>) -> Array<Span<felt252>> {
            // The protocol calls from zero, and nobody else may.
            assert(get_caller_address().is_zero(), 'Account: invalid caller');
            // Old transactions and queries with foreign versions are not for us.
            let version: u256 = get_tx_info().unbox().version.into();
            assert(version.low >= 1, 'Account: invalid tx version');
            execute_calls(calls.span())
        }

        fn __validate_declare__(self: @ContractState, class_hash: felt252) -> felt252 {
            self.assert_owner_sent()
        }

        fn __validate_deploy__(
            self: @ContractState,
            class_hash: felt252,
            contract_address_salt: felt252,
            public_key: felt252
        ) -> felt252 {
            self.assert_owner_sent()
        }

        /// Of a session's signature it sees the key, its time and its calls, but not
        /// what is signed: neither the whitelist nor a policy holds here. So only who
        /// asks from outside the chain is told VALID (a facilitator before it
        /// simulates, by a read-only call, whose caller is zero), and no contract is: a
        /// token's permit or an order book would take it for the owner's consent.
        fn is_valid_signature(
            self: @ContractState, hash: felt252, signature: Array<felt252>
        ) -> felt252 {
            let signature = signature.span();
            let valid = if signature.len() == 2 {
                self.is_owner(hash, *signature.at(0), *signature.at(1))
            } else if signature.len() == 4 && get_caller_address().is_zero() {
                self.is_session(hash, signature)
            } else {
                false
            };
            if valid {
                starknet::VALIDATED
            } else {
                0
            }
        }

        fn isValidSignature(
            self: @ContractState, hash: felt252, signature: Array<felt252>
        ) -> felt252 {
            AccountImpl::is_valid_signature(self, hash, signature)
        }

        fn supports_interface(self: @ContractState, interface_id: felt252) -> bool {
            if interface_id == SRC5 {
                return true;
            }
            if interface_id == SRC6 {
                return true;
            }
            if interface_id == SRC9_V2 {
                return true;
            }
            interface_id == SESSION_MANAGER
        }

        fn supportsInterface(self: @ContractState, interfaceId: felt252) -> bool {
            AccountImpl::supports_interface(self, interfaceId)
        }

        fn get_public_key(self: @ContractState) -> felt252 {
            self.Account_public_key.read()
        }

        fn getPublicKey(self: @ContractState) -> felt252 {
            self.Account_public_key.read()
        }
    }

    #[external(v0)]
    impl OutsideImpl of super::IOutsideExecution<ContractState> {
        fn execute_from_outside_v2(
            ref self: ContractState, outside_execution: OutsideExecution, signature: Array<felt252>
        ) -> Array<Span<felt252>> {
            let expected = outside_execution.caller;
            if contract_address_to_felt252(expected) != ANY_CALLER {
                assert(get_caller_address() == expected, 'SNIP9: invalid caller');
            }
            let now = get_block_timestamp();
            assert(outside_execution.execute_after < now, 'SNIP9: too early');
            assert(now < outside_execution.execute_before, 'SNIP9: too late');
            let nonce = outside_execution.nonce;
            assert(!self.outside_nonces.read(nonce), 'SNIP9: nonce used');
            // Before anything is called, so that nothing comes back in.
            self.outside_nonces.write(nonce, true);

            let hash = message_hash(@outside_execution, get_contract_address());
            let calls = outside_execution.calls.span();
            let signature = signature.span();
            if signature.len() == 2 {
                let valid = self.is_owner(hash, *signature.at(0), *signature.at(1));
                assert(valid, 'Account: invalid signature');
            } else {
                assert(signature.len() == 4, 'Account: signature length');
                self.use_session(hash, calls, signature);
            }
            execute_calls(calls)
        }

        fn is_valid_outside_execution_nonce(self: @ContractState, nonce: felt252) -> bool {
            !self.outside_nonces.read(nonce)
        }

        fn get_snip9_version(self: @ContractState) -> u8 {
            2
        }
    }

    #[external(v0)]
    impl SessionsImpl of super::ISessions<ContractState> {
        fn add_or_update_session_key(
            ref self: ContractState,
            session_key: felt252,
            valid_until: u64,
            max_calls: u32,
            allowed_entrypoints: Array<felt252>
        ) {
            assert_self();
            assert(session_key != 0, 'Session: no key');
            assert(session_key != self.Account_public_key.read(), 'Session: owner key');
            assert(valid_until > get_block_timestamp(), 'Session: already over');
            assert(max_calls > 0, 'Session: no calls');
            let mut entrypoints = allowed_entrypoints.span();
            let count = entrypoints.len();
            assert(count <= MAX_ENTRYPOINTS, 'Session: too many entrypoints');

            let before = self.session_keys.read(session_key).allowed_entrypoints_len;
            let mut index: u32 = 0;
            loop {
                match entrypoints.pop_front() {
                    Option::Some(selector) => {
                        assert(!is_administrative(*selector), 'Session: administrative');
                        self.session_entrypoints.write((session_key, index), *selector);
                        index += 1;
                    },
                    Option::None(()) => {
                        break;
                    },
                };
            };
            // What an earlier registration allowed is not allowed any more.
            loop {
                if index >= before {
                    break;
                }
                self.session_entrypoints.write((session_key, index), 0);
                index += 1;
            };
            let data = SessionData {
                valid_until, max_calls, calls_used: 0, allowed_entrypoints_len: count
            };
            self.session_keys.write(session_key, data);
            self.emit(SessionKeyAdded { session_key, valid_until, max_calls });
        }

        fn revoke_session_key(ref self: ContractState, session_key: felt252) {
            assert_self();
            let mut data = self.session_keys.read(session_key);
            assert(data.valid_until != 0, 'Session: not registered');
            data.valid_until = 0;
            self.session_keys.write(session_key, data);
            self.emit(SessionKeyRevoked { session_key });
        }

        fn get_session_data(self: @ContractState, session_key: felt252) -> SessionData {
            self.session_keys.read(session_key)
        }

        fn get_session_allowed_entrypoints_len(self: @ContractState, session_key: felt252) -> u32 {
            self.session_keys.read(session_key).allowed_entrypoints_len
        }

        fn get_session_allowed_entrypoint_at(
            self: @ContractState, session_key: felt252, index: u32
        ) -> felt252 {
            let count = self.session_keys.read(session_key).allowed_entrypoints_len;
            assert(index < count, 'Session: no such entrypoint');
            self.session_entrypoints.read((session_key, index))
        }

        /// What a session signs for a transaction of the account's own, as published
        /// wallets have it. For who asks only: here the owner alone sends those, since
        /// this hash binds no fee.
        fn compute_session_message_hash(
            self: @ContractState, calls: Array<Call>, valid_until: u64
        ) -> felt252 {
            session_message_hash(calls.span(), get_contract_address(), valid_until)
        }

        fn set_spending_policy(
            ref self: ContractState,
            session_key: felt252,
            token: ContractAddress,
            max_per_call: u256,
            max_per_window: u256,
            window_seconds: u64
        ) {
            assert_self();
            assert(session_key != 0, 'Session: no key');
            assert(!token.is_zero(), 'Policy: no token');
            let nothing = u256 { low: 0, high: 0 };
            assert(max_per_call > nothing, 'Policy: nothing per call');
            assert(max_per_call <= max_per_window, 'Policy: call above window');
            assert(window_seconds > 0, 'Policy: no window');
            let before = self.policies.read((session_key, token));
            if before.max_per_window == nothing {
                let count = self.policy_counts.read(session_key);
                self.policy_counts.write(session_key, count + 1);
            }
            let policy = SpendingPolicy {
                max_per_call,
                max_per_window,
                window_seconds,
                spent_in_window: nothing,
                window_start: get_block_timestamp(),
            };
            self.policies.write((session_key, token), policy);
            let event = SpendingPolicySet {
                session_key, token, max_per_call, max_per_window, window_seconds
            };
            self.emit(event);
        }

        fn get_spending_policy(
            self: @ContractState, session_key: felt252, token: ContractAddress
        ) -> SpendingPolicy {
            self.policies.read((session_key, token))
        }

        fn remove_spending_policy(
            ref self: ContractState, session_key: felt252, token: ContractAddress
        ) {
            assert_self();
            let nothing = u256 { low: 0, high: 0 };
            let before = self.policies.read((session_key, token));
            assert(before.max_per_window != nothing, 'Policy: not set');
            let policy = SpendingPolicy {
                max_per_call: nothing,
                max_per_window: nothing,
                window_seconds: 0,
                spent_in_window: nothing,
                window_start: 0,
            };
            self.policies.write((session_key, token), policy);
            let count = self.policy_counts.read(session_key);
            self.policy_counts.write(session_key, count - 1);
            self.emit(SpendingPolicyRemoved { session_key, token });
        }
    }

    #[generate_trait]
    impl InternalImpl of InternalTrait {
        /// The transaction is signed by the owner; sessions send none.
        fn assert_owner_sent(self: @ContractState) -> felt252 {
            let info = get_tx_info().unbox();
            let signature = info.signature;
            assert(signature.len() == 2, 'Account: owner only');
            let valid = self.is_owner(
                info.transaction_hash, *signature.at(0), *signature.at(1)
            );
            assert(valid, 'Account: invalid signature');
            starknet::VALIDATED
        }

        fn is_owner(self: @ContractState, hash: felt252, r: felt252, s: felt252) -> bool {
            check_ecdsa_signature(hash, self.Account_public_key.read(), r, s)
        }

        /// Existence, times, calls left, and the signature itself.
        fn is_session(self: @ContractState, hash: felt252, signature: Span<felt252>) -> bool {
            let key = *signature.at(0);
            let data = self.session_keys.read(key);
            let signed_until: Option<u64> = (*signature.at(3)).try_into();
            let signed_until = match signed_until {
                Option::Some(until) => until,
                Option::None(()) => 0,
            };
            let now = get_block_timestamp();
            if signed_until < now {
                return false;
            }
            if data.valid_until < now {
                return false;
            }
            if signed_until > data.valid_until {
                return false;
            }
            if data.calls_used >= data.max_calls {
                return false;
            }
            check_ecdsa_signature(hash, key, *signature.at(1), *signature.at(2))
        }

        /// Judges a session's execution and counts it, before anything is called.
        fn use_session(
            ref self: ContractState, hash: felt252, calls: Span<Call>, signature: Span<felt252>
        ) {
            let key = *signature.at(0);
            assert(self.is_session(hash, signature), 'Session: invalid');
            let mut data = self.session_keys.read(key);
            let count = calls.len();
            assert(count > 0, 'Session: nothing to do');
            assert(count <= MAX_ENTRYPOINTS, 'Session: too many calls');
            // Each call counts, so that calls times the limit per call is a cap.
            let used = data.calls_used + count;
            assert(used <= data.max_calls, 'Session: no calls left');

            let own = get_contract_address();
            let mut rest = calls;
            loop {
                match rest.pop_front() {
                    Option::Some(call) => {
                        assert(*call.to != own, 'Session: own account');
                        assert(!is_administrative(*call.selector), 'Session: administrative');
                        let listed = self
                            .is_listed(key, *call.selector, data.allowed_entrypoints_len);
                        assert(listed, 'Session: not allowed');
                        self.spend(key, call);
                    },
                    Option::None(()) => {
                        break;
                    },
                };
            };
            data.calls_used = used;
            self.session_keys.write(key, data);
        }

        /// Whether the session's list has the entry point; an empty list has all.
        fn is_listed(
            self: @ContractState, key: felt252, selector: felt252, count: u32
        ) -> bool {
            if count == 0 {
                return true;
            }
            let mut index = 0;
            loop {
                if index == count {
                    break false;
                }
                if self.session_entrypoints.read((key, index)) == selector {
                    break true;
                }
                index += 1;
            }
        }

        /// Counts what a call gives away against the token's policy. A session
        /// with a policy for some token may spend no other.
        fn spend(ref self: ContractState, key: felt252, call: @Call) {
            if !is_spending(*call.selector) {
                return;
            }
            if self.policy_counts.read(key) == 0 {
                return;
            }
            let token = *call.to;
            let mut policy = self.policies.read((key, token));
            let nothing = u256 { low: 0, high: 0 };
            assert(policy.max_per_window != nothing, 'Policy: other token');
            assert(call.calldata.len() == 3, 'Policy: calldata');
            let low: u128 = (*call.calldata.at(1)).try_into().expect('Policy: amount');
            let high: u128 = (*call.calldata.at(2)).try_into().expect('Policy: amount');
            let amount = u256 { low, high };
            assert(amount <= policy.max_per_call, 'Policy: over call limit');
            let now = get_block_timestamp();
            if now - policy.window_start >= policy.window_seconds {
                policy.window_start = now;
                policy.spent_in_window = nothing;
            }
            // Neither is above the window's limit: the sum is compared without adding.
            let left = policy.max_per_window - policy.spent_in_window;
            assert(amount <= left, 'Policy: over window limit');
            policy.spent_in_window = policy.spent_in_window + amount;
            self.policies.write((key, token), policy);
        }
    }

    fn assert_self() {
        assert(get_caller_address() == get_contract_address(), 'Account: only itself');
    }

    /// All or nothing.
    fn execute_calls(mut calls: Span<Call>) -> Array<Span<felt252>> {
        let mut results = ArrayTrait::new();
        loop {
            match calls.pop_front() {
                Option::Some(call) => {
                    let result = call_contract_syscall(
                        *call.to, *call.selector, call.calldata.span()
                    );
                    results.append(result.unwrap_syscall());
                },
                Option::None(()) => {
                    break;
                },
            };
        };
        results
    }
}
