//! How lists are read: which way, and how much one page may cost.

use std::collections::HashSet;

use pushpull_domain::{Message, Payload};
use pushpull_store::{MessageFilter, Order, Page, PageQuery};
use rusqlite::{CachedStatement, Connection, Row};

use crate::{
    fault::Fault,
    rows::{self, as_text},
};

/// Most rows looked at for one page: some ten milliseconds. A filter that hardly anything passes comes back
/// short and goes on with the next request, so that no request holds a reader for long.
pub(crate) const LOOKED_MAX: usize = 10_000;
/// Bytes of payloads and answers from which on a page is full: a page of large ones must not be held in memory
/// whole.
pub(crate) const BYTES_MAX: usize = 8 * 1024 * 1024;

/// All rows of a query.
pub(crate) fn collect<T>(
    conn: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
    read: impl Fn(&rusqlite::Row<'_>) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let mut query = conn.prepare_cached(sql)?;
    let mut rows = query.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// Whether the rows are read from small to large.
pub(crate) fn upwards<K>(page: &PageQuery<K>) -> bool {
    (page.order == Order::Ascending) != page.backwards
}

pub(crate) fn beyond<K>(page: &PageQuery<K>) -> &'static str {
    if upwards(page) { ">" } else { "<" }
}

pub(crate) fn direction<K>(page: &PageQuery<K>) -> &'static str {
    if upwards(page) { "ASC" } else { "DESC" }
}

/// A page of what was found: one more than the limit tells that there is more.
pub(crate) fn cut<T, K>(found: Vec<T>, page: &PageQuery<K>) -> Page<T> {
    Gather { found, limit: page.limit, looked: 0, bytes: 0, reached: None }.into_page(page)
}

/// A page while it is gathered.
pub(crate) struct Gather<T> {
    found: Vec<T>,
    limit: usize,
    looked: usize,
    bytes: usize,
    reached: Option<u64>,
}

impl<T> Gather<T> {
    pub(crate) fn new<K>(page: &PageQuery<K>) -> Self {
        Self { found: Vec::new(), limit: page.limit, looked: 0, bytes: 0, reached: None }
    }

    /// Whether one more row is wanted.
    pub(crate) fn goes_on(&self) -> bool {
        self.found.len() <= self.limit && self.reached.is_none()
    }

    /// The row at this place was looked at; what it is, if it is shown, and how many bytes that holds.
    pub(crate) fn looked(&mut self, place: u64, shown: Option<(T, usize)>) {
        self.looked += 1;
        if let Some((item, bytes)) = shown {
            self.found.push(item);
            self.bytes += bytes;
        }
        if self.found.len() <= self.limit && (self.looked >= LOOKED_MAX || self.bytes >= BYTES_MAX) {
            self.reached = Some(place);
        }
    }

    pub(crate) fn into_page<K>(mut self, page: &PageQuery<K>) -> Page<T> {
        let done = self.found.len() <= page.limit && self.reached.is_none();
        self.found.truncate(page.limit);
        if page.backwards {
            self.found.reverse();
        }
        Page { items: self.found, done, reached: self.reached }
    }
}

/// A filter of messages, as rows are held against it before anything is made of them.
pub(crate) struct Wanted<'a> {
    types: HashSet<&'a str>,
    channel: Option<&'a str>,
    tag: Option<&'a str>,
}

impl<'a> Wanted<'a> {
    pub(crate) fn new(filter: &'a MessageFilter) -> Self {
        Self {
            types: filter.event_types.iter().map(|name| &**name).collect(),
            channel: filter.channel.as_deref(),
            tag: filter.tag.as_deref(),
        }
    }

    /// The message of a row with the columns of [`rows::MESSAGE`], if it is shown. Its time is not looked at.
    pub(crate) fn message(&self, row: &Row<'_>) -> Result<Option<Message>, Fault> {
        let has = |column, word: Option<&str>| {
            let Some(word) = word else { return Ok(true) };
            as_text(row, column).map(|words| words.is_some_and(|words| words.split(' ').any(|w| w == word)))
        };
        let shown = (self.types.is_empty() || as_text(row, 3)?.is_some_and(|name| self.types.contains(name)))
            && has(4, self.channel)?
            && has(5, self.tag)?;
        if shown { rows::message_row(row).map(Some) } else { Ok(None) }
    }

    /// The message with this key, if it is kept and shown.
    pub(crate) fn message_at(&self, conn: &Connection, key: i64) -> Result<Option<Message>, Fault> {
        self.message_by(&mut conn.prepare_cached(rows::MESSAGE_BY_KEY)?, key)
    }

    /// The same, with the statement [`rows::MESSAGE_BY_KEY`], for who asks for many.
    pub(crate) fn message_by(
        &self,
        query: &mut CachedStatement<'_>,
        key: i64,
    ) -> Result<Option<Message>, Fault> {
        let mut found = query.query([key])?;
        found.next()?.map_or(Ok(None), |row| self.message(row))
    }
}

/// How many bytes a message holds that count towards a page.
pub(crate) fn bytes_of(message: &Message) -> usize {
    match &message.payload {
        Payload::Kept(bytes) => bytes.len(),
        Payload::Expunged => 0,
    }
}
