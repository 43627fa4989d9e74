//! The load's own log: what was meant, and every answer. See [`crate::ops::load_log`] for its lines.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use time::OffsetDateTime;

use super::client::{Answer, Lost};
use super::mix::Order;
use crate::domain::event;
use crate::ops::load_log::{Event, Line};

/// Each line is written whole, at once, before the run goes on. Without a file nothing is kept.
#[derive(Clone, Default)]
pub struct Record(Option<Arc<Mutex<File>>>);

impl Record {
    pub fn open(path: Option<&Path>) -> Result<Self, std::io::Error> {
        let file = path.map(|path| OpenOptions::new().create(true).append(true).open(path)).transpose()?;
        Ok(Self(file.map(|file| Arc::new(Mutex::new(file)))))
    }

    pub fn intent(&self, order: &Order) -> Result<(), std::io::Error> {
        let (kind, amount, currency) = (order.kind, order.amount, order.currency.clone());
        self.write(order, || Event::Intent { kind, amount, currency })
    }

    pub fn answer(&self, order: &Order, answer: &Answer, transaction: Option<String>) -> Result<(), std::io::Error> {
        self.write(order, || {
            let sha256 = event::hash(&answer.body).iter().map(|byte| format!("{byte:02x}")).collect();
            Event::Answer { status: answer.status, sha256, transaction }
        })
    }

    pub fn lost(&self, order: &Order, why: &Lost) -> Result<(), std::io::Error> {
        self.write(order, || Event::Lost { why: why.to_string() })
    }

    fn write(&self, order: &Order, event: impl FnOnce() -> Event) -> Result<(), std::io::Error> {
        let Some(file) = &self.0 else { return Ok(()) };
        let line = Line { at: OffsetDateTime::now_utc(), key: order.key.clone(), event: event() };
        let mut text = serde_json::to_vec(&line)?;
        text.push(b'\n');
        file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&text)
    }
}
