//! Plain reads: pages that follow the iterator, and the same with a wait.

use tokio::time::Instant;

use super::{
    desk::{Desk, read},
    notes::{Notes, Page},
};

/// Follows the iterator, and looks again soon where there is nothing.
pub(crate) async fn pages(desk: Desk) -> Notes {
    follow(desk, |dice| format!("limit={}", 1 + dice.below(100))).await
}

/// Follows the iterator, and waits for news.
pub(crate) async fn long_poll(desk: Desk) -> Notes {
    follow(desk, |dice| {
        let limit = 1 + dice.below(250);
        format!("limit={limit}&wait={}&min={}", dice.below(4), 1 + dice.below(limit.min(20)))
    })
    .await
}

async fn follow(mut desk: Desk, how: impl Fn(&crate::support::Dice) -> String) -> Notes {
    // A seq, not `earliest`: so retention cannot pass unseen before the first page.
    let mut place = "from=1".to_owned();
    let mut overtaken = false;
    loop {
        let head = desk.head();
        let path = format!("{}?{place}&{}", desk.path(), how(&desk.dice));
        let Some(answer) = desk.get(&path).await else { continue };
        if answer.status == 410 && answer.code() == "iterator_expired" {
            (place, overtaken) = ("from=earliest".into(), true);
            continue;
        }
        let page: Page = read(&answer.expect(200));
        place = format!("iterator={}", page.iterator);
        let is_end = page.data.is_empty();
        for item in page.data {
            note(&mut desk, item, &mut overtaken);
        }
        match head {
            Some(head) if is_end => return end(desk, head, overtaken),
            _ => desk.pause().await,
        }
    }
}

/// Notes the next item; the first after it was told that what comes next is gone says what that was.
pub(super) fn note(desk: &mut Desk, item: super::notes::Item, overtaken: &mut bool) {
    if std::mem::take(overtaken) {
        desk.notes.gap(desk.notes.last + 1, item.seq - 1, Instant::now());
    }
    desk.notes.next(item);
}

/// The reader came to the end.
pub(super) fn end(mut desk: Desk, head: u64, overtaken: bool) -> Notes {
    if overtaken && desk.notes.last < head {
        desk.notes.gap(desk.notes.last + 1, head, Instant::now());
    }
    desk.notes
}
