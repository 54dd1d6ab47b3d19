//! What two stores are compared by: of each table how many rows, of each column how many are set and what they sum up
//! to; the greatest place of each log and queue; and the ledger.

use std::collections::BTreeMap;

use pushpull_store::{
    codec,
    transfer::{Row, TABLES, Table, Value},
};
use tokio_postgres::types::Type;

use crate::{fault::Fault, pool::Conn};

/// Figures by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures(BTreeMap<String, i128>);

/// Tables whose keys are a number and a place.
const PLACED: [&str; 3] = ["message", "delivery", "attempt"];

impl Figures {
    /// One of them; 0 if there is none of this name.
    fn get(&self, name: &str) -> i128 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// How many deliveries are in a state.
    pub fn deliveries_in(&self, state: i64) -> i128 {
        self.get(&state_name(state))
    }

    /// How many there are of these.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// What differs from others, if anything does: the first few, in words.
    pub fn differences(&self, other: &Self) -> Option<String> {
        const SHOWN_MAX: usize = 8;
        let names = self.0.keys().chain(other.0.keys().filter(|name| !self.0.contains_key(*name)));
        let mut differing: Vec<&String> = names.filter(|name| self.get(name) != other.get(name)).collect();
        // How many rows there are says most.
        differing.sort_by_key(|name| !name.ends_with(" rows"));
        let more = differing.len().saturating_sub(SHOWN_MAX);
        let shown: Vec<String> = differing
            .iter()
            .take(SHOWN_MAX)
            .map(|name| format!("{name}: {} and {}", self.get(name), other.get(name)))
            .collect();
        let shown = shown.join("; ");
        match more {
            _ if differing.is_empty() => None,
            0 => Some(shown),
            _ => Some(format!("{shown}; and {more} more")),
        }
    }

    /// As it is written down.
    pub(super) fn to_text(&self) -> String {
        self.0.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("\n")
    }

    pub(super) fn from_text(text: &str) -> Self {
        let lines = text.lines().filter_map(|line| line.rsplit_once('='));
        Self(lines.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect())
    }

    /// Of rows that were read here.
    pub(super) fn of(tables: &[Sums]) -> Self {
        let mut figures = BTreeMap::new();
        for (table, sums) in TABLES.iter().zip(tables) {
            figures.insert(format!("{} rows", table.name), sums.rows);
            for (column, (set, sum)) in table.columns.iter().zip(&sums.columns) {
                figures.insert(set_name(table, column), *set);
                figures.insert(sum_name(table, column), *sum);
            }
            if PLACED.contains(&table.name) {
                let last = sums.last.map_or(0, i128::from);
                figures.insert(greatest_name(table), sums.greatest + last);
            }
            for (state, count) in &sums.states {
                figures.insert(state_name(*state), *count);
            }
        }
        Self(figures)
    }

    /// Of what is in the database.
    pub(super) async fn read(conn: &Conn, mut each: impl FnMut(&'static str)) -> Result<Self, Fault> {
        let mut figures = BTreeMap::new();
        for table in TABLES {
            each(table.name);
            sum_up(conn, table, &mut figures).await?;
        }
        for row in
            conn.query("SELECT state::bigint, count(*)::text FROM delivery GROUP BY state", &[]).await?
        {
            figures.insert(state_name(row.get(0)), number(row.get(1)));
        }
        Ok(Self(figures))
    }
}

fn set_name(table: &Table, column: &str) -> String {
    format!("{}.{column} set", table.name)
}

fn sum_name(table: &Table, column: &str) -> String {
    format!("{}.{column} sum", table.name)
}

fn greatest_name(table: &Table) -> String {
    format!("{} greatest places", table.name)
}

fn state_name(state: i64) -> String {
    format!("delivery in state {state}")
}

fn number(text: Option<&str>) -> i128 {
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// The figures of one table, in one pass over it.
async fn sum_up(conn: &Conn, table: &Table, figures: &mut BTreeMap<String, i128>) -> Result<(), Fault> {
    let types = conn.prepare(&format!("SELECT {} FROM {}", table.columns.join(", "), table.name)).await?;
    let mut wanted = vec!["count(*)::text".to_owned()];
    for column in types.columns() {
        let name = column.name();
        let what = match *column.type_() {
            Type::TEXT | Type::BYTEA => format!("octet_length({name})"),
            Type::BOOL => format!("{name}::integer"),
            Type::INT4_ARRAY | Type::INT8_ARRAY => {
                format!("(SELECT sum(one) FROM unnest({name}) AS list (one))")
            }
            _ => name.to_owned(),
        };
        wanted.push(format!("count({name})::text, sum({what})::text"));
    }
    let row = conn.query_one(&format!("SELECT {} FROM {}", wanted.join(", "), table.name), &[]).await?;
    figures.insert(format!("{} rows", table.name), number(row.get(0)));
    for (at, column) in table.columns.iter().enumerate() {
        figures.insert(set_name(table, column), number(row.get(1 + 2 * at)));
        figures.insert(sum_name(table, column), number(row.get(2 + 2 * at)));
    }
    if PLACED.contains(&table.name) {
        let sql = format!(
            "SELECT sum(greatest)::text FROM (SELECT max(key) AS greatest FROM {} GROUP BY key >> 40) AS places",
            table.name
        );
        figures.insert(greatest_name(table), number(conn.query_one(&sql, &[]).await?.get(0)));
    }
    Ok(())
}

/// The figures of one table, row by row.
#[derive(Debug, Default)]
pub(super) struct Sums {
    rows: i128,
    columns: Vec<(i128, i128)>,
    states: BTreeMap<i64, i128>,
    greatest: i128,
    last: Option<i64>,
}

impl Sums {
    pub(super) fn rows(&self) -> u64 {
        self.rows as u64
    }

    pub(super) fn add(&mut self, table: &Table, row: &Row) {
        self.rows += 1;
        self.columns.resize(row.len(), (0, 0));
        for ((set, sum), value) in self.columns.iter_mut().zip(row) {
            *set += i128::from(*value != Value::Null);
            *sum += match value {
                Value::Null => 0,
                Value::Int(number) => i128::from(*number),
                Value::Text(text) => text.len() as i128,
                Value::Bytes(bytes) => bytes.len() as i128,
                Value::Ints(numbers) => numbers.iter().copied().map(i128::from).sum(),
            };
        }
        if PLACED.contains(&table.name) {
            let key = row[0].as_int().unwrap_or_default();
            if let Some(last) = self.last.filter(|last| codec::no(*last) != codec::no(key)) {
                self.greatest += i128::from(last);
            }
            self.last = Some(key);
        }
        if table.name == "delivery" {
            let state = row[table.column("state")].as_int().unwrap_or(-1);
            *self.states.entry(state).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_said_by_name_and_what_is_written_down_is_read_again() {
        let delivery = TABLES.iter().find(|table| table.name == "delivery").unwrap();
        let figures = |states: &[i64]| {
            let mut tables: Vec<Sums> = TABLES.iter().map(|_| Sums::default()).collect();
            let at = TABLES.iter().position(|table| table.name == "delivery").unwrap();
            for (n, state) in (1..).zip(states) {
                let row = vec![Value::Int(n), Value::Int(0), Value::Null, Value::Int(*state)];
                tables[at].add(delivery, &row);
            }
            Figures::of(&tables)
        };
        let (one, other) = (figures(&[0, 1]), figures(&[0, 2]));
        assert_eq!(one.differences(&figures(&[0, 1])), None);
        assert_eq!(
            one.differences(&other).unwrap(),
            "delivery in state 1: 1 and 0; delivery.state sum: 1 and 2; delivery in state 2: 0 and 1"
        );
        assert_eq!(Figures::from_text(&one.to_text()), one);
    }
}
