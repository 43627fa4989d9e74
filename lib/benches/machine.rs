//! The machine that the figures were measured on.

use serde::Serialize;

#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    pub cores: usize,
    pub processor: String,
    pub memory_gib: u64,
    pub kernel: String,
}

pub fn describe() -> Machine {
    let field = |path: &str, name: &str| {
        let text = std::fs::read_to_string(path).ok()?;
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let kib: u64 =
        field("/proc/meminfo", "MemTotal").and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or(0);
    Machine {
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        processor: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".into()),
        // Rounded: the kernel keeps a little for itself.
        memory_gib: (kib + (1 << 19)) >> 20,
        kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
    }
}
