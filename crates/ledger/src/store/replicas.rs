//! [`ReplicaStore`]: the way into the steps.

use std::time::Duration;

use async_trait::async_trait;

use super::{Step, Store, step_name};
use crate::steps::replicas as steps;
use crate::{LedgerError, Replica, ReplicaId, ReplicaStore};

#[async_trait]
impl ReplicaStore for Store {
    async fn join(&self, name: &str, ttl: Duration) -> Result<Replica, LedgerError> {
        let name = name.to_owned();
        self.write(step_name!("join"), async move |step: &mut Step| {
            steps::join(step, &name, ttl).await
        })
        .await
    }

    async fn beat(&self, replica: &ReplicaId, ttl: Duration) -> Result<(), LedgerError> {
        let replica = replica.clone();
        self.write(step_name!("beat"), async move |step: &mut Step| {
            steps::beat(step, &replica, ttl).await
        })
        .await
    }

    async fn leave(&self, replica: &ReplicaId) -> Result<(), LedgerError> {
        let replica = replica.clone();
        self.write(step_name!("leave"), async move |step: &mut Step| {
            steps::leave(step, &replica).await
        })
        .await
    }
}
