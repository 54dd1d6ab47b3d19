//! The keys a server makes for itself: the first environment, and the admin key of the file.

use anyhow::{Context, Result};
use pushpull_domain::{
    Clock, Environment, EnvironmentId, KeyId, chance,
    key::{ApiKey, KeyHash, Scope},
};
use pushpull_store::{Store, WriteError};

use crate::{chance::SystemChance, clock::SystemClock};

/// The name of keys that come from the admin key's file.
const FILE_KEY_NAME: &str = "admin key file";
/// The name of the environment that is made when there is none.
const FIRST_ENVIRONMENT: &str = "default";

/// The operator's own environment: the first, made if there is none.
pub(crate) async fn first_environment(store: &dyn Store) -> Result<Environment> {
    let id = EnvironmentId::new(SystemClock.now(), chance::bytes(&SystemChance));
    store.first_environment(id, FIRST_ENVIRONMENT).await.context("make the first environment")
}

/// A new key's row, for a token.
pub(crate) fn new_key(environment: &Environment, token: &str, name: &str, scope: Scope) -> ApiKey {
    ApiKey {
        id: KeyId::new(SystemClock.now(), chance::bytes(&SystemChance)),
        environment: environment.no,
        hash: KeyHash::of(token),
        prefix: prefix(token).to_owned(),
        name: name.to_owned(),
        scope,
        created_at: SystemClock.now(),
        last_used_at: None,
        revoked_at: None,
    }
}

/// What a key is known by: four characters of its chance. A key of the user's own making may have little.
fn prefix(token: &str) -> &str {
    let shown = if token.starts_with("ppk_") { 8 } else { 4 };
    token.get(..shown).unwrap_or_default()
}

/// Makes the key of the file valid; and those that were in it before invalid, where no other process has such a file.
pub(crate) async fn adopt_admin_key(store: &dyn Store, environment: &Environment, token: &str) -> Result<()> {
    let hash = KeyHash::of(token);
    match store.key(hash).await.context("look for the admin key")? {
        None => {
            let key = new_key(environment, token, FILE_KEY_NAME, Scope::Admin);
            match store.put_key(key).await {
                // Of nodes that start at once with the same key, one is first.
                Ok(()) | Err(WriteError::Taken(_)) => {}
                Err(error) => return Err(error).context("store the admin key"),
            }
        }
        // Whoever revoked it meant it: the file does not bring it back.
        Some(key) if key.revoked_at.is_some() => {
            tracing::warn!(
                "the key in the admin key file is revoked: remove the file and start again for a new one"
            );
        }
        Some(_) => {}
    }
    if store.is_shared() {
        // Other nodes may have a key of their own in their files.
        return Ok(());
    }
    for key in store.keys(environment.no).await.context("list the keys")? {
        if key.name == FILE_KEY_NAME && key.hash != hash && key.revoked_at.is_none() {
            store.revoke_key(environment.no, key.id).await.context("revoke the admin key of before")?;
            tracing::info!(key.id = %key.id, "revoked the admin key that was in the file before");
        }
    }
    Ok(())
}
