//! I24: what processes told of their sizes, in Prometheus's text format: any number of answers of `/metrics`, in any number of files.

use std::path::{Path, PathBuf};

use super::invariant::Invariant;
use super::report::Finding;
use crate::kafka;

/// A metric and how much of it may be told at once.
#[derive(Clone, PartialEq, Debug)]
pub struct Cap {
    pub metric: String,
    pub most: f64,
}

impl Cap {
    /// What processes of the fleet hold at most: some by their settings, memory and tasks by far more than they ever need.
    pub fn usual(waiting: usize, kafka: &kafka::Settings) -> Vec<Self> {
        let consumer = &kafka.consumer;
        let caps = [
            ("process_resident_memory_bytes", 1 << 30),
            ("payfleet_process_tasks", 50_000),
            ("payfleet_process_queued_tasks", 50_000),
            ("payfleet_ingress_waiting", waiting),
            ("payfleet_consumer_in_flight_records", consumer.records),
            // The record that reaches the bound is still taken.
            ("payfleet_consumer_in_flight_bytes", consumer.bytes + kafka.message_max_bytes),
        ];
        caps.map(|(metric, most)| Self { metric: metric.to_owned(), most: most as f64 }).into()
    }
}

/// Under this name a process tells how many descriptors it may have.
const DESCRIPTORS: (&str, &str) = ("process_open_fds", "process_max_fds");

/// Of a file, or of all files of a directory. Blocks.
pub fn judge(samples: &Path, caps: &[Cap]) -> Finding {
    let mut finding = Finding::new(Invariant::I24);
    match files(samples) {
        Ok(files) => {
            for file in files {
                match std::fs::read_to_string(&file) {
                    Ok(text) => judge_text(&file.display().to_string(), &text, caps, &mut finding),
                    Err(error) => finding.gap(format!("{} cannot be read: {error}", file.display())),
                }
            }
        }
        Err(error) => finding.gap(format!("{} cannot be read: {error}", samples.display())),
    }
    finding
}

fn files(samples: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !samples.is_dir() {
        return Ok(vec![samples.to_owned()]);
    }
    let mut files = std::fs::read_dir(samples)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    files.retain(|path| path.is_file());
    files.sort();
    Ok(files)
}

fn judge_text(file: &str, text: &str, caps: &[Cap], finding: &mut Finding) {
    let (open, most) = DESCRIPTORS;
    let allowed = text.lines().filter_map(sample).find(|(name, _)| *name == most).map(|(_, value)| value);
    let before = finding.checked;
    for (number, line) in text.lines().enumerate() {
        let Some((name, value)) = sample(line) else { continue };
        let cap = caps.iter().find(|cap| cap.metric == name).map(|cap| cap.most);
        let Some(cap) = cap.or(if name == open { allowed } else { None }) else { continue };
        finding.checked += 1;
        // What is not a number is above every cap.
        if value > cap || value.is_nan() {
            finding.violation(|| format!("{file}, line {}: {name} is {value}, {cap} at most", number + 1));
        }
    }
    if finding.checked == before {
        finding.gap(format!("{file} tells of nothing that has a cap"));
    }
}

/// `name{labels} value [time]`; comments and blank lines are none.
fn sample(line: &str) -> Option<(&str, f64)> {
    let line = line.trim();
    let name = line.split(['{', ' ']).next().filter(|name| !name.is_empty() && !name.starts_with('#'))?;
    let rest = line.rsplit_once('}').map_or(&line[name.len()..], |(_, rest)| rest);
    Some((name, rest.split_whitespace().next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(text: &str) -> Finding {
        let mut finding = Finding::new(Invariant::I24);
        let caps = [Cap { metric: "payfleet_process_tasks".into(), most: 100.0 }];
        judge_text("relay-1", text, &caps, &mut finding);
        finding
    }

    #[test]
    fn a_sample_is_read_with_and_without_labels() {
        assert_eq!(sample("a 1.5"), Some(("a", 1.5)));
        assert_eq!(sample(r#"a{b="} c",d="e"} 2 1700000000"#), Some(("a", 2.0)));
        assert_eq!((sample("# HELP a b"), sample(""), sample("a")), (None, None, None));
    }

    #[test]
    fn one_sample_above_its_cap_is_found_among_many() {
        let calm = judged("payfleet_process_tasks 7\npayfleet_process_tasks 100\n");
        assert_eq!((calm.checked, calm.violations, calm.gaps.len()), (2, 0, 0));
        let high = judged("payfleet_process_tasks 7\npayfleet_process_tasks 101\npayfleet_process_tasks 7\n");
        assert_eq!(high.examples, ["relay-1, line 2: payfleet_process_tasks is 101, 100 at most"]);
        assert_eq!(judged("payfleet_process_tasks NaN\n").violations, 1);
    }

    #[test]
    fn descriptors_are_held_against_what_the_process_may_have() {
        assert_eq!(judged("process_open_fds 9\nprocess_max_fds 10\n").violations, 0);
        assert_eq!(judged("process_open_fds 11\nprocess_max_fds 10\n").violations, 1);
    }

    #[test]
    fn samples_of_nothing_that_has_a_cap_are_not_checkable() {
        assert_eq!(judged("up 1\n").gaps, ["relay-1 tells of nothing that has a cap"]);
    }
}
