//! The store: the one place that knows which backend it is.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use pushpull_domain::{Iterators, seal::MasterKey};
use pushpull_store::{Error, Store};
use pushpull_store_postgres::Postgres;
use pushpull_store_sqlite::Sqlite;

use crate::{
    chance::SystemChance,
    clock::SystemClock,
    config::{Backend, Place},
    datadir::{master_keys, store_file},
};

/// Opens the store of a place, made if there is none, and what makes the iterators of its queues.
///
/// `on_fatal` is called when what was acknowledged may be lost; the embedded store alone may find out.
pub(crate) async fn open(
    place: &Place,
    on_fatal: impl Fn(&Error) + Send + Sync + 'static,
) -> Result<(Arc<dyn Store>, Iterators)> {
    let (store, keys) = match &place.store {
        Backend::File => open_file(place.clone(), on_fatal).await?,
        Backend::Postgres(url) => {
            let (store, keys) = open_postgres(place, url, true).await?;
            (store as Arc<dyn Store>, keys)
        }
    };
    let iterators = Iterators::new(store.history(), &keys[0], &keys[1..]);
    Ok((store, iterators))
}

/// Whether there is no store in a place yet.
pub(crate) async fn is_new(place: &Place) -> Result<bool> {
    match &place.store {
        Backend::File => Ok(!store_file(place).exists()),
        Backend::Postgres(url) => pushpull_store_postgres::is_new(url).await.context(WHAT),
    }
}

/// What is being done when PostgreSQL refuses.
const WHAT: &str = "open the store in PostgreSQL";

/// The same for a command that needs a store to be there, and may run beside a server.
pub(crate) async fn open_existing(place: &Place) -> Result<Arc<dyn Store>> {
    if is_new(place).await? {
        match &place.store {
            Backend::File => bail!(
                "there is no store in {}: start `pushpull serve` once, or name another directory with --data",
                place.data.display()
            ),
            Backend::Postgres(_) => bail!(
                "there is no store in this PostgreSQL database: start `pushpull serve` once, or name another with --store"
            ),
        }
    }
    Ok(match &place.store {
        // A failed write of a command is told to who gave it; there is nothing else to end.
        Backend::File => open_file(place.clone(), |_| {}).await?.0,
        Backend::Postgres(url) => open_postgres(place, url, false).await?.0,
    })
}

type Opened = (Arc<dyn Store>, Vec<MasterKey>);

async fn open_file(place: Place, on_fatal: impl Fn(&Error) + Send + Sync + 'static) -> Result<Opened> {
    let open = move || {
        let what = place.data.display();
        let keys = master_keys(&place, &what.to_string(), !store_file(&place).exists())?;
        let options = pushpull_store_sqlite::Options {
            dir: place.data.clone(),
            clock: Arc::new(SystemClock),
            chance: Arc::new(SystemChance),
            master_key: keys[0].clone(),
            older_master_keys: keys[1..].to_vec(),
            on_fatal: Box::new(on_fatal),
        };
        let store = Sqlite::open(options).with_context(|| format!("open the store in {what}"))?;
        Ok((Arc::new(store) as Arc<dyn Store>, keys))
    };
    tokio::task::spawn_blocking(open).await.context("open the store")?
}

/// Opens a store in PostgreSQL. `serves`: as one of its nodes.
pub(crate) async fn open_postgres(
    place: &Place,
    url: &str,
    serves: bool,
) -> Result<(Arc<Postgres>, Vec<MasterKey>)> {
    let is_new = pushpull_store_postgres::is_new(url).await.context(WHAT)?;
    let keys = master_keys(place, "the PostgreSQL store", is_new)?;
    let options = pushpull_store_postgres::Options {
        url: url.to_owned(),
        clock: Arc::new(SystemClock),
        chance: Arc::new(SystemChance),
        master_key: keys[0].clone(),
        older_master_keys: keys[1..].to_vec(),
        serves,
    };
    let store = Postgres::open(options).await.context(WHAT)?;
    Ok((Arc::new(store), keys))
}
