use std::io::Write;

use serde::Deserialize;

use super::*;
use crate::service::secret::Secret;

#[derive(Debug, Serialize, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
struct Part {
    lease_ms: u64,
    hosts: Vec<String>,
    url: String,
    customer: Customer,
    quota: Quota,
}

/// Only good as a whole.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Quota {
    per_second: u32,
    burst: u32,
}

#[derive(Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Customer {
    Approve,
    Page,
}

impl Default for Part {
    fn default() -> Self {
        let quota = Quota { per_second: 20, burst: 100 };
        Self { lease_ms: 5_000, hosts: vec!["a".into()], url: String::new(), customer: Customer::Page, quota }
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Sealing {
    key: Secret,
    keys: BTreeMap<String, Secret>,
    number: Option<u16>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Root {
    env: String,
    relay: Part,
    sealing: Sealing,
}

impl Settings for Root {
    fn check(&self) -> Vec<Fault> {
        let production = self.env == "production" && self.sealing.key.is_empty();
        production.then(|| Fault::between("sealing.key", "it is unset", "make one")).into_iter().collect()
    }
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn load(pairs: &[(&str, &str)]) -> Result<Loaded<Root>, Faults> {
    load_from(variables(pairs))
}

fn file(name: &str, content: &str) -> String {
    let path = std::env::temp_dir().join(format!("payfleet-config-{}-{name}", std::process::id()));
    std::fs::File::create(&path).unwrap().write_all(content.as_bytes()).unwrap();
    path.to_string_lossy().into_owned()
}

#[test]
fn environment_beats_file_beats_default() {
    let toml = file("layers.toml", "env = \"dev\"\n[relay]\nlease_ms = 1\nurl = \"from the file\"\n");
    let loaded = load(&[("PAYFLEET_CONFIG", &toml), ("PAYFLEET_RELAY__LEASE_MS", "2")]).unwrap();
    assert_eq!((loaded.settings.env.as_str(), loaded.settings.relay.lease_ms), ("dev", 2));
    assert_eq!(loaded.settings.relay.url, "from the file");
    assert_eq!(loaded.settings.relay.customer, Customer::Page);
    let origin = |setting: &str| loaded.lines().into_iter().find(|line| line.setting == setting).unwrap().origin;
    assert_eq!(origin("PAYFLEET_RELAY__LEASE_MS"), Origin::Environment("PAYFLEET_RELAY__LEASE_MS".into()));
    assert_eq!(origin("PAYFLEET_RELAY__URL"), Origin::File(toml));
    assert_eq!(origin("PAYFLEET_RELAY__CUSTOMER"), Origin::Default);
}

#[test]
fn of_a_group_that_is_only_good_as_a_whole_a_part_can_be_given() {
    let loaded = load(&[("PAYFLEET_RELAY__QUOTA__BURST", "7")]).unwrap();
    assert_eq!(loaded.settings.relay.quota, Quota { per_second: 20, burst: 7 });
    let both = load(&[("PAYFLEET_RELAY__QUOTA__BURST", "7"), ("PAYFLEET_RELAY__QUOTA__PER_SECOND", "3")]).unwrap();
    assert_eq!(both.settings.relay.quota, Quota { per_second: 3, burst: 7 });
    let faults = load(&[("PAYFLEET_RELAY__QUOTA__BURST", "many")]).unwrap_err().to_string();
    assert!(faults.contains("PAYFLEET_RELAY__QUOTA__BURST"), "{faults}");
}

#[test]
fn every_bad_key_is_told_at_once_with_its_remedy() {
    let toml = file("bad.toml", "[relay]\nurl = 3\nhosts = 4\nleese = 5\n");
    let faults = load(&[
        ("PAYFLEET_CONFIG", &toml),
        ("PAYFLEET_RELAY__LEASE_MS", "soon"),
        ("PAYFLEET_RELAY__CUSTOMER", "nobody"),
        ("PAYFLEET_RELAY__LEASE", "5"),
        ("PAYFLEET_ELSEWHERE", "5"),
        ("PAYFLEET_SEALING__NUMBER", "70000"),
    ])
    .unwrap_err();
    let settings: Vec<&str> = faults.0.iter().map(|fault| fault.setting.as_str()).collect();
    let in_file = format!("relay.leese (in {toml})");
    for bad in [
        "PAYFLEET_RELAY__LEASE_MS",
        "PAYFLEET_RELAY__CUSTOMER",
        "PAYFLEET_RELAY__LEASE",
        "PAYFLEET_ELSEWHERE",
        "PAYFLEET_SEALING__NUMBER",
        &in_file,
    ] {
        assert!(settings.contains(&bad), "{bad} is missing in {settings:?}");
    }
    let text = faults.to_string();
    assert!(text.contains("PAYFLEET_RELAY__LEASE_MS = \"soon\""), "{text}");
    assert!(text.contains("like the default, 5000"), "{text}");
    assert!(text.contains("did you mean PAYFLEET_RELAY__LEASE_MS?"), "{text}");
    assert!(text.contains("approve"), "{text}");
}

#[test]
fn a_secret_comes_from_a_file_and_is_never_shown() {
    let path = file("secret", "s3cret\n");
    let loaded = load(&[("PAYFLEET_SEALING__KEY_FILE", &path), ("PAYFLEET_SEALING__KEYS__OLD", "0ld")]).unwrap();
    assert_eq!(loaded.settings.sealing.key.expose(), "s3cret");
    assert_eq!(loaded.settings.sealing.keys["old"].expose(), "0ld");
    let shown = format!("{:?}{:?}", loaded.lines(), loaded.settings);
    assert!(!shown.contains("s3cret") && !shown.contains("0ld"), "{shown}");
    assert!(is_secret::<Root>(&["sealing".into(), "key".into()]));
    assert!(!is_secret::<Root>(&["relay".into(), "url".into()]));
}

#[test]
fn a_secret_given_twice_or_not_readable_is_refused_without_showing_it() {
    let path = file("twice", "s3cret");
    let text =
        load(&[("PAYFLEET_SEALING__KEY_FILE", &path), ("PAYFLEET_SEALING__KEY", "s3cret")]).unwrap_err().to_string();
    assert!(text.contains("unset one of the two") && !text.contains("s3cret"), "{text}");
    let text = load(&[("PAYFLEET_SEALING__KEY_FILE", "/nowhere/at/all")]).unwrap_err().to_string();
    assert!(text.contains("PAYFLEET_SEALING__KEY_FILE") && text.contains("cannot be read"), "{text}");
    let text = load(&[("PAYFLEET_SEALING__KEY__INNER", "s3cret")]).unwrap_err().to_string();
    assert!(!text.contains("s3cret"), "{text}");
}

#[test]
fn lists_are_separated_by_commas_and_empty_variables_count_as_not_given() {
    let loaded = load(&[("PAYFLEET_RELAY__HOSTS", "b, c"), ("PAYFLEET_RELAY__LEASE_MS", "")]).unwrap();
    assert_eq!(loaded.settings.relay.hosts, ["b", "c"]);
    assert_eq!(loaded.settings.relay.lease_ms, 5_000);
}

#[test]
fn the_password_of_a_url_is_not_shown() {
    let loaded = load(&[("PAYFLEET_RELAY__URL", "postgres://app:pa@ss@db:5432/payfleet")]).unwrap();
    let line = loaded.lines().into_iter().find(|line| line.setting == "PAYFLEET_RELAY__URL").unwrap();
    assert_eq!(line.value, "\"postgres://app:[redacted]@db:5432/payfleet\"");
    for (given, shown) in [
        (
            "postgres://db/payfleet?user=app&password=pass&x=1",
            "postgres://db/payfleet?user=app&password=[redacted]&x=1",
        ),
        ("postgres://app:p?ss@db/payfleet", "postgres://[redacted]"),
        ("postgres://app@db/payfleet?application_name=a@b", "postgres://app@db/payfleet?application_name=a@b"),
        ("https://hooks.example/?who=a@b", "https://hooks.example/?who=a@b"),
    ] {
        assert_eq!(without_password(given), shown);
    }
}

#[test]
fn faults_between_settings_are_told_when_each_is_good_by_itself() {
    let faults = load(&[("PAYFLEET_ENV", "production")]).unwrap_err();
    assert_eq!(faults.0, [Fault::between("sealing.key", "it is unset", "make one")]);
    assert!(faults.to_string().contains("PAYFLEET_SEALING__KEY\n"));
}

#[test]
fn a_file_that_is_not_toml_says_where() {
    let toml = file("broken.toml", "[relay\n");
    let text = load(&[("PAYFLEET_CONFIG", &toml)]).unwrap_err().to_string();
    assert!(text.contains("not TOML") && text.contains("line 1"), "{text}");
    let toml = file("broken-secret.toml", "[sealing]\nkey = \"s3cret\nnumber = 1\n");
    let text = load(&[("PAYFLEET_CONFIG", &toml)]).unwrap_err().to_string();
    assert!(text.contains("line 2, column ") && !text.contains("s3cret"), "{text}");
}
