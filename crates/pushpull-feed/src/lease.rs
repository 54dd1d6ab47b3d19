//! Reading as a consumer under a lease: what was handed out and not committed comes back when it ends.

use std::time::Duration;

use pushpull_domain::{Endpoint, Holder, Seq, Timestamp};
use pushpull_store::{Consumer, LeaseRequest, Refused};

use crate::{
    ConsumeError, ConsumerPage, Feed, Place, Reader,
    consumer::{PASSES_MAX, TRIES_MAX, nothing},
    waiting::{NOTHING_JOINS, Waiting},
};

/// What is to be handed out, under a lease.
#[derive(Clone, Debug)]
pub struct Receive {
    /// Most items.
    pub limit: usize,
    /// How long they are the reader's.
    pub lease: Duration,
    /// Where a consumer begins that is new; `None`: where the store says.
    pub start: Option<Place>,
    /// Who reads, if it says so.
    pub holder: Option<Holder>,
    /// Longest wait for something to be handed.
    pub wait: Duration,
}

impl Feed {
    /// Hands out what is not committed, under a lease. Nothing while another holds one, which is an error only for
    /// who says its own name.
    pub async fn receive(&self, reader: &Reader, ask: &Receive) -> Result<ConsumerPage, ConsumeError> {
        let mut waiting = Waiting::new(self, (reader.app, reader.endpoint), ask.wait);
        let (mut tries, mut passes) = (0, 0);
        loop {
            let endpoint = self.endpoint_of(reader).await?;
            let consumer = self.find_or_make(reader, ask.start).await?;
            let now = reader.clock.now();
            if let Some(until) = blocked_until(&endpoint, &consumer, ask.holder.as_ref(), now)? {
                if waiting.more(NOTHING_JOINS, Some(until.since(now))).await {
                    continue;
                }
                return Ok(nothing(consumer.committed));
            }
            let reading = reader.reading(&endpoint);
            let (page, gap) = self.look_past_gap(&reading, consumer.committed, ask.limit).await?;
            if page.items.is_empty() {
                if page.reached > consumer.committed && gap.is_none() {
                    self.pass_over(reader, page.reached, ask.holder.clone()).await?;
                }
                passes += 1;
                let goes_on = if page.done {
                    self.touch(reader, &consumer).await?;
                    waiting.more(page.reached, None).await
                } else {
                    gap.is_none() && passes < PASSES_MAX
                };
                if goes_on {
                    continue;
                }
                if gap.is_none() {
                    return Ok(ConsumerPage { page, gap });
                }
            }
            let request = LeaseRequest {
                read: (consumer.committed, consumer.handed),
                // A gap is handed out too: its last seq can be committed, and it is told until it is.
                upto: page.items.last().map_or(page.reached, |item| item.seq),
                holder: ask.holder.clone(),
                lease: ask.lease,
            };
            match self.log.store().lease(reader.key(), request).await? {
                Ok(_) => return Ok(ConsumerPage { page, gap }),
                Err(Refused::Stale | Refused::Held(_) | Refused::Gone) if tries < TRIES_MAX => tries += 1,
                Err(refused) => return Err(refused.into()),
            }
        }
    }

    /// Everything up to an offset was handled.
    pub async fn commit(
        &self,
        reader: &Reader,
        offset: Seq,
        holder: Option<Holder>,
    ) -> Result<Consumer, ConsumeError> {
        let committed = self.log.store().commit(reader.key(), offset, holder, false).await??;
        if committed.lease.is_none() {
            self.news.look_again(reader.endpoint);
        }
        Ok(committed)
    }
}

/// Until when nothing is handed out: another holds a lease, or it is not known yet what a push has brought.
fn blocked_until(
    endpoint: &Endpoint,
    consumer: &Consumer,
    holder: Option<&Holder>,
    now: Timestamp,
) -> Result<Option<Timestamp>, ConsumeError> {
    match consumer.lease_at(now) {
        Some(held) if holder.is_none() => return Ok(Some(held.until)),
        Some(held) if held.holder.as_ref() != holder => return Err(ConsumeError::Held(held.clone())),
        Some(_) | None => {}
    }
    Ok(endpoint.drains_until().filter(|until| *until > now))
}
