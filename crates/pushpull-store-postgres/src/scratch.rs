//! A database for a while: made beside another one, and dropped.

use pushpull_domain::Chance;

use crate::{
    connect::{Connector, Purpose},
    fault::Fault,
    pool::Conn,
    server::OpenError,
};

/// A database of its own on a server, empty at first.
#[derive(Clone, Debug)]
pub struct ScratchDatabase {
    /// Of the database beside which it was made.
    server: String,
    name: String,
}

impl ScratchDatabase {
    /// Makes one on the server of a URL, whose user must be allowed to.
    pub async fn make(url: &str, chance: &dyn Chance) -> Result<Self, OpenError> {
        let name = format!("pushpull_scratch_{:016x}", chance.word());
        let made = Self { server: url.to_owned(), name };
        made.connect()
            .await?
            .batch(&format!("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0", made.name))
            .await?;
        Ok(made)
    }

    /// Its URL.
    pub fn url(&self) -> String {
        // Of what is said twice, the last counts.
        let separator = if self.server.contains('?') { '&' } else { '?' };
        format!("{}{separator}dbname={}", self.server, self.name)
    }

    /// Bytes on its server's disk, without the log.
    pub async fn size(&self) -> Result<u64, OpenError> {
        let size = self.connect().await?.query_one("SELECT pg_database_size($1)", &[&self.name]).await?;
        Ok(size.get::<_, i64>(0).cast_unsigned())
    }

    /// Removes it, and cuts off whoever still uses it.
    pub async fn drop(self) -> Result<(), OpenError> {
        Ok(self.connect().await?.batch(&format!("DROP DATABASE {} WITH (FORCE)", self.name)).await?)
    }

    async fn connect(&self) -> Result<Conn, Fault> {
        Conn::open(&Connector::new(&self.server, Purpose::Writing)?).await
    }
}
