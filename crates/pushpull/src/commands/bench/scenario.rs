//! What can be measured.

use clap::ValueEnum;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Scenario {
    /// Messages accepted, none to deliver
    Ingest,
    /// Each message delivered to one endpoint
    Deliver,
    /// Each message delivered to ten endpoints
    FanOut,
    /// 47 good endpoints beside one that hangs, one that refuses and one that drips, and without them
    Hostile,
    /// A million deliveries owed: what a healthy endpoint beside them costs, and the start
    Backlog,
    /// Ten thousand applications of two endpoints: memory and start
    Apps,
    /// Messages read back in pages of 250
    List,
    /// An endpoint's queue, read in pages of 250 over one connection
    Pages,
    /// An endpoint's queue, exported as lines of JSON
    Export,
    /// A thousand readers that wait for news, and ten thousand that get none
    LongPoll,
    /// Each message delivered to one endpoint, beside ten readers of other applications and without them
    Readers,
    /// Memory and CPU of a server that nobody calls
    Idle,
    /// The bare ceiling: signed and sent to the receiver, with nothing between
    Ceiling,
    /// All of these, one after the other
    All,
}

impl Scenario {
    /// The main job.
    pub(super) const MAIN: [Self; 3] = [Self::Ingest, Self::Deliver, Self::FanOut];
    /// Every one.
    pub(super) const EACH: [Self; 13] = [
        Self::Ceiling,
        Self::Ingest,
        Self::Deliver,
        Self::FanOut,
        Self::Hostile,
        Self::List,
        Self::Pages,
        Self::Export,
        Self::LongPoll,
        Self::Readers,
        Self::Idle,
        Self::Apps,
        Self::Backlog,
    ];

    /// As it is written.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Deliver => "deliver",
            Self::FanOut => "fan-out",
            Self::Hostile => "hostile",
            Self::Backlog => "backlog",
            Self::Apps => "apps",
            Self::List => "list",
            Self::Pages => "pages",
            Self::Export => "export",
            Self::LongPoll => "long-poll",
            Self::Readers => "readers",
            Self::Idle => "idle",
            Self::Ceiling => "ceiling",
            Self::All => "all",
        }
    }

    /// Whether it can be measured on a server that is given: not if it starts some, or must know their process.
    pub(super) const fn takes_any(self) -> bool {
        match self {
            Self::Ingest
            | Self::Deliver
            | Self::FanOut
            | Self::Hostile
            | Self::List
            | Self::Pages
            | Self::Export
            | Self::Ceiling
            | Self::All => true,
            Self::Backlog | Self::Apps | Self::Idle | Self::LongPoll | Self::Readers => false,
        }
    }

    /// Messages of a run, if nothing is said.
    pub(super) const fn messages(self) -> usize {
        match self {
            Self::Ingest | Self::Deliver | Self::Ceiling | Self::All => 50_000,
            Self::FanOut => 10_000,
            Self::Hostile => 1_000,
            Self::Backlog | Self::List | Self::Pages | Self::Readers => 20_000,
            Self::Export => 1_000_000,
            Self::LongPoll => 2_000,
            Self::Apps | Self::Idle => 0,
        }
    }

    /// Endpoints, if nothing is said; those of `hostile` with the bad ones.
    pub(super) const fn endpoints(self) -> usize {
        match self {
            Self::Deliver | Self::Ceiling | Self::Backlog | Self::Readers | Self::All => 1,
            Self::FanOut => 10,
            Self::Hostile => 50,
            Self::Apps => 2,
            Self::Ingest | Self::List | Self::Pages | Self::Export | Self::LongPoll | Self::Idle => 0,
        }
    }
}
