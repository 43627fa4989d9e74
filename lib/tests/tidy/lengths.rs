//! Files and functions stay short enough to be seen at once.

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::{Source, assert_none, files, place, rust};

const FILE: usize = 400;
const FUNCTION: usize = 70;
/// A process is wired in `cli/processes`; its program only names it.
const PROGRAM: usize = 40;
/// What a newcomer reads first.
const DOCUMENT: usize = 150;

fn lines(source: &Source) -> usize {
    source.text.lines().count()
}

fn long_files(sources: &[Source], most: usize) -> Vec<String> {
    let long = sources.iter().filter(|source| lines(source) > most);
    long.map(|source| format!("{}: {} lines, {most} at most", source.path, lines(source))).collect()
}

/// Functions of a file with their names and how many lines they take, from signature to closing brace.
#[derive(Default)]
struct Functions(Vec<(String, Span, usize)>);

impl Functions {
    fn add(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let (first, last) = (signature.span().start().line, block.span().end().line);
        self.0.push((signature.ident.to_string(), signature.span(), last - first + 1));
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.add(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.add(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(block) = &function.default {
            self.add(&function.sig, block);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

fn long_functions(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        let mut functions = Functions::default();
        functions.visit_file(&source.parsed());
        let long = functions.0.iter().filter(|(_, _, lines)| *lines > FUNCTION);
        found.extend(long.map(|(name, span, lines)| {
            format!("{}: `{name}` has {lines} lines, {FUNCTION} at most", place(source, *span))
        }));
    }
    found
}

#[test]
fn files_have_at_most_400_lines() {
    let mut all = rust();
    all.extend(files("lib", ".sql"));
    all.extend(files("lib", ".sh"));
    assert_none(long_files(&all, FILE));
}

#[test]
fn programs_have_at_most_40_lines() {
    assert_none(long_files(&files("bins", ".rs"), PROGRAM));
}

#[test]
fn functions_have_at_most_70_lines() {
    assert_none(long_functions(&rust()));
}

#[test]
fn the_description_of_the_architecture_has_at_most_150_lines() {
    assert_none(long_files(&files("ARCHITECTURE.md", ".md"), DOCUMENT));
}

#[test]
fn what_is_too_long_is_found_and_what_just_fits_is_not() {
    let file = |lines: usize| Source::made_up("lib/a.rs", &"// line\n".repeat(lines));
    assert_none(long_files(&[file(FILE)], FILE));
    assert_eq!(long_files(&[file(FILE + 1)], FILE).len(), 1);
    let filled = |lines: usize| "    ();\n".repeat(lines - 2);
    for (head, tail) in [("fn f() {\n", "}"), ("impl A { fn f() {\n", "} }"), ("trait A { fn f() {\n", "} }")] {
        let of = |lines| Source::made_up("lib/a.rs", &format!("{head}{}{tail}", filled(lines)));
        assert_none(long_functions(&[of(FUNCTION)]));
        assert_eq!(long_functions(&[of(FUNCTION + 1)]).len(), 1, "{head}");
    }
}
