//! Secrets of a developer's machine: made once, kept in `.dev/secrets`, readable by their owner only.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rand::RngCore;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::servers::Error;

/// The same script makes the secrets of `make deploy`, where no program of ours is built yet.
const SCRIPT: &str = include_str!("secrets.sh");

/// Which setting reads which secret. Both sides of a gateway read the same.
const FILES: [(&str, &str); 15] = [
    ("SEALING__KEYS", "sealing_keys"),
    ("MIGRATE__APP_PASSWORD", "app_password"),
    ("INGRESS__API_KEY_PEPPER", "api_key_pepper"),
    ("GATEWAYS__STRIPE__SECRET_KEY", "stripe_secret_key"),
    ("GATEWAYS__STRIPE__CALLBACK_KEY", "stripe_callback_key"),
    ("GATEWAYS__PAYPAL__CLIENT_SECRET", "paypal_client_secret"),
    ("GATEWAYS__PAYPAL__CALLBACK_CERTIFICATE", "paypal_certificate.pem"),
    ("GATEWAYS__BANK__PASSWORD", "bank_password"),
    ("GATEWAYS__BANK__CALLBACK_KEY", "bank_callback_key"),
    ("SIM__STRIPE__SECRET_KEY", "stripe_secret_key"),
    ("SIM__STRIPE__CALLBACK_KEY", "stripe_callback_key"),
    ("SIM__PAYPAL__CLIENT_SECRET", "paypal_client_secret"),
    ("SIM__PAYPAL__CALLBACK_PRIVATE_KEY", "paypal_key.pem"),
    ("SIM__BANK__PASSWORD", "bank_password"),
    ("SIM__BANK__CALLBACK_KEY", "bank_callback_key"),
];

/// The directory with all secrets of a development fleet in it.
#[derive(Clone, Debug)]
pub struct Secrets(PathBuf);

impl Secrets {
    /// Of the fleet that has everything of it under `home`, as they are.
    pub fn of(home: &Path) -> Self {
        Self(home.join("secrets"))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes those that are missing.
    pub async fn prepare(path: &Path) -> Result<Self, Error> {
        let failed = |output: String| Error::Failed { program: "making secrets".to_owned(), output };
        let mut shell = Command::new("sh")
            .args(["-s", "--"])
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(Error::io("sh"))?;
        if let Some(mut script) = shell.stdin.take() {
            script.write_all(SCRIPT.as_bytes()).await.map_err(Error::io("sh"))?;
        }
        let done = shell.wait_with_output().await.map_err(Error::io("sh"))?;
        if !done.status.success() {
            return Err(failed(String::from_utf8_lossy(&done.stderr).into_owned()));
        }
        Ok(Self(path.canonicalize().map_err(Error::io(path))?))
    }

    /// The settings that read them.
    pub fn variables(&self) -> impl Iterator<Item = (String, String)> {
        let file = |name: &str| self.0.join(name).to_string_lossy().into_owned();
        FILES.into_iter().map(move |(setting, name)| (format!("PAYFLEET_{setting}_FILE"), file(name)))
    }

    pub fn read(&self, name: &str) -> Result<String, Error> {
        let path = self.0.join(name);
        Ok(std::fs::read_to_string(&path).map_err(Error::io(path))?.trim().to_owned())
    }
}

/// 192 random bits as text that needs no quoting anywhere.
pub fn random_text() -> String {
    let mut bytes = [0; 24];
    rand::rng().fill_bytes(&mut bytes);
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// Writes a file that only its owner may read, whole or not at all.
pub fn write_private(path: &Path, content: &str) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    let fresh = path.with_extension("new");
    std::fs::remove_file(&fresh).ok();
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(content.as_bytes())?;
    std::fs::rename(&fresh, path)
}
