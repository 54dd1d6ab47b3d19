//! What the writers and the readers wrote down, compared.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    time::Duration,
};

use pushpull_domain::MessageId;
use tokio::time::Instant;

use super::{notes::Notes, writers::Written};

/// All that is known.
pub(crate) struct Books {
    pub(crate) written: Vec<Written>,
    pub(crate) notes: Vec<Notes>,
    /// How long messages were kept, if any were removed.
    pub(crate) retention: Option<Duration>,
}

/// What a reader came to.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) who: &'static str,
    seen: usize,
    /// Items that came again.
    again: usize,
    /// Messages that it was told are gone. To a work queue also those between that it had done.
    pub(crate) missed: usize,
}

/// What the comparison came to.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) written: usize,
    /// Items that came to a consumer again.
    pub(crate) again: usize,
    pub(crate) readers: Vec<Reader>,
    wrong: BTreeMap<String, (usize, String)>,
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} acknowledged", self.written)?;
        for Reader { who, seen, again, missed } in &self.readers {
            writeln!(f, "  {who}: {seen} seen, {again} times again, {missed} told of as gone")?;
        }
        write!(f, "wrong: {:?}", self.wrong)
    }
}

impl Findings {
    /// What must not be, each with how often it is and an example.
    pub(crate) fn wrong(&self) -> Vec<String> {
        self.wrong.iter().map(|(what, (times, example))| format!("{what}: {times}, as {example}")).collect()
    }

    fn note(&mut self, who: &str, what: &str, example: impl fmt::Display) {
        let noted = self.wrong.entry(format!("{who}: {what}")).or_insert_with(|| (0, example.to_string()));
        noted.0 += 1;
    }
}

impl Books {
    pub(crate) fn check(mut self) -> Findings {
        let mut findings = Findings { written: self.written.len(), ..Findings::default() };
        self.written.sort_by_key(Written::position);
        for (written, position) in self.written.iter().zip(1..) {
            if written.position() != position {
                findings.note("writers", "a position that is not the next", &written.id);
            }
        }
        for notes in &self.notes {
            self.check_reader(notes, &mut findings);
        }
        findings
    }

    fn check_reader(&self, notes: &Notes, findings: &mut Findings) {
        let who = notes.who;
        for fault in &notes.faults {
            findings.note(who, "saw what must not be", fault);
        }
        // The queue, as it must be: by seq, from 1.
        let queue: Vec<&Written> =
            self.written.iter().filter(|written| notes.is_pulled || written.is_paid).collect();
        let by_id: HashMap<&str, (u64, &Written)> =
            queue.iter().zip(1..).map(|(written, seq)| (&*written.id, (seq, *written))).collect();
        for (seq, seen) in &notes.seen {
            match by_id.get(&*seen.id) {
                None => findings.note(who, "never acknowledged, or not of this queue", &seen.id),
                Some((place, _)) if place != seq => findings.note(who, "in another place", &seen.id),
                Some((_, written)) if written.hash != seen.hash => {
                    findings.note(who, "other bytes", &seen.id);
                }
                Some((_, written)) if written.position() != seen.position => {
                    findings.note(who, "another position", &seen.id);
                }
                Some(_) => {}
            }
        }
        let missed = self.check_missed(notes, &queue, findings);
        findings.again += notes.again;
        findings.readers.push(Reader { who, seen: notes.seen.len(), again: notes.again, missed });
    }

    /// What was not seen was marked; what was marked was old enough to be removed. How many that is.
    fn check_missed(&self, notes: &Notes, queue: &[&Written], findings: &mut Findings) -> usize {
        let who = notes.who;
        let mut told: HashMap<u64, Instant> = HashMap::new();
        for (gap, at) in &notes.gaps {
            if self.retention.is_none() || gap.until > queue.len() as u64 {
                findings.note(who, "a gap where there is none", format!("{gap:?} of {}", queue.len()));
                continue;
            }
            for seq in gap.from..=gap.until {
                told.entry(seq).and_modify(|first| *first = (*first).min(*at)).or_insert(*at);
            }
        }
        let seen: HashSet<&str> = notes.seen.values().map(|seen| &*seen.id).collect();
        for (written, seq) in queue.iter().zip(1..) {
            match told.get(&seq) {
                Some(at) if *at < written.at + self.retention.unwrap_or_default() => {
                    findings.note(who, "told that it is gone while it was kept", &written.id);
                }
                None if !seen.contains(&*written.id) => {
                    findings.note(who, "acknowledged and lost", format!("seq {seq}, {}", written.id));
                }
                Some(_) | None => {}
            }
        }
        told.len()
    }
}

impl Written {
    /// The position that its id holds.
    fn position(&self) -> u64 {
        self.id.parse::<MessageId>().expect("a message's id").number()
    }
}
