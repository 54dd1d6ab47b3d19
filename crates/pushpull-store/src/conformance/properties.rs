//! What holds for any input.

use std::{collections::HashSet, sync::Arc};

use proptest::{
    collection::{hash_set, vec},
    option,
    prelude::{Strategy, any},
    test_runner::{Config, TestRunner},
};
use pushpull_domain::{App, Message, NewMessage, Position};

use super::fixture::{Maker, World, check_pages, event_type, message};
use crate::{Append, Appended, Idempotency, MessageFilter, Order, PageQuery, Target};

/// Inputs tried. Each is some dozens of transactions.
const CASES: u32 = 24;

/// Tries a test with many inputs.
pub(super) fn check<S: Strategy>(strategy: S, test: impl AsyncFn(S::Value)) {
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let runtime = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| {
        TestRunner::new(config)
            .run(&strategy, |input| {
                runtime.block_on(test(input));
                Ok(())
            })
            .unwrap();
    });
}

async fn app(world: &World, n: &mut u32) -> App {
    *n += 1;
    world.app(&format!("app-{n}")).await
}

/// A message as the model of a list sees it: its type, channels and tags as sets, and a while before it.
type Described = (u8, u8, u8, u8);

fn described((kind, channels, tags, _): Described) -> NewMessage {
    let bits = |set: u8| (0..3).filter(move |bit| set & (1 << bit) != 0);
    NewMessage {
        event_type: event_type(&format!("type-{}", kind % 4)),
        channels: bits(channels).map(|bit| format!("c{bit}").parse().unwrap()).collect(),
        tags: bits(tags).map(|bit| format!("t{bit}").parse().unwrap()).collect(),
        ..message("x")
    }
}

/// A list shows just what its filter says, in order, on pages of every size, both ways.
pub async fn a_list_is_what_its_filter_says(maker: &impl Maker) {
    let world = World::new(maker).await;
    let count = std::cell::Cell::new(0);
    let filters = (
        hash_set(0_u8..5, 0..3),
        option::of(0_u8..4),
        option::of(0_u8..4),
        option::of(0_usize..20),
        option::of(0_usize..20),
    );
    let messages = vec((any::<u8>(), any::<u8>(), any::<u8>(), 0_u8..3), 1..16);
    check((messages, vec(filters, 1..4)), async |(messages, filters)| {
        let mut n = count.get();
        let app = app(&world, &mut n).await;
        count.set(n);
        let mut sent = Vec::new();
        for message in messages {
            world.clock.advance(std::time::Duration::from_millis(message.3.into()));
            sent.push(world.publish(&app, described(message)).await);
        }
        for (types, channel, tag, before, after) in filters {
            let time = |n: Option<usize>| n.map(|n| sent[n % sent.len()].created_at);
            let filter = MessageFilter {
                event_types: types.iter().map(|n| event_type(&format!("type-{n}"))).collect(),
                channel: channel.map(|n| format!("c{n}").parse().unwrap()),
                tag: tag.map(|n| format!("t{n}").parse().unwrap()),
                before: time(before),
                after: time(after),
            };
            let expected: Vec<Position> =
                sent.iter().filter(|m| is_shown(m, &filter)).map(|m| m.key.position).collect();
            let read = async |page| world.store.messages(app.no, filter.clone(), page).await.unwrap();
            check_pages(&expected, |m: &Arc<Message>| m.key.position, read).await;
        }
    });
}

/// What [`MessageFilter`] says, told another way.
fn is_shown(message: &Message, filter: &MessageFilter) -> bool {
    let of_type =
        filter.event_types.is_empty() || filter.event_types.iter().any(|t| *t == message.event_type);
    let in_channel = filter.channel.iter().all(|c| message.channels.iter().any(|other| c == other));
    let with_tag = filter.tag.iter().all(|t| message.tags.iter().any(|other| t == other));
    let in_time = filter.before.iter().all(|at| message.created_at < *at)
        && filter.after.iter().all(|at| message.created_at > *at);
    of_type && in_channel && with_tag && in_time
}

/// Something that is asked of an application, of which some is refused.
#[derive(Clone, Debug)]
enum Step {
    /// Appends so many at once, to so many of the endpoints.
    Append { together: u8, targets: u8 },
    /// The same, matched against an older version.
    Stale,
    /// Appends with one of a few event ids.
    EventId(u8),
    /// Appends with one of a few idempotency keys.
    Key(u8),
    /// Makes an endpoint.
    Configure,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = proptest::prop_oneof![
        4 => (1_u8..20, 0_u8..4).prop_map(|(together, targets)| Step::Append { together, targets }),
        1 => proptest::strategy::Just(Step::Stale),
        2 => (0_u8..3).prop_map(Step::EventId),
        2 => (0_u8..3).prop_map(Step::Key),
        1 => proptest::strategy::Just(Step::Configure),
    ];
    vec(step, 1..25)
}

/// Whatever is refused on the way, positions are dense and in the order of commits, each endpoint's seqs are
/// dense, and a reader that follows the cursor sees what was stored, once, in order.
pub async fn positions_are_dense_whatever_is_refused(maker: &impl Maker) {
    let world = World::new(maker).await;
    let count = std::cell::Cell::new(0);
    check(steps(), async |steps| {
        let mut n = count.get();
        let app = app(&world, &mut n).await;
        count.set(n);
        let (mut stored, mut seen) = (0, Vec::new());
        for step in steps {
            stored += apply(&world, &app, step).await;
            let beyond = seen.last().map(|m: &Arc<Message>| m.key.position);
            let page = PageQuery { beyond, backwards: false, order: Order::Ascending, limit: 250 };
            seen.extend(world.store.messages(app.no, MessageFilter::default(), page).await.unwrap().items);
        }
        let positions: Vec<u64> = seen.iter().map(|m| m.key.position.0).collect();
        assert_eq!(positions, (1..=stored).collect::<Vec<_>>());
        for endpoint in &world.snapshot(&app).await.endpoints {
            let seqs: Vec<u64> = seen
                .iter()
                .flat_map(|m| &m.fanout)
                .filter(|(no, _)| *no == endpoint.no)
                .map(|(_, seq)| seq.0)
                .collect();
            assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
        }
        let ids: HashSet<_> = seen.iter().map(|m| m.id).collect();
        assert_eq!(ids.len(), seen.len());
    });
}

/// Does a step; how many messages it stored.
async fn apply(world: &World, app: &App, step: Step) -> u64 {
    let snapshot = world.snapshot(app).await;
    let targets = |count: u8| {
        let targets = snapshot.endpoints.iter().take(count.into());
        targets.map(|endpoint| Target { endpoint: endpoint.no, pushed: true }).collect::<Vec<_>>()
    };
    let append = |targets| Append {
        app: app.no,
        version: snapshot.version,
        message: message("x"),
        targets,
        idempotency: None,
    };
    let appends = match step {
        Step::Append { together, targets: count } => (0..together).map(|_| append(targets(count))).collect(),
        Step::Stale => vec![Append { version: snapshot.version - 1, ..append(targets(9)) }],
        Step::EventId(n) => {
            let event_id = Some(format!("evt-{n}").parse().unwrap());
            vec![Append { message: NewMessage { event_id, ..message("x") }, ..append(targets(9)) }]
        }
        Step::Key(n) => {
            let idempotency = Some(Idempotency { key: format!("key-{n}").into(), request_hash: [0; 32] });
            vec![Append { idempotency, ..append(targets(9)) }]
        }
        Step::Configure => {
            world.endpoint(app).await;
            Vec::new()
        }
    };
    let appended =
        futures_util::future::join_all(appends.into_iter().map(|append| world.store.append(append))).await;
    appended.into_iter().filter(|a| matches!(a.as_ref().unwrap(), Appended::Stored(_))).count() as u64
}
