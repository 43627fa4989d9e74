//! What is shipped can be stopped at no failpoint, and no bug can be planted in it. `make release-check` looks into the programs.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::{Source, assert_none, files};

/// Features with which nothing is shipped.
const NEVER_SHIPPED: [&str; 2] = ["failpoints", "planted-bugs"];

/// What builds the programs that are shipped.
const SHIPPING: [&str; 2] = ["Dockerfile", "lib/dev/release-check.sh"];

fn cargo(arguments: &[&str]) -> Output {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments).args(["--locked", "--offline"]);
    command.output().unwrap()
}

fn told(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn without_a_feature_asked_for_the_failpoints_are_not_even_linked() {
    let linked = |features: &[&str]| {
        let tree = ["tree", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"];
        let tree = told(&cargo(&[&tree[..], features].concat()));
        assert!(tree.lines().any(|package| package.starts_with("tokio ")), "{tree}");
        tree.lines().any(|package| package.starts_with("fail "))
    };
    assert!(!linked(&[]));
    assert!(linked(&["--features", "failpoints"]), "nobody would see it if they were");
}

#[test]
fn nothing_turns_failpoints_or_planted_bugs_on_by_itself() {
    let metadata = told(&cargo(&["metadata", "--no-deps", "--format-version", "1"]));
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    let package = &metadata["packages"][0];
    let features = package["features"].as_object().unwrap();
    assert!(NEVER_SHIPPED.iter().all(|feature| features.contains_key(*feature)), "{features:?}");
    assert!(!features.contains_key("default"), "{features:?}");
    let mut others = features.iter().filter(|(name, _)| !NEVER_SHIPPED.contains(&name.as_str()));
    let turning_on =
        |on: &Value| NEVER_SHIPPED.iter().any(|feature| on.as_str().is_some_and(|on| on.contains(feature)));
    assert!(others.all(|(_, on)| !on.as_array().unwrap().iter().any(turning_on)), "{features:?}");
    let targets = package["targets"].as_array().unwrap();
    let programs: Vec<&Value> = targets.iter().filter(|target| target["kind"][0] == "bin").collect();
    assert_eq!(programs.len(), 5);
    assert!(programs.iter().all(|program| program.get("required-features").is_none()), "{programs:?}");
}

/// Builds of programs that are shipped, in a file that has at least one, which choose features.
fn offences(source: &Source) -> Vec<String> {
    let builds: Vec<&str> = source.text.lines().filter(|line| line.contains("cargo build")).collect();
    if builds.is_empty() {
        return vec![format!("{}: builds nothing", source.path)];
    }
    let wrong = builds.into_iter().filter(|line| line.contains("features") || !line.contains("--release"));
    wrong.map(|line| format!("{}: {}", source.path, line.trim())).collect()
}

#[test]
fn what_is_shipped_is_built_without_a_feature() {
    assert_none(SHIPPING.iter().flat_map(|path| offences(&files(path, path).remove(0))).collect());
    let chosen = |line: &str| offences(&Source::made_up("Dockerfile", line)).len();
    assert_eq!(chosen("RUN cargo build --release --locked --bins"), 0);
    assert_eq!(chosen("RUN cargo build --release --all-features"), 1);
    assert_eq!(chosen("RUN cargo build --release --features failpoints"), 1);
    assert_eq!(chosen("RUN true"), 1);
}

/// What the check says of this program: 0, it is clean; 1, it is not.
fn checked(program: &Path) -> Option<i32> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/lib/dev/release-check.sh");
    Command::new(script).arg("look").arg(program).output().unwrap().status.code()
}

#[test]
fn a_program_that_can_be_stopped_or_spoilt_on_purpose_is_found() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("release-check");
    std::fs::create_dir_all(&directory).unwrap();
    let program = |name: &str, bytes: &[u8]| {
        let path = directory.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    assert_eq!(checked(&program("clean", b"\x7fELF\0\xffPAYFLEET_CONFIG\0")), Some(0));
    for word in ["PAYFLEET_FAILPOINTS", "PAYFLEET_PLANTED_BUG"] {
        assert_eq!(checked(&program("spoilt", format!("\x7fELF\0{word}\0").as_bytes())), Some(1), "{word}");
    }
    assert_eq!(checked(&program("another", b"\x7fELF\0\xff\0")), Some(66), "it proves nothing");
    assert_eq!(checked(&directory.join("missing")), Some(66), "it proves nothing");
    // The tests' own programs stand at failpoints.
    if cfg!(feature = "failpoints") {
        assert_eq!(checked(Path::new(env!("CARGO_BIN_EXE_ingress"))), Some(1));
    }
}
