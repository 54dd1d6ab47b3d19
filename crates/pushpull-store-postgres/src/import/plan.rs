//! What is known of a store before it is moved.

use std::collections::BTreeSet;

use pushpull_domain::seal;
use pushpull_store::transfer::{Row, TABLES, Table, Value};

use super::{
    days::Days,
    figures::{Figures, Sums},
};

/// What is known of a store before it is moved: on which days its rows lie, and what it is compared by afterwards.
#[derive(Debug)]
pub struct Plan {
    pub(super) days: Days,
    pub(super) sums: Vec<Sums>,
    sealed_with: BTreeSet<u32>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            days: Days::default(),
            sums: TABLES.iter().map(|_| Sums::default()).collect(),
            sealed_with: BTreeSet::new(),
        }
    }
}

impl Plan {
    /// Looks at a row: of each of [`TABLES`], in their order, each row in the order of its key.
    pub fn add(&mut self, table: &'static Table, row: &Row) {
        let at = TABLES.iter().position(|other| other.name == table.name);
        let sums = at.and_then(|at| self.sums.get_mut(at)).expect("it is one of these tables");
        sums.add(table, row);
        let value = |column| row[table.column(column)].as_int().unwrap_or_default();
        match table.name {
            "message" => self.days.message(value("key"), value("created_at")),
            "delivery" => self.days.delivery(value("key"), value("message")),
            "attempt" => self.days.attempt(value("key"), value("started_at"), value("seq")),
            "endpoint" => self.sealed(table, row, &["headers", "secrets"]),
            "api_key" => self.sealed(table, row, &["token"]),
            _ => {}
        }
    }

    fn sealed(&mut self, table: &Table, row: &Row, columns: &[&str]) {
        let sealed = columns.iter().filter_map(|column| match &row[table.column(column)] {
            Value::Bytes(bytes) => seal::sealed_with(bytes),
            _ => None,
        });
        self.sealed_with.extend(sealed);
    }

    /// The ids of the master keys that something is sealed with.
    pub fn sealed_with(&self) -> &BTreeSet<u32> {
        &self.sealed_with
    }

    /// How many rows a table has.
    pub fn rows(&self, table: &Table) -> u64 {
        let at = TABLES.iter().position(|other| other.name == table.name);
        at.map_or(0, |at| self.sums[at].rows())
    }

    /// What the store is compared by.
    pub fn figures(&self) -> Figures {
        Figures::of(&self.sums)
    }
}
