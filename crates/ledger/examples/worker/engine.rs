//! An engine without a chain: it takes part, takes what signers it can, accepts
//! payments, takes over what others left, and stores a transaction for each. It
//! says all that it did, and runs until it is killed.

use std::collections::HashMap;
use std::time::Duration;

use tollway_core::{PaymentId, Raw, TxHash};
use tollway_ledger::{
    Acceptance, Lease, LedgerError, PaymentState, Replica, ReplicaStore as _, SettlementStore,
    Store,
};

use tollway_test_records::{address, at, network, payment};

const SIGNERS: [u8; 2] = [8, 9];

pub async fn run(store: &Store, ttl: u64, first: u64, count: u64) {
    let ttl = Duration::from_millis(ttl);
    let me = store.join("worker", ttl).await.unwrap();
    let acting = store.acting_as(&me.id);
    let mut leases = HashMap::new();
    println!("joined {}", me.id);
    for n in first.. {
        store.beat(&me.id, ttl).await.unwrap();
        take_signers(store, &me, &mut leases).await;
        for adopted in store.adopt(&me.id, &network(), 10).await.unwrap() {
            println!("adopted {}", adopted.id);
        }
        if n < first + count
            && let Acceptance::New(record) = acting.accept(payment(n), at(n)).await.unwrap()
        {
            println!("accepted {n} {}", record.id);
        }
        submit_all(&*acting, &mut leases).await;
        if n >= first + count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn take_signers(store: &Store, me: &Replica, leases: &mut HashMap<u8, Lease>) {
    for signer in SIGNERS {
        if leases.contains_key(&signer) {
            continue;
        }
        let (network, address) = (network(), address(signer));
        let lease = store.lease_signer(&me.id, &network, &address).await;
        if let Some(lease) = lease.unwrap() {
            println!("leased {signer} {}", lease.epoch);
            leases.insert(signer, lease);
        }
    }
}

async fn submit_all(store: &dyn SettlementStore, leases: &mut HashMap<u8, Lease>) {
    for record in store.open_payments().await.unwrap() {
        let Some((signer, lease)) = leases.iter().next() else {
            return;
        };
        if record.state != PaymentState::Accepted {
            continue;
        }
        let signer = *signer;
        match submit(store, lease, signer, &record.id).await {
            Ok(nonce) => println!("stored {signer} {nonce} {}", record.id),
            Err(LedgerError::LeaseLost { .. }) => {
                println!("lost {signer}");
                leases.remove(&signer);
            }
            // Another replica adopted it in between.
            Err(LedgerError::Conflict { .. }) => println!("left {}", record.id),
            Err(broken) => panic!("{broken:?}"),
        }
    }
}

async fn submit(
    store: &dyn SettlementStore,
    lease: &Lease,
    signer: u8,
    id: &PaymentId,
) -> Result<u64, LedgerError> {
    let slot = store.allocate_slot(lease, 0, at(1)).await?;
    let nonce = slot.nonce;
    let number = u64::from(signer) << 32 | nonce;
    let raw = Raw {
        hash: TxHash::new(&format!("0x{number:064x}")),
        bytes: vec![1, 2, 3],
    };
    let slot = (slot.network, slot.signer, nonce);
    let ids = std::slice::from_ref(id);
    store.store_raw(&slot, &raw, ids, lease, at(1)).await?;
    Ok(nonce)
}
