//! A reader that waits: for what joins the queue, or for what is kept from it meanwhile.

use std::time::Duration;

use pushpull_domain::{AppNo, EndpointNo, Seq};
use tokio::time::Instant;

use crate::{
    Feed,
    news::{Event, Subscription},
};

/// Waits for a change only: no seq is beyond.
pub(crate) const NOTHING_JOINS: Seq = Seq(u64::MAX);

/// A reader that waits, at most until its deadline.
pub(crate) struct Waiting {
    deadline: Instant,
    news: Option<Subscription>,
}

impl Waiting {
    /// To be made before the first look, so that nothing is missed between that and the wait.
    pub(crate) fn new(feed: &Feed, (app, endpoint): (AppNo, EndpointNo), wait: Duration) -> Self {
        let news = if wait.is_zero() { None } else { feed.news.subscribe(app, endpoint) };
        Self { deadline: Instant::now() + wait, news }
    }

    /// Whether it was waited as long as may be.
    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// Waits until something joins the queue after this seq, or is changed, or this long; `false`: it was waited as
    /// long as may be.
    pub(crate) async fn more(&mut self, after: Seq, at_most: Option<Duration>) -> bool {
        if self.is_over() {
            return false;
        }
        let Some(news) = &mut self.news else { return false };
        let until = at_most.map_or(self.deadline, |wait| self.deadline.min(Instant::now() + wait));
        match tokio::time::timeout_at(until, news.after(after)).await {
            Ok(Event::Joined | Event::Changed) => true,
            Ok(Event::Closed) => false,
            Err(_) => !self.is_over(),
        }
    }
}
