//! `payfleet resolve`: a human's word on a payment that waits in review.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde::Serialize;
use uuid::Uuid;

use super::output;
use crate::domain::change::{Change, Word};
use crate::domain::decide::resolve::{End, Ruling};
use crate::domain::ids::PublicId;
use crate::domain::transaction::Substatus;
use crate::postgres::Settings;
use crate::settlement::{ResolveError, resolve};

/// The payment does not stand where it could be resolved so: nothing was done.
pub const EXIT_REFUSED: u8 = 3;

const ABOUT: &str = "\
Ends a payment that is in review, books what follows from it in the same commit, and keeps who said so and why with its history.

  succeeded  a deposit is credited, a withdrawal's hold is posted; one that was paid out after its hold was released is taken from
             what the user has, and what is no longer there becomes a debt; where its gateway told of another amount, of a second
             success, of money taken back or that it came to nothing, say by --moved what the gateway has moved and not given back
  failed     a hold is released; refused once a success is booked; where its gateway says that it succeeded, say by --moved what the
             gateway has moved and not given back
  reversed   only after a success: it is booked the other way round, and what the user no longer has becomes a debt

A word that books something while a difference stands in suspense wants --moved as well, and so does any while another attempt of the
payment may have moved money: then it is what all of them have moved.

Exit codes: 0 done, 1 PostgreSQL failed or the payment was locked all the time, 3 it cannot be resolved so, 64 not understood.";

#[derive(Debug, Args)]
#[command(after_long_help = ABOUT)]
pub struct Resolve {
    /// The payment, as in dep_… or wdr_….
    transaction: PublicId,
    /// How it ends.
    #[arg(value_enum)]
    end: Ending,
    /// Why. It is kept with the step, and not shown to the payment's owner.
    #[arg(long, value_parser = said)]
    reason: String,
    /// Who says so.
    #[arg(long, value_parser = said)]
    actor: String,
    /// What the gateway really moved and did not give back, in minor units, if that is not what the end says: the difference goes to suspense.
    #[arg(long, value_name = "AMOUNT")]
    moved: Option<i64>,
    /// The version of the payment that you have looked at: refused if it has moved on since, for instance because its gateway spoke.
    #[arg(long, value_name = "VERSION")]
    seen: Option<i64>,
    /// JSON for scripts instead of a line for people.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Ending {
    Succeeded,
    Failed,
    Reversed,
}

fn said(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() { Err("it says nothing".to_owned()) } else { Ok(text.to_owned()) }
}

#[derive(Serialize)]
struct Resolved {
    transaction: String,
    status: &'static str,
    substatus: Option<&'static str>,
    version: i64,
    entries: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    effect: &'static str,
    side: &'static str,
    account: &'static str,
    amount: i64,
}

pub async fn run(settings: &Settings, asked: Resolve) -> ExitCode {
    let end = match asked.end {
        Ending::Succeeded => End::Succeeded,
        Ending::Failed => End::Failed,
        Ending::Reversed => End::Reversed,
    };
    let word = Word { operator: asked.actor, says: asked.reason };
    let ruling = Ruling { id: Uuid::now_v7(), end, moved: asked.moved, seen: asked.seen, word };
    let resolved = async {
        let mut books = settings.connect("payfleet-resolve").await?;
        resolve(&mut books, asked.transaction, &ruling).await
    };
    match resolved.await {
        Ok(change) => {
            tell(asked.transaction, &change, asked.json);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("payfleet: {}: {error}", asked.transaction);
            match error {
                ResolveError::NoSuchTransaction | ResolveError::Unresolvable(_) => ExitCode::from(EXIT_REFUSED),
                ResolveError::Contended | ResolveError::Database(_) => ExitCode::FAILURE,
            }
        }
    }
}

fn tell(transaction: PublicId, change: &Change, json: bool) {
    let entry = |posting: &crate::domain::posting::Posting| Entry {
        effect: posting.effect.as_str(),
        side: posting.side.as_str(),
        account: posting.account.as_str(),
        amount: posting.amount,
    };
    let resolved = Resolved {
        transaction: transaction.to_string(),
        status: change.to.as_str(),
        substatus: change.substatus.map(Substatus::as_str),
        version: change.expected_version + 1,
        entries: change.postings.iter().map(entry).collect(),
    };
    if json {
        return output::json(&resolved);
    }
    println!("{} is {}", resolved.transaction, resolved.status);
    for Entry { effect, side, account, amount } in &resolved.entries {
        println!("  {effect:<8} {side:<6} {account:<9} {amount}");
    }
}
