//! Gas per payment with the real USDC, each payer paying once.

use std::collections::BTreeMap;

use alloy_primitives::{Address, Bytes, U256, hex, keccak256};
use alloy_sol_types::{SolCall, sol};
use serde_json::{Value, json};
use tollway_devnet::{DEV_ACCOUNTS, Devnet, MULTICALL};
use tollway_evm::SignedAuthorization;

use crate::load::Load;
use crate::node::{Node, Pace};
use crate::payments::{Payers, dollar, shop};
use crate::process::{Server, Spec};
use crate::report::{Bar, Figure, Table};
use crate::{Bench, SETTLE_ALL, usdc};

const ALONE: &str = "gas, real USDC, one payment alone";
const BY_HAND: usize = 100;

sol! {
    function transferWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, uint8 v, bytes32 r, bytes32 s);

    struct Call3 {
        address target;
        bool allowFailure;
        bytes callData;
    }
    struct Result {
        bool success;
        bytes returnData;
    }
    function aggregate3(Call3[] calls) payable returns (Result[] returnData);
}

pub async fn run(bench: &Bench, table: &mut Table) {
    // A lane takes the first few one by one; three hundred leave full batches behind them.
    let payments = bench.options.pick(150, 300);
    let case = format!("gas per payment, real USDC, {payments} at once");
    for spec in bench.facilitators(&SETTLE_ALL) {
        settle(spec, &case, payments, table).await;
    }
    table.bar(
        &format!("{case}, fullest transaction"),
        Bar::ShareOfPeer(0.62),
    );
    by_hand(table).await;
}

async fn settle(spec: &Spec, case: &str, payments: usize, table: &mut Table) {
    let node = Node::start(Pace::BLOCKS).await;
    let mut payers = Payers::distinct(payments + 1);
    usdc::place(&node.devnet, &payers.accounts());
    let server = Server::start(spec, &node.url).await;
    post(&server, spec, payers.bodies(1)).await;
    let first = node.devnet.block_number();
    let alone = Gas::of_blocks(&node.devnet, Counted::Authorizations, 1, first);
    table.add(ALONE, spec.name, Figure::count(alone.per_payment()));
    post(&server, spec, payers.bodies(payments)).await;
    let last = node.devnet.block_number();
    let gas = Gas::of_blocks(&node.devnet, Counted::Authorizations, first + 1, last);
    table.add(case, spec.name, Figure::count(gas.per_payment()));
    let row = format!("{case}: transactions");
    table.add(&row, spec.name, Figure::count(gas.transactions.len()));
    let (used, count) = gas.fullest();
    let row = format!("{case}, fullest transaction");
    table.add(&row, spec.name, Figure::count(used / count.max(1)));
    let row = format!("{case}: payments in the fullest transaction");
    table.add(&row, spec.name, Figure::count(count));
    server.stop().await;
    node.stop().await;
}

async fn post(server: &Server, spec: &Spec, bodies: Vec<Vec<u8>>) {
    let concurrency = bodies.len();
    Load::post(&server.url, "/settle", bodies, concurrency)
        .run(server)
        .await
        .expect_all("success\":true", spec.name);
}

/// What a payment is told by.
#[derive(Clone, Copy)]
pub(super) enum Counted {
    /// The token's `AuthorizationUsed`.
    Authorizations,
    /// The token's `Transfer` to the shop.
    Transfers,
}

impl Counted {
    fn topics(self) -> Value {
        match self {
            Self::Authorizations => json!([keccak256("AuthorizationUsed(address,bytes32)")]),
            Self::Transfers => json!([
                keccak256("Transfer(address,address,uint256)"),
                null,
                shop().into_word()
            ]),
        }
    }
}

/// Gas and payments of each transaction.
pub(super) struct Gas {
    transactions: Vec<(usize, usize)>,
}

impl Gas {
    /// Reads the receipts.
    pub(super) fn of_blocks(devnet: &Devnet, counted: Counted, first: u64, last: u64) -> Self {
        let mut logs: BTreeMap<String, usize> = BTreeMap::new();
        let filter = json!([{
            "fromBlock": format!("{first:#x}"), "toBlock": format!("{last:#x}"),
            "address": dollar(), "topics": counted.topics(),
        }]);
        let found = devnet.request("eth_getLogs", filter).expect("logs");
        for log in found.as_array().expect("logs") {
            let hash = log["transactionHash"].as_str().expect("hash").to_owned();
            *logs.entry(hash).or_default() += 1;
        }
        let transactions = logs
            .into_iter()
            .map(|(hash, payments)| {
                let receipt = devnet.request("eth_getTransactionReceipt", json!([hash]));
                (number(&receipt.expect("receipt")["gasUsed"]), payments)
            })
            .collect();
        Self { transactions }
    }

    pub(super) fn per_payment(&self) -> usize {
        let used: usize = self.transactions.iter().map(|(used, _)| used).sum();
        let payments: usize = self.transactions.iter().map(|(_, count)| count).sum();
        used / payments.max(1)
    }

    /// Gas and payments of the transaction that carries most.
    pub(super) fn fullest(&self) -> (usize, usize) {
        let fullest = self.transactions.iter().max_by_key(|(_, count)| *count);
        fullest.copied().unwrap_or_default()
    }
}

fn number(value: &Value) -> usize {
    let digits = value.as_str().unwrap_or_default().trim_start_matches("0x");
    usize::from_str_radix(digits, 16).expect("number")
}

/// What the chain alone allows: the same transfers called plainly, and through Multicall3.
async fn by_hand(table: &mut Table) {
    let node = Node::start(Pace::default()).await;
    let mut payers = Payers::distinct(BY_HAND);
    usdc::place(&node.devnet, &payers.accounts());
    let signed = payers.sign(BY_HAND);
    let single = simulate(&node.devnet, dollar(), &transfer(&signed[0]));
    let calls = signed.iter().map(|signed| Call3 {
        target: dollar(),
        allowFailure: true,
        callData: transfer(signed),
    });
    let batch = aggregate3Call {
        calls: calls.collect(),
    };
    let batch = simulate(&node.devnet, MULTICALL, &batch.abi_encode().into());
    let each = batch / BY_HAND;
    table.note(format!(
        "By hand: transferWithAuthorization alone takes {single} gas, {BY_HAND} through Multicall3 {each} each ({:.2}).",
        each as f64 / single as f64
    ));
    node.stop().await;
}

fn transfer(signed: &SignedAuthorization) -> Bytes {
    let (a, s) = (&signed.authorization, &signed.signature);
    let call = transferWithAuthorizationCall {
        from: a.from,
        to: a.to,
        value: a.value,
        validAfter: a.valid_after,
        validBefore: a.valid_before,
        nonce: a.nonce,
        v: s[64],
        r: U256::from_be_slice(&s[..32]).into(),
        s: U256::from_be_slice(&s[32..64]).into(),
    };
    call.abi_encode().into()
}

/// The gas that a transaction with this call would use.
fn simulate(devnet: &Devnet, to: Address, data: &Bytes) -> usize {
    let call =
        json!({ "from": DEV_ACCOUNTS[0].address, "to": to, "data": hex::encode_prefixed(data) });
    let question = json!([{ "blockStateCalls": [{ "calls": [call] }] }, "latest"]);
    let answer = devnet
        .request("eth_simulateV1", question)
        .expect("simulation");
    let result = &answer[0]["calls"][0];
    assert_eq!(result["status"], "0x1", "{result}");
    number(&result["gasUsed"])
}
