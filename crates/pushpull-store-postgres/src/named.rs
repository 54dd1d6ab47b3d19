//! Rows by the names of their columns.
//!
//! A query of whole rows names each column: what is prepared as `*` fails once a newer node has added one.

use pushpull_store::columns::Columns;
use tokio_postgres::{
    Row,
    types::{FromSql, Type},
};

use crate::fault::{Fault, inconsistent};

/// A row of which a domain type is made.
pub(crate) struct Named<'r> {
    row: &'r Row,
    /// Where its columns begin: of two tables that are joined, each has its own `id`.
    first: usize,
}

impl<'r> Named<'r> {
    pub(crate) fn new(row: &'r Row) -> Self {
        Self::from(row, 0)
    }

    /// The columns from this one on.
    pub(crate) fn from(row: &'r Row, first: usize) -> Self {
        Self { row, first }
    }

    fn get<'a, T: FromSql<'a>>(&'a self, column: &str) -> Result<T, Fault> {
        let at = self.row.columns()[self.first..].iter().position(|c| c.name() == column);
        let at =
            at.ok_or_else(|| inconsistent("-", "-", format_args!("no column {column} was asked for")))?;
        Ok(self.row.try_get(self.first + at)?)
    }
}

impl Columns for Named<'_> {
    type Fault = Fault;

    fn text(&self, column: &str) -> Result<Option<&str>, Fault> {
        self.get(column)
    }

    fn number(&self, column: &str) -> Result<Option<i64>, Fault> {
        Ok(self.get::<Option<Number>>(column)?.map(|Number(number)| number))
    }

    fn flag(&self, column: &str) -> Result<Option<bool>, Fault> {
        self.get(column)
    }

    fn bytes(&self, column: &str) -> Result<Option<&[u8]>, Fault> {
        self.get(column)
    }
}

/// A whole number of any width.
struct Number(i64);

impl<'a> FromSql<'a> for Number {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(match *ty {
            Type::INT2 => i16::from_sql(ty, raw)?.into(),
            Type::INT4 => i32::from_sql(ty, raw)?.into(),
            _ => i64::from_sql(ty, raw)?,
        }))
    }

    fn accepts(ty: &Type) -> bool {
        matches!(*ty, Type::INT2 | Type::INT4 | Type::INT8)
    }
}
