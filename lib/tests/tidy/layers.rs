//! Imports point down only.

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::visit::{self, Visit};

use super::{Source, assert_none, place, rust};

/// From the top. A room may use what is in the rows below its own, and its neighbours in the same row.
const ROWS: [&[&str]; 6] = [
    &["cli", "dev", "load"],
    STAGES,
    &["settlement", "ops"],
    &["accounts", "audit", "callbacks", "dead_letters", "ledger", "outbox", "routing", "transactions"],
    &["gateway", "kafka", "postgres", "redis", "sealing"],
    &["domain"],
];

/// They meet only in tables, topics and HTTP: no stage uses another.
const STAGES: &[&str] = &["ingress", "relay", "worker", "callback", "reconciler", "gateway_sim"];

/// Everybody but the rules may use it; it uses nothing of ours.
const SHELL: &str = "service";

fn row(room: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&room))
}

fn may_use(user: &str, used: &str) -> bool {
    if user == used || user == "bins" {
        return true;
    }
    match (user, used) {
        (SHELL, _) | ("domain", _) => false,
        (_, SHELL) => true,
        _ => match (row(user), row(used)) {
            (Some(above), Some(below)) => above < below || (above == below && !STAGES.contains(&user)),
            _ => false,
        },
    }
}

/// Rooms that a file names, with where it does: in `use`, in paths, and in what is handed to macros.
#[derive(Default)]
struct Named(Vec<(String, Span)>);

impl Named {
    /// What follows `crate::` or, in a program, `payfleet::`.
    fn heads(&mut self, tree: &syn::UseTree) {
        match tree {
            syn::UseTree::Path(path) => self.0.push((path.ident.to_string(), path.ident.span())),
            syn::UseTree::Name(name) => self.0.push((name.ident.to_string(), name.ident.span())),
            syn::UseTree::Rename(renamed) => self.0.push((renamed.ident.to_string(), renamed.ident.span())),
            syn::UseTree::Group(group) => group.items.iter().for_each(|item| self.heads(item)),
            syn::UseTree::Glob(glob) => self.0.push(("*".to_owned(), glob.star_token.spans[0])),
        }
    }

    fn tokens(&mut self, tokens: TokenStream) {
        let trees: Vec<TokenTree> = tokens.into_iter().collect();
        for (n, tree) in trees.iter().enumerate() {
            match (tree, trees.get(n + 3)) {
                (TokenTree::Ident(root), Some(TokenTree::Ident(room))) if is_root(root) => {
                    self.0.push((room.to_string(), room.span()));
                }
                (TokenTree::Group(group), _) => self.tokens(group.stream()),
                _ => {}
            }
        }
    }
}

fn is_root(ident: &syn::Ident) -> bool {
    ident == "crate" || ident == "payfleet"
}

impl<'ast> Visit<'ast> for Named {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if let syn::UseTree::Path(path) = &item.tree
            && is_root(&path.ident)
        {
            self.heads(&path.tree);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if let (Some(first), Some(second)) = (path.segments.first(), path.segments.get(1))
            && is_root(&first.ident)
        {
            self.0.push((second.ident.to_string(), second.ident.span()));
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        self.tokens(called.tokens.clone());
        visit::visit_macro(self, called);
    }
}

fn offences(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| !source.is_test() && source.path != "lib/lib.rs") {
        let mut named = Named::default();
        named.visit_file(&source.parsed());
        let user = source.room();
        let upwards = named.0.iter().filter(|(used, _)| !may_use(user, used));
        found.extend(upwards.map(|(used, span)| format!("{}: `{user}` uses `{used}`", place(source, *span))));
    }
    found
}

#[test]
fn imports_point_down_only() {
    assert_none(offences(&rust()));
}

#[test]
fn every_room_has_its_row() {
    let rooms: std::collections::BTreeSet<String> = rust().iter().map(|source| source.room().to_owned()).collect();
    let known = |room: &str| row(room).is_some() || ["bins", "lib", "tests", "benches", SHELL].contains(&room);
    assert_none(rooms.into_iter().filter(|room| !known(room)).collect());
}

#[test]
fn an_import_that_points_up_or_aside_is_found_however_it_is_written() {
    for (path, text) in [
        ("lib/outbox/mod.rs", "use crate::settlement::Settlement;"),
        ("lib/outbox/mod.rs", "use crate::{domain::ids, relay};"),
        ("lib/worker/run.rs", "fn run() { crate::reconciler::sweep(); }"),
        ("lib/worker/run.rs", "fn run() { vec![crate::callback::run()]; }"),
        ("lib/kafka/mod.rs", "impl From<crate::outbox::Row> for Record {}"),
        ("lib/service/health.rs", "mod tests { use crate::postgres; }"),
        ("lib/domain/money.rs", "use crate::service::retry::Waits;"),
        ("lib/relay/mod.rs", "use crate::*;"),
        ("lib/relay/mod.rs", "use crate::unheard_of::Thing;"),
    ] {
        assert_eq!(offences(&[Source::made_up(path, text)]).len(), 1, "{path}: {text}");
    }
}

#[test]
fn an_import_that_points_down_is_none() {
    for (path, text) in [
        ("lib/relay/run.rs", "use crate::outbox; use crate::kafka::{self, producer}; use crate::service::retry;"),
        ("lib/settlement/mod.rs", "use crate::{gateway::Gateway, ops::verify, transactions, domain};"),
        ("bins/relay.rs", "use payfleet::cli::processes::relay;"),
    ] {
        assert_none(offences(&[Source::made_up(path, text)]));
    }
}
