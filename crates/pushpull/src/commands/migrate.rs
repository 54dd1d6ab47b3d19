//! `pushpull migrate`: an embedded store into PostgreSQL, whole.

mod progress;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use pushpull_domain::seal::MasterKey;
use pushpull_store::transfer::{Row, TABLES, Table, Value};
use pushpull_store_postgres::{Figures, Import, Plan, Source, check_url};
use pushpull_store_sqlite::Export;
use tokio::{sync::mpsc, task::spawn_blocking};

use self::progress::Progress;
use super::Ending;
use crate::{
    config::{Backend, Place, shown},
    datadir::{Lock, master_keys, store_file},
};

/// Bytes of rows that are written in one transaction.
const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// Batches that are read while one is written.
const AHEAD: usize = 1;

const HELP: &str = "\
Example: pushpull migrate --from ./pushpull-data --to postgres://pushpull@db.example.com/pushpull

No server may run on the directory meanwhile. Everything comes along with its ids, positions and places, so that readers \
and iterators go on where they are; the directory itself is left as it is. Cut off, it goes on when it is run again; until \
it has ended the database cannot be served. At the end both sides are compared.";

/// Move the store of a data directory into an empty PostgreSQL database
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Migrate {
    /// The data directory
    #[arg(long, value_name = "DIRECTORY")]
    from: PathBuf,
    #[arg(long, value_name = "URL", help = "The database: postgres://USER:PASSWORD@HOST/DATABASE")]
    to: String,
    /// The file with the master key [default: FROM/master.key]
    #[arg(long, value_name = "FILE")]
    master_key_file: Option<PathBuf>,
    /// Most rows in one transaction
    #[arg(long, value_name = "ROWS", default_value = "5000", hide = true)]
    batch: usize,
}

impl Migrate {
    pub(super) fn run(self) -> Result<ExitCode> {
        check_url(&self.to).map_err(|want| Ending::usage(format!("--to {want}")))?;
        let place = Place {
            data: self.from.clone(),
            store: Backend::File,
            master_key_file: self.master_key_file.clone().unwrap_or_else(|| self.from.join("master.key")),
        };
        ensure!(store_file(&place).exists(), "there is no store in {}", place.data.display());
        let _lock = Lock::take(&place.data)?;
        let keys = master_keys(&place, &place.data.display().to_string(), false)?;
        super::runtime()?.block_on(self.migrate(&place, &keys))?;
        Ok(ExitCode::SUCCESS)
    }

    async fn migrate(&self, place: &Place, keys: &[MasterKey]) -> Result<()> {
        let name = place.data.display().to_string();
        let looked = look(place.data.clone()).await;
        let (export, plan) = looked.with_context(|| format!("read the store in {name}"))?;
        check_master_key(&plan, keys, place)?;
        let source = Source {
            name: name.clone(),
            history: export.history(),
            master_key: keys[0].id(),
            numbers: export.numbers()?,
        };
        let total = TABLES.iter().map(|table| plan.rows(table)).sum();
        let to = shown(&self.to);
        let begun = Import::begin(&self.to, source, plan).await;
        match begun.with_context(|| format!("move {name} to {to}"))? {
            None => eprintln!("the store in {name} was moved to {to} before: there is nothing to do"),
            Some(import) => {
                let before = TABLES.iter().map(|table| import.written(table)).sum();
                let figures = self.write(export, import, Progress::start(total, before)).await;
                tell(total, &figures.with_context(|| format!("move {name} to {to}"))?);
            }
        }
        tell_what_next(place, &to);
        Ok(())
    }

    /// Moves table by table, then compares both sides.
    async fn write(&self, mut export: Export, mut import: Import, mut progress: Progress) -> Result<Figures> {
        for table in TABLES {
            let (batches, mut read) = mpsc::channel(AHEAD);
            let (skip, most) = (import.written(table), self.batch);
            let reading = spawn_blocking(move || read_batches(export, table, skip, most, &batches));
            while let Some(rows) = read.recv().await {
                import.write(table, &rows).await?;
                progress.moved(table.name, rows.len());
            }
            export = reading.await.context("read the store")??;
            progress.ended(table.name);
        }
        progress.compares();
        let figures = import.check(|table| progress.comparing(table)).await?;
        import.finish().await?;
        Ok(figures)
    }
}

/// Reads all of a store once, to know what will be there.
async fn look(dir: PathBuf) -> Result<(Export, Plan)> {
    let look = move || {
        let export = Export::open(&dir)?;
        let (mut plan, mut progress) = (Plan::default(), Progress::start(0, 0));
        for table in TABLES {
            export.read(table, 0, |row| {
                plan.add(table, &row);
                progress.looks();
                true
            })?;
        }
        anyhow::Ok((export, plan))
    };
    spawn_blocking(look).await.context("read the store")?
}

/// Reads what is not there yet of a table, and gives it away in batches.
fn read_batches(
    export: Export,
    table: &'static Table,
    skip: u64,
    most: usize,
    batches: &mpsc::Sender<Vec<Row>>,
) -> Result<Export> {
    let (mut rows, mut bytes) = (Vec::new(), 0);
    let mut is_wanted = true;
    export.read(table, skip, |row| {
        bytes += row.iter().map(Value::size).sum::<usize>();
        rows.push(row);
        if rows.len() >= most || bytes >= BATCH_BYTES {
            bytes = 0;
            // Nobody takes it: writing has failed, which is told by who wrote.
            is_wanted = batches.blocking_send(std::mem::take(&mut rows)).is_ok();
        }
        is_wanted
    })?;
    if !rows.is_empty() && is_wanted {
        drop(batches.blocking_send(rows));
    }
    Ok(export)
}

/// What was sealed stays as it is: the nodes need the key that opens it.
fn check_master_key(plan: &Plan, keys: &[MasterKey], place: &Place) -> Result<()> {
    let missing = plan.sealed_with().iter().find(|id| !keys.iter().any(|key| key.id() == **id));
    match missing {
        None => Ok(()),
        Some(id) => Err(anyhow!(
            "secrets in {} are sealed with the master key {id:08x}, which is not in {}: name its file with \
             --master-key-file",
            place.data.display(),
            place.master_key_file.display()
        )),
    }
}

fn tell(total: u64, figures: &Figures) {
    let [owed, delivered, exhausted] = [0, 1, 2].map(|state| figures.deliveries_in(state));
    let cancelled: i128 = (3..=5).map(|state| figures.deliveries_in(state)).sum();
    let accepted = owed + delivered + exhausted + cancelled;
    eprintln!("moved {total} rows; all of {} figures are the same on both sides", figures.count());
    eprintln!(
        "ledger: {accepted} accepted = {delivered} delivered + {owed} owed + {exhausted} exhausted + \
         {cancelled} canceled"
    );
}

fn tell_what_next(place: &Place, to: &str) {
    let (from, key) = (place.data.display(), place.master_key_file.display());
    eprintln!("next: copy the master key {key} to each node, into its data directory,");
    eprintln!("      and {from}/admin.key if its admin key is to stay valid; then start each with");
    eprintln!("      pushpull serve --store {to}");
    eprintln!("do not serve {from} any more: what it takes in from now on is not in the database");
}
