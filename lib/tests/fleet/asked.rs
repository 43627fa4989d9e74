//! Whether a gateway was asked before a call that moves money was repeated, by the simulator's own log of what arrived.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use payfleet::domain::ids::Operation;
use serde_json::Value;

/// In the order of their arrival, by their place in the log.
#[derive(Default)]
pub struct Calls {
    /// By (gateway, key).
    moving: BTreeMap<(String, String), Vec<usize>>,
    /// By what they name: a key, or the attempt behind the gateway's own id.
    questions: HashMap<(String, String), Vec<usize>>,
    /// Lists name nobody: each stands for one question.
    lists: HashMap<String, Vec<usize>>,
}

impl Calls {
    pub fn read(log: &Path) -> Self {
        let text = std::fs::read_to_string(log).unwrap();
        let entries = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut requests: Vec<Value> = entries.filter(|entry| entry["entry"] == "request").collect();
        // RFC 3339, of one machine and to the microsecond; but lines stand in the log as they were written.
        requests.sort_by_key(time_of);
        let mut calls = Self::default();
        requests.iter().enumerate().for_each(|(at, request)| calls.take(at, request));
        calls
    }

    fn take(&mut self, at: usize, request: &Value) {
        let text = |field: &str| request[field].as_str().map(str::to_owned);
        let gateway = text("gateway").unwrap();
        if request["money_moving"] == true {
            self.moving.entry((gateway, text("key").unwrap())).or_default().push(at);
            return;
        }
        if !request["operation"].is_null() {
            return;
        }
        let named = [text("key"), text("attempt_id").map(|id| id.replace('-', ""))];
        let is_list =
            request["answer"] == "told" && request["reference"].is_null() && named.iter().all(Option::is_none);
        if is_list {
            self.lists.entry(gateway.clone()).or_default().push(at);
        }
        for name in named.into_iter().flatten() {
            self.questions.entry((gateway.clone(), name)).or_default().push(at);
        }
    }

    /// Calls that came with a key that had come before.
    pub fn repeated(&self) -> usize {
        self.moving.values().map(|arrivals| arrivals.len() - 1).sum()
    }

    /// Those of them before which nobody asked.
    pub fn repeated_unasked(mut self) -> Vec<String> {
        let mut unasked = Vec::new();
        let mut repeated: Vec<(usize, usize, String, String)> = Vec::new();
        for ((gateway, key), arrivals) in std::mem::take(&mut self.moving) {
            let pairs = arrivals.windows(2).map(|pair| (pair[1], pair[0], gateway.clone(), key.clone()));
            repeated.extend(pairs.filter(|(.., key)| !cannot_be_asked_about(&gateway, key)));
        }
        // Whoever must be content with an earlier list comes first.
        repeated.sort_unstable();
        for (again, before, gateway, key) in repeated {
            let attempt = key[..32].to_owned();
            let mut names = [key.clone(), attempt].into_iter();
            let is_between = |at: &usize| (before..again).contains(at);
            let by_name = names.any(|name| {
                self.questions.get(&(gateway.clone(), name)).is_some_and(|asked| asked.iter().any(is_between))
            });
            let lists = self.lists.entry(gateway.clone()).or_default();
            let list = lists.iter().position(is_between).filter(|_| !by_name);
            match list {
                _ if by_name => {}
                Some(list) => drop(lists.remove(list)),
                None => unasked.push(format!("{gateway}: {key}, requests {before} and {again}")),
            }
        }
        unasked
    }
}

fn time_of(request: &Value) -> time::OffsetDateTime {
    let text = request["arrived_at"].as_str().unwrap();
    time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).unwrap()
}

/// PayPal tells of a payout by the id that it answered with, which is lost with the answer: sending it again under its key is asking.
fn cannot_be_asked_about(gateway: &str, key: &str) -> bool {
    gateway == "paypal" && Operation::of_key(key).is_some_and(|(_, operation)| operation == Operation::Create)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ATTEMPT: &str = "01920000-0000-7000-8000-000000000001";

    fn unasked(gateway: &str, operation: Operation, between: Value) -> usize {
        let attempt: uuid::Uuid = ATTEMPT.parse().unwrap();
        let call =
            json!({ "gateway": gateway, "operation": operation, "money_moving": true, "key": operation.key(attempt) });
        let mut calls = Calls::default();
        for (at, request) in [&call, &between, &call].into_iter().enumerate() {
            calls.take(at, request);
        }
        assert_eq!(calls.repeated(), 1);
        calls.repeated_unasked().len()
    }

    fn question(gateway: &str, field: &str, value: &str) -> Value {
        let mut question = json!({ "gateway": gateway, "operation": null, "money_moving": false, "answer": "told" });
        question[field] = value.into();
        question
    }

    #[test]
    fn a_call_that_was_repeated_without_a_question_about_it_is_found() {
        let key = Operation::Create.key(ATTEMPT.parse().unwrap());
        assert_eq!(unasked("bank", Operation::Create, question("bank", "key", &key)), 0);
        assert_eq!(unasked("paypal", Operation::Capture, question("paypal", "attempt_id", ATTEMPT)), 0);
        assert_eq!(unasked("stripe", Operation::Create, question("stripe", "note", "a list")), 0);
        assert_eq!(unasked("bank", Operation::Create, question("bank", "key", "another")), 1);
        assert_eq!(unasked("bank", Operation::Create, question("stripe", "key", &key)), 1);
        assert_eq!(unasked("stripe", Operation::Create, question("stripe", "reference", "pi_another")), 1);
    }
}
