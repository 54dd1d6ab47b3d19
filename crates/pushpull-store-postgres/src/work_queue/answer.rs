//! Answering for items.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use pushpull_domain::{Holder, Seq, Timestamp};
use pushpull_store::{Answered, Answers, ConsumerKey, Nack, Refused};

use super::items::{self, Changes, Item};
use crate::{Db, consumer_rows::lock, consumers::Outcome};

pub(super) async fn answer(db: &Arc<Db>, key: &ConsumerKey, answers: &Answers) -> Outcome<Answered> {
    let tx = db.begin().await?;
    let Some(consumer) = lock(&tx, key).await? else { return Ok(Err(Refused::Gone)) };
    let nacked = answers.nack.iter().map(|(seq, _)| *seq);
    let not_done: Vec<Seq> = nacked.chain(answers.extend.iter().map(|(seq, _)| *seq)).collect();
    if answers.ack.iter().chain(&not_done).any(|seq| *seq > consumer.handed) {
        return Ok(Err(Refused::Ahead(consumer.handed)));
    }
    if let Some(held) = consumer.lease_at(tx.wall) {
        return Ok(Err(Refused::Held(held.clone())));
    }
    let mut answering = Answering {
        now: tx.wall,
        holder: answers.holder.as_ref(),
        max_deliver: consumer.settings.max_deliver,
        undone: items::find(&tx, key, &not_done).await?,
        changes: Changes::default(),
        lost: Vec::new(),
    };
    answering.all(answers);
    let Answering { changes, lost, .. } = answering;
    // What a stream was handed has no rows either, and is not done for that.
    let moves = consumer.lease.is_none();
    let (consumer, _) = items::write(&tx, consumer, moves, &changes).await?;
    tx.commit().await?;
    Ok(Ok(Answered { committed: consumer.committed, lost }))
}

/// Answers while they are gone through: a later one finds what an earlier one made of the same item.
struct Answering<'a> {
    now: Timestamp,
    /// Who answers, if it says so.
    holder: Option<&'a Holder>,
    max_deliver: u32,
    /// The items that are not done of those that are answered for.
    undone: BTreeMap<Seq, Item>,
    changes: Changes,
    lost: Vec<Seq>,
}

impl Answering<'_> {
    fn all(&mut self, answers: &Answers) {
        for seq in &answers.ack {
            self.done(*seq);
        }
        for (seq, nack) in &answers.nack {
            let Some(item) = self.in_hands(*seq) else { continue };
            let often = self.max_deliver > 0 && item.delivered >= self.max_deliver;
            match nack {
                Nack::Retry(delay) if !often => self.put_off(*seq, item, *delay, None),
                Nack::Retry(_) | Nack::Park => self.keep(*seq, item.parked()),
                Nack::Skip => self.done(*seq),
            }
        }
        for (seq, lease) in &answers.extend {
            if let Some(item) = self.in_hands(*seq) {
                self.put_off(*seq, item, *lease, self.holder.cloned());
            }
        }
    }

    /// An item that is in the hands of who answers; one that is not, or is done or parked, is lost.
    fn in_hands(&mut self, seq: Seq) -> Option<Item> {
        let item = self.undone.get(&seq);
        let held = item.filter(|item| item.due_at.is_some() && item.holder.as_ref() == self.holder).cloned();
        if held.is_none() {
            self.lost.push(seq);
        }
        held
    }

    /// An item comes back after a while, and until then is in these hands.
    fn put_off(&mut self, seq: Seq, item: Item, wait: Duration, holder: Option<Holder>) {
        self.keep(seq, Item { due_at: Some(self.now.after(wait)), holder, ..item });
    }

    fn keep(&mut self, seq: Seq, item: Item) {
        self.undone.insert(seq, item.clone());
        self.changes.keep(seq, item);
    }

    fn done(&mut self, seq: Seq) {
        self.undone.remove(&seq);
        self.changes.done(seq);
    }
}
