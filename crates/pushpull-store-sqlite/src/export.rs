//! Every row of a store in which no server runs, for another store to take in: one view of it, however long it takes.

use std::path::Path;

use pushpull_store::{
    Error, codec,
    transfer::{NUMBERED, Row, Table, Value},
};
use rusqlite::{Connection, OptionalExtension, types::ValueRef};

use crate::{
    FILE_NAME,
    fault::{Fault, inconsistent},
    migrate, setup,
};

/// A store that is read as a whole.
#[derive(Debug)]
pub struct Export {
    conn: Connection,
    history: u64,
}

impl Export {
    /// Opens the store of a data directory, migrated as needed. Blocks, as everything here.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        Self::open_or_fault(dir).map_err(Error::from)
    }

    fn open_or_fault(dir: &Path) -> Result<Self, Fault> {
        let mut conn = Connection::open(dir.join(FILE_NAME))?;
        setup::writer(&conn)?;
        migrate::run(&mut conn)?;
        setup::reader(&conn)?;
        conn.execute_batch("BEGIN")?;
        let sql = "SELECT value FROM setting WHERE name = 'history'";
        let history: Option<i64> = conn.query_row(sql, [], |row| row.get(0)).optional()?;
        let history = history.ok_or_else(|| inconsistent("setting", "history", "is missing"))?;
        Ok(Self { conn, history: history.cast_unsigned() })
    }

    /// Which history it is.
    pub fn history(&self) -> u64 {
        self.history
    }

    /// The greatest number that was ever given in each table of [`NUMBERED`].
    pub fn numbers(&self) -> Result<[i64; NUMBERED.len()], Error> {
        let mut numbers = [0; NUMBERED.len()];
        for (number, table) in numbers.iter_mut().zip(NUMBERED) {
            let sql = "SELECT seq FROM sqlite_sequence WHERE name = ?1";
            let given = self.conn.query_row(sql, [table], |row| row.get(0)).optional();
            *number = given.map_err(Fault::from)?.unwrap_or_default();
        }
        Ok(numbers)
    }

    /// Hands out a table's rows in the order of its key, the first `skip` left out, until `take` wants no more.
    pub fn read(&self, table: &'static Table, skip: u64, take: impl FnMut(Row) -> bool) -> Result<(), Error> {
        self.read_or_fault(table, skip, take).map_err(Error::from)
    }

    fn read_or_fault(
        &self,
        table: &'static Table,
        skip: u64,
        mut take: impl FnMut(Row) -> bool,
    ) -> Result<(), Fault> {
        let columns: Vec<&str> = table.columns.iter().map(|column| expression(table.name, column)).collect();
        let sql = format!(
            "SELECT {} FROM {} ORDER BY {} LIMIT -1 OFFSET ?1",
            columns.join(", "),
            table.name,
            table.key
        );
        let mut query = self.conn.prepare(&sql)?;
        let mut rows = query.query([skip])?;
        while let Some(row) = rows.next()? {
            let values = table.columns.iter().enumerate().map(|(at, column)| {
                value(column, row.get_ref(at)?).map_err(|what| {
                    let place = row.get_ref(0).map(|first| format!("{first:?}")).unwrap_or_default();
                    inconsistent(table.name, place, format!("{column} {what}"))
                })
            });
            if !take(values.collect::<Result<Row, Fault>>()?) {
                break;
            }
        }
        Ok(())
    }
}

/// What a column is selected by. Where it says it in another form than other stores: as they have it.
fn expression(table: &str, column: &'static str) -> &'static str {
    match (table, column) {
        ("message", "endpoints" | "seqs") => "fanout",
        ("attempt", "url") => "(SELECT url.url FROM url WHERE url.no = attempt.url)",
        // Where the queue begins; retention removed something up to `trimmed_seq`, but not everything.
        ("endpoint", "begin_seq") => {
            "min(trimmed_seq, ifnull((SELECT min(key) FROM delivery
                 WHERE key BETWEEN endpoint.no << 40 AND (endpoint.no << 40) + endpoint.trimmed_seq)
                 - (endpoint.no << 40) - 1, trimmed_seq))"
        }
        _ => column,
    }
}

/// A value as other stores have it; or what is wrong with it.
fn value(column: &str, value: ValueRef<'_>) -> Result<Value, String> {
    match (column, value) {
        ("endpoints" | "seqs", ValueRef::Blob(fanout)) => {
            let pairs = codec::to_fanout(fanout).ok_or("is cut")?;
            let number = |(endpoint, seq): (pushpull_domain::EndpointNo, pushpull_domain::Seq)| {
                if column == "seqs" { seq.0.cast_signed() } else { i64::from(endpoint.0) }
            };
            Ok(Value::Ints(pairs.into_iter().map(number).collect()))
        }
        (_, ValueRef::Null) => Ok(Value::Null),
        (_, ValueRef::Integer(number)) => Ok(Value::Int(number)),
        (_, ValueRef::Text(text)) => {
            let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
            // Texts of PostgreSQL hold no NUL.
            Ok(Value::Text(if text.contains('\0') {
                text.replace('\0', "\u{fffd}")
            } else {
                text.to_owned()
            }))
        }
        (_, ValueRef::Blob(bytes)) => Ok(Value::Bytes(bytes.to_vec())),
        (_, ValueRef::Real(number)) => Err(format!("is {number}")),
    }
}

#[cfg(test)]
mod tests {
    use pushpull_store::transfer::TABLES;

    use super::*;

    /// What is kept in another form, or is this store's own.
    const NOT_MOVED: [&str; 4] = ["schema_version", "setting", "url", "sqlite_sequence"];
    const COLUMNS_NOT_MOVED: [&str; 2] = ["message.fanout", "consumer_item.state"];

    #[test]
    fn no_table_and_no_column_is_left_behind() {
        let mut conn = Connection::open_in_memory().unwrap();
        migrate::run(&mut conn).unwrap();
        let mut query = conn
            .prepare(
                "SELECT t.name, c.name FROM pragma_table_list t JOIN pragma_table_info(t.name) c
                 WHERE t.schema = 'main' AND t.type = 'table' AND t.name <> 'sqlite_schema'",
            )
            .unwrap();
        let columns = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)));
        let mut moved = 0;
        for (table, column) in columns.unwrap().map(Result::unwrap) {
            if NOT_MOVED.contains(&&*table) {
                continue;
            }
            let listed = TABLES.iter().find(|listed| listed.name == table);
            let listed = listed.unwrap_or_else(|| panic!("{table} is not moved"));
            let name = format!("{table}.{column}");
            let is_moved = listed.columns.contains(&&*column) || COLUMNS_NOT_MOVED.contains(&&*name);
            assert!(is_moved, "{name} is not moved");
            moved += 1;
        }
        assert!(moved > 100, "{moved}");
    }

    #[test]
    fn a_value_that_fits_no_other_store_is_named() {
        assert_eq!(value("seqs", ValueRef::Blob(&[0x80])), Err("is cut".to_owned()));
        assert_eq!(value("detail", ValueRef::Text(b"a\0b")), Ok(Value::Text("a\u{fffd}b".to_owned())));
        assert!(value("name", ValueRef::Text(b"\xff")).is_err());
        assert_eq!(value("no", ValueRef::Real(0.5)), Err("is 0.5".to_owned()));
    }
}
