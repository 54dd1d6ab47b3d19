//! Environments and API keys.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use pushpull_domain::{
    App, Endpoint, EnvironmentId, FixedClock, KeyId, Timestamp,
    key::{ApiKey, KeyHash, PollerToken, Scope},
};

use super::fixture::{Maker, NINETY_DAYS, START, World};
use crate::{OLD_POLLER_TOKENS_MAX, REVOKED_KEYS_KEPT, WriteError};

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

/// The environment that was made first is the first, whoever asks and however many ask at once.
pub async fn the_first_environment_is_made_once(maker: &impl Maker) {
    let store = maker.open(Arc::new(FixedClock::at(START))).await;
    let id = |n| EnvironmentId::new(START, [n; 15]);
    let made = join_all((1..9).map(|n| store.first_environment(id(n), "first"))).await;
    let all = store.environments().await.unwrap();
    assert_eq!(all.len(), 1);
    for first in made {
        assert_eq!(first.unwrap(), all[0]);
    }
    store.ensure_environment(id(0), "later").await.unwrap();
    assert_eq!(store.first_environment(id(9), "another").await.unwrap(), all[0]);
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

/// However many ended, all are gone when there is nothing more to do: a portal's visitors leave many.
pub async fn keys_that_ended_long_ago_are_gone_however_many(maker: &impl Maker) {
    let world = World::new(maker).await;
    let ended: Vec<ApiKey> = (0..1_100)
        .map(|n| ApiKey { revoked_at: Some(START), ..key(&world, &format!("ended {n}"), Scope::Read) })
        .collect();
    for some in ended.chunks(100) {
        let put = join_all(some.iter().map(|key| world.store.put_key(key.clone()))).await;
        put.into_iter().for_each(Result::unwrap);
    }
    world.clock.set(START.after(REVOKED_KEYS_KEPT + Duration::from_millis(1)));
    world.trim(NINETY_DAYS).await;
    assert_eq!(world.store.keys(world.environment.no).await.unwrap(), []);
}

fn poller_token(world: &World, endpoint: &Endpoint, app: &App, text: &str) -> PollerToken {
    let scope = Scope::Poller { app: app.no, app_id: app.id, no: endpoint.no, id: endpoint.id };
    PollerToken { key: key(world, text, scope), text: text.to_owned() }
}

/// An endpoint has one poller token, whoever asks first, and it is shown again over a reopening.
pub async fn a_poller_token_is_made_once(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let endpoint = world.endpoint(&app).await;
    assert_eq!(world.store.poller_token(endpoint.no).await.unwrap(), None);
    let one = poller_token(&world, &endpoint, &app, "one");
    assert_eq!(world.store.put_poller_token(one.clone(), None).await.unwrap(), one);
    let two = poller_token(&world, &endpoint, &app, "two");
    assert_eq!(world.store.put_poller_token(two.clone(), None).await.unwrap(), one);
    let world = world.reopen(maker).await;
    assert_eq!(world.store.poller_token(endpoint.no).await.unwrap().as_ref(), Some(&one));
    assert_eq!(world.store.key(one.key.hash).await.unwrap().as_ref(), Some(&one.key));
    assert_eq!(world.store.key(two.key.hash).await.unwrap(), None);
    let admin = PollerToken { key: key(&world, "admin", Scope::Admin), text: "admin".into() };
    assert!(matches!(world.store.put_poller_token(admin, None).await, Err(WriteError::NotFound)));
}

/// A new poller token ends those before it, none of them later than it would have ended by itself.
pub async fn a_new_poller_token_ends_those_before(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let endpoint = world.endpoint(&app).await;
    let other = world.endpoint(&app).await;
    let token = |text| poller_token(&world, &endpoint, &app, text);
    let at = |secs| START.after(Duration::from_secs(secs));
    let others = poller_token(&world, &other, &app, "others");
    world.store.put_poller_token(others.clone(), None).await.unwrap();
    world.store.put_poller_token(token("one"), None).await.unwrap();
    let ending = |text, secs| {
        let mut token = token(text);
        token.key.revoked_at = Some(at(secs));
        token
    };
    world.store.put_poller_token(ending("two", 40), Some(at(60))).await.unwrap();
    world.store.put_poller_token(ending("three", 10), Some(at(50))).await.unwrap();
    let mut ends = Vec::new();
    for text in ["one", "two", "three", "others"] {
        ends.push(world.store.key(KeyHash::of(text)).await.unwrap().unwrap().revoked_at);
    }
    assert_eq!(ends, [Some(at(50)), Some(at(40)), Some(at(10)), None]);
    // It has ended: the next one is made on asking.
    world.clock.set(at(10));
    assert_eq!(world.store.poller_token(endpoint.no).await.unwrap(), None);
    let four = token("four");
    assert_eq!(world.store.put_poller_token(four.clone(), None).await.unwrap(), four);
    assert_eq!(world.store.poller_token(endpoint.no).await.unwrap(), Some(four));
    assert_eq!(world.store.poller_token(other.no).await.unwrap(), Some(others));
}

/// However often a poller token is rotated, a bounded number of the older ones is kept: those that have ended go first,
/// then those made first.
pub async fn so_many_older_poller_tokens_are_kept(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let (endpoint, other) = (world.endpoint(&app).await, world.endpoint(&app).await);
    let others = poller_token(&world, &other, &app, "others");
    world.store.put_poller_token(others.clone(), None).await.unwrap();
    let rotate = async |text: &str, until: Option<Timestamp>| {
        world.clock.advance(Duration::from_secs(1));
        let mut token = poller_token(&world, &endpoint, &app, text);
        (token.key.created_at, token.key.revoked_at) = (world.clock_now(), until);
        let old_until = world.clock_now().after(Duration::from_hours(24));
        world.store.put_poller_token(token, Some(old_until)).await.unwrap();
    };
    let kept = async |text: &str| world.store.key(KeyHash::of(text)).await.unwrap().is_some();
    for n in 0..OLD_POLLER_TOKENS_MAX {
        rotate(&format!("older-{n}"), None).await;
    }
    rotate("short", Some(world.clock_now().after(Duration::from_secs(5)))).await;
    assert!(kept("older-0").await);
    world.clock.advance(Duration::from_secs(5));
    rotate("next", None).await;
    assert_eq!((kept("short").await, kept("older-0").await), (false, true));
    rotate("last", None).await;
    assert_eq!((kept("older-0").await, kept("older-1").await, kept("next").await), (false, true, true));
    assert_eq!(world.store.poller_token(endpoint.no).await.unwrap().unwrap().text, "last");
    assert_eq!(world.store.poller_token(other.no).await.unwrap(), Some(others));
}

/// What reads a deleted endpoint, or one of a deleted application, is unknown.
pub async fn a_poller_token_of_what_is_deleted_opens_nothing(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (app, other) = (world.app("one").await, world.app("two").await);
    let (endpoint, kept) = (world.endpoint(&app).await, world.endpoint(&app).await);
    let of_other = world.endpoint(&other).await;
    let tokens = [
        poller_token(&world, &endpoint, &app, "endpoint"),
        poller_token(&world, &of_other, &other, "app"),
        poller_token(&world, &kept, &app, "kept"),
    ];
    for token in &tokens {
        world.store.put_poller_token(token.clone(), None).await.unwrap();
    }
    world.store.delete_endpoint(endpoint.no).await.unwrap();
    world.store.delete_app(other.no).await.unwrap();
    for _ in 0..2 {
        for gone in &tokens[..2] {
            let Scope::Poller { no, .. } = gone.key.scope else { unreachable!() };
            assert_eq!(world.store.key(gone.key.hash).await.unwrap(), None);
            assert_eq!(world.store.poller_token(no).await.unwrap(), None);
            let again = world.store.put_poller_token(gone.clone(), Some(START)).await;
            assert!(matches!(again, Err(WriteError::NotFound)));
        }
        assert_eq!(world.store.keys(world.environment.no).await.unwrap(), [tokens[2].key.clone()]);
        world.trim(NINETY_DAYS).await;
    }
}
