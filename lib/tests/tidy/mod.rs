//! Guarantees of the tree itself: imports point down, files and functions stay short, and dashboards ask only for what is told.
//!
//! Each rule is a function from sources to offences, and is itself seen to find what it is there to find.

mod faults;
mod layers;
mod lengths;
mod metrics;
mod migrations;
mod planted;
mod purity;
mod release;
mod retries;

use std::path::{Path, PathBuf};

use proc_macro2::Span;

/// One file of ours.
pub struct Source {
    /// From the tree's root: `lib/relay/run.rs`.
    pub path: String,
    pub text: String,
}

impl Source {
    /// Made up for a test of a rule.
    pub fn made_up(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    pub fn parsed(&self) -> syn::File {
        syn::parse_file(&self.text).unwrap_or_else(|error| panic!("{}: {error}", self.path))
    }

    /// The room that it belongs to: `relay` for `lib/relay/run.rs`, `bins` for what is in there.
    pub fn room(&self) -> &str {
        let inside = self.path.strip_prefix("lib/").unwrap_or(&self.path);
        let room = inside.split('/').next().unwrap_or(inside);
        room.strip_suffix(".rs").unwrap_or(room)
    }

    pub fn is_test(&self) -> bool {
        matches!(self.room(), "tests" | "benches")
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `directory` that end so.
pub fn files(directory: &str, ending: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut left: Vec<PathBuf> = vec![root().join(directory)];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).unwrap();
            left.extend(entries.map(|entry| entry.unwrap().path()));
        } else if path.to_string_lossy().ends_with(ending) {
            let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            found.push(Source { path: name, text: std::fs::read_to_string(&path).unwrap() });
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    assert!(!found.is_empty(), "there is no *{ending} below {directory}");
    found
}

/// Every Rust file of ours, tests and benches too.
pub fn rust() -> Vec<Source> {
    files("lib", ".rs").into_iter().chain(files("bins", ".rs")).collect()
}

/// `lib/relay/run.rs:12`
pub fn place(source: &Source, span: Span) -> String {
    format!("{}:{}", source.path, span.start().line)
}

pub fn assert_none(offences: Vec<String>) {
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}
