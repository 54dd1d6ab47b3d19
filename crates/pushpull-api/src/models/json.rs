//! JSON objects written by hand, for answers that carry payloads.
//!
//! A payload is written as it is stored: not parsed again, not copied twice. Everything else goes through
//! serde. Field names are ours and need no escaping; each is written at most once.

use serde::Serialize;

/// An object that is being written into a buffer.
#[must_use = "an object is whole only after `end`"]
pub(crate) struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Object<'a> {
    /// Opens an object.
    pub(crate) fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    /// Writes a field through serde.
    pub(crate) fn field(&mut self, name: &'static str, value: &(impl Serialize + ?Sized)) -> &mut Self {
        write(self.value(name), value);
        self
    }

    /// Writes a field whose value is text that needs no escaping: an id, a name, a time.
    pub(crate) fn plain(&mut self, name: &'static str, value: impl std::fmt::Display) -> &mut Self {
        use std::io::Write;
        write!(self.value(name), "\"{value}\"").expect("a buffer in memory takes everything");
        self
    }

    /// Begins a field; its value is to be written into the buffer next.
    pub(crate) fn value(&mut self, name: &'static str) -> &mut Vec<u8> {
        self.out.extend_from_slice(if self.empty { b"\"" } else { b",\"" });
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.empty = false;
        self.out
    }

    /// Closes the object.
    pub(crate) fn end(self) {
        self.out.push(b'}');
    }
}

/// Writes a value through serde.
pub(crate) fn write(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    serde_json::to_writer(out, value).expect("our own types have no key that is not text");
}

/// Writes a list, one item after the other.
pub(crate) fn write_list<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    mut write_item: impl FnMut(&mut Vec<u8>, T),
) {
    out.push(b'[');
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_item(out, item);
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_written_field_by_field() {
        let mut out = Vec::new();
        let mut object = Object::begin(&mut out);
        object.field("a", "q\"uote").plain("b", 7);
        write_list(object.value("d"), [1, 2], |out, n| write(out, &n));
        object.end();
        assert_eq!(String::from_utf8(out).unwrap(), r#"{"a":"q\"uote","b":"7","d":[1,2]}"#);

        let mut out = Vec::new();
        Object::begin(&mut out).end();
        assert_eq!(out, b"{}");
    }
}
