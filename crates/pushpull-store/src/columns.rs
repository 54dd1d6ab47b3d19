//! Rows as domain types, in whichever backend they lie: columns by their names, which are the same in all.

mod catalog;
mod consumer;
mod endpoint;

use pushpull_domain::Timestamp;
use serde::{Serialize, de::DeserializeOwned};

pub use catalog::{api_key, app, environment, event_type, poller_token, scope_columns, seal_token};
pub use consumer::{behind, consumer, expired};
pub use endpoint::{endpoint, seal_headers, seal_secrets, state_columns};

use crate::Error;

/// A row. `None`: the column is NULL; a column that there is not, or of another type, is a fault.
pub trait Columns {
    /// How reading fails.
    type Fault: From<Error>;

    /// A column of text.
    fn text(&self, column: &str) -> Result<Option<&str>, Self::Fault>;
    /// A column of whole numbers, however wide.
    fn number(&self, column: &str) -> Result<Option<i64>, Self::Fault>;
    /// A column of truth values.
    fn flag(&self, column: &str) -> Result<Option<bool>, Self::Fault>;
    /// A column of bytes.
    fn bytes(&self, column: &str) -> Result<Option<&[u8]>, Self::Fault>;
}

/// A value as a column of JSON.
pub fn to_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("maps, lists and texts are JSON")
}

/// A row that contradicts its table.
fn inconsistent<F: From<Error>>(
    table: &'static str,
    row: impl std::fmt::Display,
    what: impl std::fmt::Display,
) -> F {
    Error::Inconsistent { table, row: row.to_string(), what: what.to_string() }.into()
}

/// A row of a table, read strictly.
struct RowOf<'r, C> {
    table: &'static str,
    row: &'r C,
}

impl<C: Columns> RowOf<'_, C> {
    fn wrong(&self, row: impl std::fmt::Display, what: impl std::fmt::Display) -> C::Fault {
        inconsistent(self.table, row, what)
    }

    fn there<T>(&self, value: Option<T>, column: &str) -> Result<T, C::Fault> {
        value.ok_or_else(|| self.wrong("-", format_args!("{column} is missing")))
    }

    fn text(&self, column: &str) -> Result<&str, C::Fault> {
        self.there(self.row.text(column)?, column)
    }

    fn flag(&self, column: &str) -> Result<bool, C::Fault> {
        self.there(self.row.flag(column)?, column)
    }

    fn bytes(&self, column: &str) -> Result<&[u8], C::Fault> {
        self.there(self.row.bytes(column)?, column)
    }

    fn number<T: TryFrom<i64>>(&self, column: &str) -> Result<T, C::Fault> {
        self.there(self.optional_number(column)?, column)
    }

    fn optional_number<T: TryFrom<i64>>(&self, column: &str) -> Result<Option<T>, C::Fault> {
        let Some(number) = self.row.number(column)? else { return Ok(None) };
        T::try_from(number).map(Some).map_err(|_| self.wrong(number, format_args!("{column} out of range")))
    }

    fn time(&self, column: &str) -> Result<Timestamp, C::Fault> {
        self.number(column).map(Timestamp::from_millis)
    }

    fn optional_time(&self, column: &str) -> Result<Option<Timestamp>, C::Fault> {
        Ok(self.row.number(column)?.map(Timestamp::from_millis))
    }

    /// A column of text that is a domain type.
    fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(&self, column: &str) -> Result<T, C::Fault> {
        self.there(self.optional(column)?, column)
    }

    fn optional<T: std::str::FromStr<Err: std::fmt::Display>>(
        &self,
        column: &str,
    ) -> Result<Option<T>, C::Fault> {
        let Some(text) = self.row.text(column)? else { return Ok(None) };
        text.parse().map(Some).map_err(|e| self.wrong(text, format_args!("{column}: {e}")))
    }

    /// A column of JSON.
    fn json<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>, C::Fault> {
        let Some(text) = self.row.text(column)? else { return Ok(None) };
        serde_json::from_str(text).map(Some).map_err(|e| self.wrong(column, e))
    }
}
