//! Our class by its hash.

use serde_json::json;
use tollway_starknet::{ACCOUNT_CLASS_HASH, class_hash, felt};
use tollway_test_starknet::{World, artifact, number};

#[test]
fn the_artifact_has_the_hash_that_the_library_names() {
    let hash = class_hash(&artifact()["class"]).unwrap();
    assert_eq!(felt::text(&hash), felt::text(&ACCOUNT_CLASS_HASH));
}

#[tokio::test]
async fn a_node_gives_our_class_the_same_hash() {
    let world = World::new().await;
    let asked = json!(["latest", world.payer.address]);
    let hash = world.node.ask("starknet_getClassHashAt", asked).await;
    assert_eq!(number(hash.as_str().unwrap()), ACCOUNT_CLASS_HASH);
}
