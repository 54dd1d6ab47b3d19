//! Rows into a table, in PostgreSQL's binary form.

use std::{error::Error as StdError, pin::pin};

use bytes::BytesMut;
use pushpull_store::transfer::{Row, Table, Value};
use tokio_postgres::{
    binary_copy::BinaryCopyInWriter,
    types::{IsNull, ToSql, Type, to_sql_checked},
};

use super::days::{self, Days};
use crate::{fault::Fault, pool::Conn};

/// Writes rows of a table, each with its days.
pub(super) async fn copy(conn: &Conn, table: &'static Table, rows: &[Row], days: &Days) -> Result<(), Fault> {
    let columns = [table.columns, days::columns(table.name)].concat().join(", ");
    let types = conn.prepare(&format!("SELECT {columns} FROM {}", table.name)).await?;
    let types: Vec<Type> = types.columns().iter().map(|column| column.type_().clone()).collect();
    let copy = conn.prepare(&format!("COPY {} ({columns}) FROM STDIN BINARY", table.name)).await?;
    let mut writer = pin!(BinaryCopyInWriter::new(conn.client().copy_in(&copy).await?, &types));
    for row in rows {
        let optional = |column| row[table.column(column)].as_int();
        let days = days.of(table.name, |column| optional(column).unwrap_or_default(), optional);
        let days: Vec<Value> = days.into_iter().map(days::to_value).collect();
        let cells: Vec<Cell<'_>> = row.iter().chain(&days).map(Cell).collect();
        writer.as_mut().write_raw(cells).await?;
    }
    writer.finish().await?;
    Ok(())
}

/// A value as a column's type has it.
#[derive(Debug)]
struct Cell<'v>(&'v Value);

type Converted = Result<IsNull, Box<dyn StdError + Sync + Send>>;

impl ToSql for Cell<'_> {
    fn to_sql(&self, of: &Type, out: &mut BytesMut) -> Converted {
        match (self.0, of) {
            (Value::Null, _) => Ok(IsNull::Yes),
            (Value::Int(number), &Type::INT2) => i16::try_from(*number)?.to_sql(of, out),
            (Value::Int(number), &Type::INT4) => i32::try_from(*number)?.to_sql(of, out),
            (Value::Int(number), &Type::INT8) => number.to_sql(of, out),
            (Value::Int(number), &Type::BOOL) => (*number != 0).to_sql(of, out),
            (Value::Text(text), &Type::TEXT) => text.to_sql(of, out),
            (Value::Bytes(bytes), &Type::BYTEA) => bytes.to_sql(of, out),
            (Value::Ints(numbers), &Type::INT8_ARRAY) => numbers.to_sql(of, out),
            (Value::Ints(numbers), &Type::INT4_ARRAY) => {
                let numbers: Vec<i32> =
                    numbers.iter().map(|n| i32::try_from(*n)).collect::<Result<_, _>>()?;
                numbers.to_sql(of, out)
            }
            (value, of) => Err(format!("{value:?} does not fit a column of type {of}").into()),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
