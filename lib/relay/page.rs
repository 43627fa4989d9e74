//! A page on its way: what was read of a lane at once and handed to the producer, until all of it is acknowledged.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::Notify;

use crate::kafka::producer::Receipt;

/// Shared with the producer's thread.
#[derive(Debug)]
pub struct Page {
    waiting: AtomicUsize,
    refused: OnceLock<RDKafkaErrorCode>,
    /// Told when the page is complete, or at its first failure.
    settled: Arc<Notify>,
}

impl Page {
    /// A page of so many records.
    pub fn new(records: usize, settled: Arc<Notify>) -> Arc<Self> {
        Arc::new(Self { waiting: AtomicUsize::new(records), refused: OnceLock::new(), settled })
    }

    /// Every record of it was acknowledged.
    pub fn is_delivered(&self) -> bool {
        self.fate() == Some(Ok(()))
    }

    /// What became of it: acknowledged as a whole, or refused, which is known at its first failure. None: not known yet.
    pub fn fate(&self) -> Option<Result<(), RDKafkaErrorCode>> {
        self.fate_with(|| ())
    }

    /// `between` is where the producer's thread may come in. It notes a refusal before it counts the answer: read the other way round,
    /// a record that is refused just then would look acknowledged, and be lost.
    fn fate_with(&self, between: impl FnOnce()) -> Option<Result<(), RDKafkaErrorCode>> {
        let is_answered = self.is_answered();
        between();
        match self.refusal() {
            Some(code) => Some(Err(code)),
            None => is_answered.then_some(Ok(())),
        }
    }

    /// Every record of it has an answer.
    pub fn is_answered(&self) -> bool {
        self.waiting.load(Ordering::Acquire) == 0
    }

    /// The first failure.
    pub fn refusal(&self) -> Option<RDKafkaErrorCode> {
        self.refused.get().copied()
    }

    /// Whoever was to carry it is gone: what has no answer yet may never have one.
    pub fn give_up(&self, code: RDKafkaErrorCode) {
        if !self.is_answered() && self.refused.set(code).is_ok() {
            self.settled.notify_one();
        }
    }

    /// One record of it is answered.
    pub fn answer(&self, result: Result<(), RDKafkaErrorCode>) {
        let failed = result.is_err_and(|code| self.refused.set(code).is_ok());
        let last = self.waiting.fetch_sub(1, Ordering::AcqRel) == 1;
        if failed || last {
            self.settled.notify_one();
        }
    }
}

impl Receipt for Arc<Page> {
    fn delivered(self, result: Result<(), RDKafkaErrorCode>) {
        self.answer(result);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_delivered_when_its_last_record_is() {
        let page = Page::new(2, Arc::default());
        page.answer(Ok(()));
        assert!(!page.is_delivered());
        page.answer(Ok(()));
        assert!(page.is_delivered() && page.refusal().is_none());
    }

    #[test]
    fn a_page_that_was_given_up_has_failed_whatever_still_comes_and_one_that_is_delivered_stays_so() {
        let (lost, delivered) = (Page::new(1, Arc::default()), Page::new(1, Arc::default()));
        delivered.answer(Ok(()));
        for page in [&lost, &delivered] {
            page.give_up(RDKafkaErrorCode::Fatal);
        }
        lost.answer(Ok(()));
        assert_eq!((lost.is_delivered(), lost.refusal()), (false, Some(RDKafkaErrorCode::Fatal)));
        assert_eq!((delivered.is_delivered(), delivered.refusal()), (true, None));
    }

    #[test]
    fn a_page_that_is_refused_while_it_is_looked_at_never_looks_acknowledged() {
        let page = Page::new(1, Arc::default());
        let fate = page.fate_with(|| page.answer(Err(RDKafkaErrorCode::MessageSizeTooLarge)));
        assert_eq!(fate, Some(Err(RDKafkaErrorCode::MessageSizeTooLarge)));
        let page = Page::new(1, Arc::default());
        assert_eq!(page.fate_with(|| page.answer(Ok(()))), None, "it is seen at the next look");
        assert_eq!(page.fate(), Some(Ok(())));
    }

    #[test]
    fn a_page_with_a_refused_record_is_never_delivered_and_tells_the_first_reason() {
        let page = Page::new(2, Arc::default());
        page.answer(Err(RDKafkaErrorCode::MessageSizeTooLarge));
        page.answer(Err(RDKafkaErrorCode::PurgeQueue));
        assert!(page.is_answered() && !page.is_delivered());
        assert_eq!(page.refusal(), Some(RDKafkaErrorCode::MessageSizeTooLarge));
    }
}
