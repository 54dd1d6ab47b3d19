//! A consumer as a work queue: many workers take items, and answer for each.

use std::time::Duration;

use pushpull_domain::Seq;
use pushpull_store::{Answered, Answers, Gap, Refused, Take, Taken};

use crate::{
    ConsumeError, Feed, Reader,
    consumer::{PASSES_MAX, TRIES_MAX},
    waiting::Waiting,
};

/// How often a worker that waits looks again when as many items are out as may be: nobody is told of each answer.
const FULL_WAIT: Duration = Duration::from_secs(1);

impl Feed {
    /// Takes items, or waits so long for the first. The consumer is made if there is none. Nothing is taken although
    /// there may be more (`more`): so much was passed over that it is for the next call to go on.
    pub async fn pull(&self, reader: &Reader, take: &Take, wait: Duration) -> Result<Taken, ConsumeError> {
        let mut waiting = Waiting::new(self, (reader.app, reader.endpoint), wait);
        let (mut gap, mut tries, mut passes) = (None::<Gap>, 0, 0);
        loop {
            let endpoint = self.endpoint_of(reader).await?;
            self.find_or_make(reader, None).await?;
            // Before the look: what joins the queue after this ends the wait.
            let last = self.ends(reader.endpoint).await?.last;
            let mut taken = match self.log.store().take(reader.key(), take.clone()).await? {
                Ok(taken) => taken,
                // Removed since it was found: made anew, or, with its endpoint, gone.
                Err(Refused::Gone) if tries < TRIES_MAX => {
                    tries += 1;
                    continue;
                }
                Err(refused) => return Err(refused.into()),
            };
            // Told of once, it is said, though another may end it meanwhile by what it has in hand.
            gap = match (gap, taken.gap) {
                (Some(told), Some(now)) => Some(Gap { from: told.from, until: now.until }),
                (told, now) => told.or(now),
            };
            taken.gap = gap;
            passes += 1;
            let goes_on = taken.gap.is_none() && passes < PASSES_MAX;
            // A gap alone ends no wait, or who waits would be told of it without end.
            if !taken.items.is_empty() || (taken.more && !goes_on) {
                return Ok(taken);
            }
            if taken.more {
                // Everything that was looked at was passed over.
                continue;
            }
            passes = 0;
            let now = reader.clock.now();
            let next =
                [taken.next_due_at, endpoint.drains_until()].into_iter().flatten().filter(|at| *at > now);
            let full = taken.full.then_some(FULL_WAIT);
            let at_most = next.map(|at| at.since(now)).chain(full).min();
            if !waiting.more(last, at_most).await {
                return Ok(taken);
            }
        }
    }

    /// Answers for items.
    pub async fn answer(&self, reader: &Reader, answers: Answers) -> Result<Answered, ConsumeError> {
        let some_come_back = !answers.nack.is_empty();
        let answered = self.log.store().answer(reader.key(), answers).await??;
        if some_come_back {
            self.news.look_again(reader.endpoint);
        }
        Ok(answered)
    }

    /// Puts parked items back (`None`: all); how many.
    pub async fn replay(&self, reader: &Reader, only: Option<Vec<Seq>>) -> Result<u64, ConsumeError> {
        let replayed = self.log.store().replay(reader.key(), only).await??;
        self.news.look_again(reader.endpoint);
        Ok(replayed)
    }
}
