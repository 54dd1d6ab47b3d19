//! Environments and API keys.

use std::time::Duration;

use pushpull_domain::{
    EnvironmentId, KeyId, Timestamp,
    key::{ApiKey, KeyHash, Scope},
};

use super::fixture::{Maker, NINETY_DAYS, START, World};
use crate::{REVOKED_KEYS_KEPT, WriteError};

fn key(world: &World, token: &str, scope: Scope) -> ApiKey {
    let mut chance = [0; 15];
    chance[..token.len()].copy_from_slice(token.as_bytes());
    ApiKey {
        id: KeyId::new(START, chance),
        environment: world.environment.no,
        hash: KeyHash::of(token),
        prefix: token[..2].to_owned(),
        name: format!("key {token}"),
        scope,
        created_at: START,
        last_used_at: None,
        revoked_at: None,
    }
}

/// An id names one environment, whoever asks first; its name is the first one given.
pub async fn an_environment_is_made_on_first_sight(maker: &impl Maker) {
    let world = World::new(maker).await;
    let again = world.store.ensure_environment(world.environment.id, "another name").await.unwrap();
    assert_eq!(again, world.environment);
    let other = world.store.ensure_environment(EnvironmentId::new(START, [2; 15]), "other").await.unwrap();
    assert_ne!(other.no, world.environment.no);
    assert_eq!(world.store.environments().await.unwrap(), [world.environment.clone(), other]);
}

/// A key is found by its hash and listed in its own environment, over a reopening too.
pub async fn a_key_is_found_by_its_hash(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let keys = [
        key(&world, "admin", Scope::Admin),
        key(&world, "app", Scope::App { no: app.no, id: app.id }),
        key(&world, "read", Scope::Read),
        key(&world, "send", Scope::Send),
    ];
    for key in &keys {
        world.store.put_key(key.clone()).await.unwrap();
    }
    assert!(matches!(world.store.put_key(keys[0].clone()).await, Err(WriteError::Taken("key"))));
    let world = world.reopen(maker).await;
    for key in &keys {
        assert_eq!(world.store.key(key.hash).await.unwrap().as_ref(), Some(key));
    }
    assert_eq!(world.store.key(KeyHash::of("unknown")).await.unwrap(), None);
    assert_eq!(world.store.keys(world.environment.no).await.unwrap(), keys);
    let other = world.store.ensure_environment(EnvironmentId::new(START, [2; 15]), "other").await.unwrap();
    assert_eq!(world.store.keys(other.no).await.unwrap(), []);
}

/// A revoked key stays, and says since when it is; only its own environment can revoke it, once.
pub async fn a_key_is_revoked_once(maker: &impl Maker) {
    let world = World::new(maker).await;
    let key = key(&world, "admin", Scope::Admin);
    world.store.put_key(key.clone()).await.unwrap();
    let other = world.store.ensure_environment(EnvironmentId::new(START, [2; 15]), "other").await.unwrap();
    assert!(!world.store.revoke_key(other.no, key.id).await.unwrap());
    world.clock.advance(Duration::from_secs(5));
    assert!(world.store.revoke_key(world.environment.no, key.id).await.unwrap());
    assert!(!world.store.revoke_key(world.environment.no, key.id).await.unwrap());
    let revoked = world.store.key(key.hash).await.unwrap().unwrap();
    assert_eq!(revoked.revoked_at, Some(world.clock_now()));
}

/// When keys were last used is noted, many at once.
pub async fn the_last_use_of_keys_is_noted(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (one, two) = (key(&world, "one", Scope::Admin), key(&world, "two", Scope::Send));
    for key in [&one, &two] {
        world.store.put_key(key.clone()).await.unwrap();
    }
    let at = |secs| START.after(Duration::from_secs(secs));
    let unknown = KeyHash::of("unknown");
    world.store.touch_keys(vec![(one.hash, at(60)), (unknown, at(61)), (two.hash, at(62))]).await.unwrap();
    let used: Vec<Option<Timestamp>> = world
        .store
        .keys(world.environment.no)
        .await
        .unwrap()
        .into_iter()
        .map(|key| key.last_used_at)
        .collect();
    assert_eq!(used, [Some(at(60)), Some(at(62))]);
}

/// A key of an application goes with it, and the others are still listed.
pub async fn a_key_of_a_deleted_app_opens_nothing(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let of_app = key(&world, "app", Scope::App { no: app.no, id: app.id });
    let admin = key(&world, "admin", Scope::Admin);
    for key in [&of_app, &admin] {
        world.store.put_key(key.clone()).await.unwrap();
    }
    world.store.delete_app(app.no).await.unwrap();
    for _ in 0..2 {
        assert_eq!(world.store.key(of_app.hash).await.unwrap(), None);
        let listed = world.store.keys(world.environment.no).await.unwrap();
        assert_eq!(listed, std::slice::from_ref(&admin));
        // And once its rows are gone, the same.
        world.trim(NINETY_DAYS).await;
    }
}

/// A key that ended is listed for a while, and then it is gone; one that has its end ahead of it stays.
pub async fn a_key_that_ended_long_ago_is_gone(maker: &impl Maker) {
    let world = World::new(maker).await;
    let ends = |token, at| ApiKey { revoked_at: Some(at), ..key(&world, token, Scope::Admin) };
    let (ended, ending) = (ends("ended", START), ends("ending", START.after(REVOKED_KEYS_KEPT)));
    for key in [&ended, &ending] {
        world.store.put_key(key.clone()).await.unwrap();
    }
    world.clock.set(START.after(REVOKED_KEYS_KEPT));
    world.trim(NINETY_DAYS).await;
    assert_eq!(world.store.keys(world.environment.no).await.unwrap().len(), 2);
    world.clock.advance(Duration::from_millis(1));
    world.trim(NINETY_DAYS).await;
    assert_eq!(world.store.keys(world.environment.no).await.unwrap(), [ending]);
}
