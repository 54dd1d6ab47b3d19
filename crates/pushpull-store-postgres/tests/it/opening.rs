//! What a store can be opened in, and what refuses anything else.

use std::sync::Arc;

use futures_util::future::join_all;
use pushpull_domain::FixedClock;
use pushpull_store::conformance::fixture::START;
use pushpull_store_postgres::{OpenError, Postgres};
use pushpull_testkit::{ask, new_database, postgres_options};

use crate::support::connect;

async fn open(url: &str, seed: u64) -> Result<Postgres, OpenError> {
    Postgres::open(postgres_options(url, Arc::new(FixedClock::at(START)), seed)).await
}

async fn refused(url: &str) -> OpenError {
    open(url, 1).await.expect_err("it is refused")
}

/// The URL of another database or user on the same server.
fn replaced(url: &str, from: &str, to: &str) -> String {
    assert!(url.contains(from), "{url}");
    url.replacen(from, to, 1)
}

/// The database's name.
fn name(url: &str) -> &str {
    url.split('?').next().unwrap().rsplit('/').next().unwrap()
}

#[tokio::test]
async fn a_database_of_another_encoding_is_refused() {
    let url = new_database();
    let other = format!("{}_ascii", name(&url));
    let admin = connect(&url).await;
    admin
        .batch_execute(&format!(
            "CREATE DATABASE {other} ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        ))
        .await
        .unwrap();
    let refused = refused(&replaced(&url, name(&url), &other)).await;
    admin.batch_execute(&format!("DROP DATABASE {other} WITH (FORCE)")).await.unwrap();
    assert!(matches!(refused, OpenError::Encoding { .. }), "{refused}");
    assert_eq!(refused.to_string(), "the database has the encoding SQL_ASCII, and UTF8 is needed");
}

#[tokio::test]
async fn a_user_without_a_right_is_told_which_and_how_to_give_it() {
    let url = new_database();
    let (user, admin) = (format!("{}-user", name(&url)), connect(&url).await);
    admin.batch_execute(&format!("CREATE ROLE \"{user}\" LOGIN")).await.unwrap();
    let as_user = replaced(&url, "pushpull@", &format!("{user}@"));
    let (lacking, refusal) =
        (refused(&as_user).await, "lacks a right: it may not make tables; give it with:");
    assert!(matches!(lacking, OpenError::Right { .. }), "{lacking}");
    let grant = format!("GRANT CREATE, USAGE ON SCHEMA public TO \"{user}\"");
    assert_eq!(lacking.to_string(), format!("PostgreSQL user \"{user}\" {refusal} {grant}"));

    admin.batch_execute(&grant).await.unwrap();
    open(&as_user, 1).await.expect("what it says is enough");
    admin.batch_execute(&format!("REVOKE CREATE ON SCHEMA public FROM \"{user}\"")).await.unwrap();
    let lacking = refused(&as_user).await.to_string();
    assert!(lacking.contains("lacks a right: it may not make each day's tables; "), "{lacking}");
    admin
        .batch_execute(&format!(
            "REASSIGN OWNED BY \"{user}\" TO pushpull; DROP OWNED BY \"{user}\"; DROP ROLE \"{user}\""
        ))
        .await
        .unwrap();
}

#[tokio::test]
async fn tables_of_another_user_are_not_for_this_one() {
    let url = new_database();
    drop(open(&url, 1).await.unwrap());
    let (user, admin) = (format!("{}_user", name(&url)), connect(&url).await);
    // Whatever it may do to the rows: only who owns a table may add a day to it.
    admin
        .batch_execute(&format!(
            "CREATE ROLE {user} LOGIN; GRANT CREATE, USAGE ON SCHEMA public TO {user};
             GRANT SELECT ON schema_version TO {user}"
        ))
        .await
        .unwrap();
    let refused = refused(&replaced(&url, "pushpull@", &format!("{user}@"))).await;
    admin.batch_execute(&format!("DROP OWNED BY {user}; DROP ROLE {user}")).await.unwrap();
    let wanted =
        format!("the tables belong to PostgreSQL user pushpull, and this is {user}: connect as pushpull");
    assert_eq!(refused.to_string(), wanted);
}

#[tokio::test]
async fn a_store_of_a_newer_program_is_refused() {
    let url = new_database();
    drop(open(&url, 1).await.unwrap());
    let newer = "INSERT INTO schema_version (version, checksum) VALUES (9999, '')";
    connect(&url).await.batch_execute(newer).await.unwrap();
    let refused = refused(&url).await.to_string();
    assert!(refused.contains("it was written by a newer program (version 9999)"), "{refused}");
}

#[tokio::test]
async fn a_migration_that_fails_half_way_leaves_nothing_behind() {
    let url = new_database();
    // One of the last tables that it makes.
    ask(&url, "CREATE TABLE news (of_others text)");
    let refused = format!("{:?}", refused(&url).await);
    assert!(refused.contains("already exists"), "{refused}");
    let tables = "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class
                  WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'S')";
    assert_eq!(ask(&url, tables), "news schema_version");
    assert_eq!(ask(&url, "SELECT count(*) FROM schema_version"), "0");

    ask(&url, "DROP TABLE news");
    open(&url, 1).await.expect("nothing is in its way");
}

/// One of them makes the tables, and all have one history, whoever's word it is.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_start_at_once_on_an_empty_database_all_open_the_same_store() {
    let url = new_database();
    let opened = join_all((1..=6).map(|seed| open(&url, seed))).await;
    let histories: Vec<u64> = opened
        .into_iter()
        .map(|store| pushpull_store::Upkeep::history(&store.expect("a store that opens")))
        .collect();
    assert!(histories.iter().all(|history| *history == histories[0]), "{histories:?}");
    let nodes = connect(&url).await.query("SELECT DISTINCT no FROM node", &[]).await.unwrap();
    assert_eq!(nodes.len(), 6, "each of them is a node");
}
