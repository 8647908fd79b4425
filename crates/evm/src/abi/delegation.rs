//! The Delegation Framework 1.3.0: its manager and those of its enforcers that are
//! asked.

use alloy_sol_types::sol;

sol! {
    struct Caveat {
        address enforcer;
        bytes terms;
        bytes args;
    }

    struct Delegation {
        address delegate;
        address delegator;
        bytes32 authority;
        Caveat[] caveats;
        uint256 salt;
        bytes signature;
    }

    /// DelegationManager.
    interface Manager {
        function redeemDelegations(bytes[] permissionContexts, bytes32[] modes, bytes[] executionCallDatas) external;
        function disableDelegation(Delegation delegation) external;

        event RedeemedDelegation(address indexed rootDelegator, address indexed redeemer, Delegation delegation);

        error InvalidDelegate();
        error InvalidDelegator();
        error InvalidAuthority();
        error InvalidEOASignature();
        error InvalidERC1271Signature();
        error EmptySignature();
        error CannotUseADisabledDelegation();
        error BatchDataLengthMismatch();
        error EnforcedPause();
    }

    /// LimitedCallsEnforcer.
    interface LimitedCalls {
        function callCounts(address delegationManager, bytes32 delegationHash) external view returns (uint256);

        event IncreasedCount(address indexed sender, address indexed redeemer, bytes32 indexed delegationHash, uint256 limit, uint256 callCount);
    }

    /// ERC20TransferAmountEnforcer.
    interface TransferAmount {
        function spentMap(address delegationManager, bytes32 delegationHash) external view returns (uint256);

        event IncreasedSpentMap(address indexed sender, address indexed redeemer, bytes32 indexed delegationHash, uint256 limit, uint256 spent);
    }

    /// ERC20PeriodTransferEnforcer.
    interface PeriodTransfer {
        function getAvailableAmount(bytes32 delegationHash, address delegationManager, bytes terms) external view returns (uint256 availableAmount, bool isNewPeriod, uint256 currentPeriod);
    }

    /// ERC20StreamingEnforcer.
    interface Streaming {
        function streamingAllowances(address delegationManager, bytes32 delegationHash) external view returns (uint256 initialAmount, uint256 maxAmount, uint256 amountPerSecond, uint256 startTime, uint256 spent);
    }

    /// NonceEnforcer.
    interface NonceEnforcer {
        function currentNonce(address delegationManager, address delegator) external view returns (uint256);
        function incrementNonce(address delegationManager) external;
    }
}

#[cfg(test)]
mod tests {
    use alloy_sol_types::{SolCall, SolError};

    use super::*;

    #[test]
    fn selectors_are_the_published_ones() {
        let calls = [
            (Manager::redeemDelegationsCall::SELECTOR, 0xcef6_d209_u32),
            (Manager::disableDelegationCall::SELECTOR, 0x4993_4047),
            (NonceEnforcer::currentNonceCall::SELECTOR, 0x2bd4_ed21),
        ];
        let errors = [
            (Manager::InvalidDelegate::SELECTOR, 0xb586_3604),
            (Manager::InvalidDelegator::SELECTOR, 0xb9f0_f171),
            (Manager::InvalidAuthority::SELECTOR, 0xded4_370e),
            (Manager::InvalidEOASignature::SELECTOR, 0x3db6_791c),
            (Manager::InvalidERC1271Signature::SELECTOR, 0x155f_f427),
            (Manager::EmptySignature::SELECTOR, 0xac24_1e11),
            (Manager::CannotUseADisabledDelegation::SELECTOR, 0x05ba_a052),
            (Manager::BatchDataLengthMismatch::SELECTOR, 0x1bca_f69f),
            (Manager::EnforcedPause::SELECTOR, 0xd93c_0665),
        ];
        for (ours, published) in calls.into_iter().chain(errors) {
            assert_eq!(u32::from_be_bytes(ours), published, "{published:08x}");
        }
    }
}
