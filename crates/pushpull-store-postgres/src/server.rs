//! Whether a server can keep a store, said in one line before anything is written to it.

use std::sync::Arc;

use pushpull_domain::seal::MasterKey;
use pushpull_store::Error;
use tokio_postgres::Config;

use crate::{
    connect::{Connector, Purpose},
    fault::Fault,
    import,
    pool::{Conn, Pool},
};

/// The oldest server that will do.
const VERSION_MIN: i32 = 15;

/// Why a store cannot be opened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OpenError {
    /// The server is older than what is needed.
    #[error("PostgreSQL {found} is too old: {VERSION_MIN} or later is needed")]
    TooOld {
        /// The server's version.
        found: String,
    },
    /// Sessions do not keep their connections to the server.
    #[error(
        "this is a pooler in transaction mode (as PgBouncer's pool_mode=transaction), and hints, prepared statements and \
         locks need sessions: connect to PostgreSQL itself, or use a pool in session mode"
    )]
    Pooler,
    /// Texts are not kept as UTF-8.
    #[error("the database has the encoding {found}, and UTF8 is needed")]
    Encoding {
        /// Its encoding.
        found: String,
    },
    /// The user may not do what is needed.
    #[error(
        "PostgreSQL user {user} lacks a right: {said}; give it with: GRANT CREATE, USAGE ON SCHEMA public TO {user}"
    )]
    Right {
        /// Who.
        user: String,
        /// What it may not do.
        said: String,
    },
    /// What is there was made by another user, without whom no day can be added to it.
    #[error("the tables belong to PostgreSQL user {owner}, and this is {user}: connect as {owner}")]
    Owner {
        /// Who.
        user: String,
        /// Whose they are.
        owner: String,
    },
    /// The database was written to with another master key.
    #[error(
        "the master key is not the one that this store's secrets are sealed with: copy it from another node"
    )]
    MasterKey,
    /// What is in the database is not the whole of a store yet.
    #[error(
        "the store of {from} is being moved into this database, and is not whole yet: \
         let `pushpull migrate` come to its end first"
    )]
    Moving {
        /// Where it comes from.
        from: String,
    },
    /// The store cannot be reached, or is not as it should be.
    #[error(transparent)]
    Store(#[from] Error),
}

impl From<Fault> for OpenError {
    fn from(fault: Fault) -> Self {
        Self::Store(fault.into())
    }
}

/// Whether a text is the URL of a PostgreSQL database; if not, what it should be.
pub fn check_url(url: &str) -> Result<(), String> {
    const WANT: &str = "must be like postgres://USER:PASSWORD@HOST:5432/DATABASE?sslmode=require";
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(WANT.to_owned());
    }
    let config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
        format!(
            "{WANT}: {}",
            std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string)
        )
    })?;
    if config.get_hosts().is_empty() { Err(format!("{WANT}: it names no host")) } else { Ok(()) }
}

/// Whether there is no store in a database yet.
pub async fn is_new(url: &str) -> Result<bool, OpenError> {
    let conn = Conn::open(&Connector::new(url, Purpose::Reading)?).await?;
    import::refuse_unfinished(&conn).await?;
    Ok(conn.query_one("SELECT to_regclass('schema_version') IS NULL", &[]).await?.get(0))
}

/// Refuses what cannot keep a store.
pub(crate) async fn check(conn: &Conn, pool: &Arc<Pool>) -> Result<(), OpenError> {
    let server = conn
        .query_one(
            "SELECT current_setting('server_version_num')::integer, current_setting('server_version'),
                 current_setting('server_encoding'), quote_ident(current_user),
                 has_schema_privilege(current_schema(), 'CREATE')",
            &[],
        )
        .await?;
    refuse_old(server.get(0), server.get(1))?;
    if server.get::<_, &str>(2) != "UTF8" {
        return Err(OpenError::Encoding { found: server.get(2) });
    }
    let user = || server.get::<_, String>(3);
    let owner = conn
        .query_opt(
            "SELECT quote_ident(pg_get_userbyid(relowner)), pg_has_role(relowner, 'USAGE')
             FROM pg_class WHERE oid = to_regclass('schema_version')",
            &[],
        )
        .await?;
    if let Some(owner) = owner.as_ref().filter(|owner| !owner.get::<_, bool>(1)) {
        return Err(OpenError::Owner { user: user(), owner: owner.get(0) });
    }
    if server.get::<_, Option<bool>>(4) != Some(true) {
        let said =
            if owner.is_none() { "it may not make tables" } else { "it may not make each day's tables" };
        return Err(OpenError::Right { user: user(), said: said.to_owned() });
    }
    if is_pooled(conn, pool).await? { Err(OpenError::Pooler) } else { Ok(()) }
}

/// `number`: as the server has it for programs, like 150004.
fn refuse_old(number: i32, version: &str) -> Result<(), OpenError> {
    if number / 10_000 < VERSION_MIN {
        return Err(OpenError::TooOld { found: version.to_owned() });
    }
    Ok(())
}

/// Whether statements of one session come to several processes of the server: while another session is within a
/// transaction on the process that served this one, this one is served by another.
async fn is_pooled(conn: &Conn, pool: &Arc<Pool>) -> Result<bool, Fault> {
    const PID: &str = "SELECT pg_backend_pid()";
    let pid = async |conn: &Conn| {
        // Not prepared: such a pooler may not know the statement any more.
        let said = conn.client().simple_query(PID).await?;
        Ok::<_, Fault>(said.iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        }))
    };
    let before = pid(conn).await?;
    let other = pool.lend().await?;
    other.batch("BEGIN").await?;
    let occupied = pid(&other).await?;
    let after = pid(conn).await?;
    other.batch("ROLLBACK").await?;
    Ok(before != after || occupied == before)
}

const FIND_MASTER_KEY: &str = "SELECT value FROM setting WHERE name = 'master_key'";

/// Refuses a master key that is not the one that the store was made with, or another that came after it.
pub(crate) async fn check_master_key(
    conn: &Conn,
    newest: &MasterKey,
    older: &[MasterKey],
) -> Result<(), OpenError> {
    let ids: Vec<i64> = std::iter::once(newest).chain(older).map(|key| i64::from(key.id())).collect();
    // Looked for first: a look may not wait for a standby.
    let known = if let Some(known) = conn.query_opt(FIND_MASTER_KEY, &[]).await? {
        known
    } else {
        let made = "INSERT INTO setting (name, value) VALUES ('master_key', $1) ON CONFLICT DO NOTHING";
        conn.execute(made, &[&ids[0]]).await?;
        conn.query_one(FIND_MASTER_KEY, &[]).await?
    };
    let known: i64 = known.get(0);
    if !ids.contains(&known) {
        return Err(OpenError::MasterKey);
    }
    if known != ids[0] {
        conn.execute("UPDATE setting SET value = $1 WHERE name = 'master_key'", &[&ids[0]]).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_too_old_by_its_number() {
        for (number, version) in [(150_000, "15.0"), (150_004, "15.4 (Debian 15.4-1)"), (180_001, "18.1")] {
            assert!(refuse_old(number, version).is_ok(), "{version}");
        }
        for (number, version) in [(149_999, "14.99"), (140_022, "14.22"), (90_624, "9.6.24")] {
            let refused = refuse_old(number, version).unwrap_err().to_string();
            assert_eq!(refused, format!("PostgreSQL {version} is too old: 15 or later is needed"));
        }
    }
}
