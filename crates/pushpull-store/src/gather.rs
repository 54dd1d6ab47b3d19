//! How backends read lists: which way, and how much one page may cost.

use std::collections::HashSet;

use pushpull_domain::{Message, Payload};

use crate::{MessageFilter, Order, Page, PageQuery};

/// Most rows looked at for one page: some ten milliseconds. A filter that hardly anything passes comes back
/// short and goes on with the next request, so that no request holds a reader for long.
pub const LOOKED_MAX: usize = 10_000;
/// Bytes of payloads and answers from which on a page is full: a page of large ones must not be held in memory
/// whole.
pub const BYTES_MAX: usize = 8 * 1024 * 1024;

/// Whether the rows are read from small to large.
pub fn upwards<K>(page: &PageQuery<K>) -> bool {
    (page.order == Order::Ascending) != page.backwards
}

/// How a row of the page compares with the item it begins beyond.
pub fn beyond<K>(page: &PageQuery<K>) -> &'static str {
    if upwards(page) { ">" } else { "<" }
}

/// How the rows are ordered.
pub fn direction<K>(page: &PageQuery<K>) -> &'static str {
    if upwards(page) { "ASC" } else { "DESC" }
}

/// A page of what was found: one more than the limit tells that there is more.
pub fn cut<T, K>(found: Vec<T>, page: &PageQuery<K>) -> Page<T> {
    Gather { found, limit: page.limit, looked: 0, bytes: 0, reached: None }.into_page(page)
}

/// A page while it is gathered.
pub struct Gather<T> {
    found: Vec<T>,
    limit: usize,
    looked: usize,
    bytes: usize,
    reached: Option<u64>,
}

impl<T> Gather<T> {
    /// An empty one.
    pub fn new<K>(page: &PageQuery<K>) -> Self {
        Self { found: Vec::new(), limit: page.limit, looked: 0, bytes: 0, reached: None }
    }

    /// Whether one more row is wanted.
    pub fn goes_on(&self) -> bool {
        self.found.len() <= self.limit && self.reached.is_none()
    }

    /// The row at this place was looked at; what it is, if it is shown, and how many bytes that holds.
    pub fn looked(&mut self, place: u64, shown: Option<(T, usize)>) {
        self.looked += 1;
        if let Some((item, bytes)) = shown {
            self.found.push(item);
            self.bytes += bytes;
        }
        if self.found.len() <= self.limit && (self.looked >= LOOKED_MAX || self.bytes >= BYTES_MAX) {
            self.reached = Some(place);
        }
    }

    /// The page, in the list's order.
    pub fn into_page<K>(mut self, page: &PageQuery<K>) -> Page<T> {
        let done = self.found.len() <= page.limit && self.reached.is_none();
        self.found.truncate(page.limit);
        if page.backwards {
            self.found.reverse();
        }
        Page { items: self.found, done, reached: self.reached }
    }
}

/// A filter of messages, as rows are held against it before anything is made of them. Times are not looked at.
pub struct Wanted<'a> {
    types: HashSet<&'a str>,
    channel: Option<&'a str>,
    tag: Option<&'a str>,
}

impl<'a> Wanted<'a> {
    /// What a filter shows.
    pub fn new(filter: &'a MessageFilter) -> Self {
        Self {
            types: filter.event_types.iter().map(|name| &**name).collect(),
            channel: filter.channel.as_deref(),
            tag: filter.tag.as_deref(),
        }
    }

    /// Whether a message with these columns is shown; channels and tags are separated by spaces.
    pub fn shows(&self, event_type: &str, channels: Option<&str>, tags: Option<&str>) -> bool {
        let has = |words: Option<&str>, wanted: Option<&str>| {
            wanted.is_none_or(|wanted| words.is_some_and(|words| words.split(' ').any(|word| word == wanted)))
        };
        (self.types.is_empty() || self.types.contains(event_type))
            && has(channels, self.channel)
            && has(tags, self.tag)
    }
}

/// How many bytes a message holds that count towards a page.
pub fn bytes_of(message: &Message) -> usize {
    match &message.payload {
        Payload::Kept(bytes) => bytes.len(),
        Payload::Expunged => 0,
    }
}
