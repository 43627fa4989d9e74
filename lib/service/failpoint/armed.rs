//! What a window does when it is armed. Which are, is kept by the `fail` crate; its own delays would hold a thread of the runtime, so
//! that a delay is here what a failpoint *returns*.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use super::Window;

/// How long, and how many of a thousand visits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stay {
    time: Duration,
    per_mille: u32,
}

impl Stay {
    /// `300ms`, `2s,5%`
    fn parse(text: &str) -> Option<Self> {
        let (time, share) = text.split_once(',').unwrap_or((text, "100%"));
        let (time, share) = (time.trim(), share.trim());
        let time = match time.strip_suffix("ms") {
            Some(millis) => Duration::from_millis(millis.parse().ok()?),
            None => Duration::from_secs(time.strip_suffix('s')?.parse().ok()?),
        };
        let percent: f64 = share.strip_suffix('%')?.parse().ok()?;
        (0.0..=100.0).contains(&percent).then_some(Self { time, per_mille: (percent * 10.0) as u32 })
    }

    fn takes(self, seed: u64, window: Window, visit: u64) -> bool {
        crc32fast::hash(format!("{seed}/{}/{visit}", window.name()).as_bytes()) % 1000 < self.per_mille
    }
}

/// What the environment says, read once.
struct Armed {
    seed: u64,
    log: Option<File>,
    visits: Mutex<BTreeMap<Window, u64>>,
}

static ARMED: LazyLock<Armed> = LazyLock::new(|| {
    let given = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    for (name, action) in orders(&given("PAYFLEET_FAILPOINTS").unwrap_or_default()) {
        fail::cfg(name, &action).unwrap_or_else(|why| panic!("PAYFLEET_FAILPOINTS: {name}={action}: {why}"));
    }
    let seed = given("PAYFLEET_FAILPOINTS_SEED")
        .map_or(0, |seed| seed.parse().unwrap_or_else(|why| panic!("PAYFLEET_FAILPOINTS_SEED={seed}: {why}")));
    let log = given("PAYFLEET_FAILPOINTS_LOG").map(|path| {
        let opened = OpenOptions::new().append(true).create(true).open(&path);
        opened.unwrap_or_else(|why| panic!("PAYFLEET_FAILPOINTS_LOG={path}: {why}"))
    });
    Armed { seed, log, visits: Mutex::default() }
});

/// `c9=delay(2s,5%);c5=off` as names and actions in the words of the `fail` crate.
fn orders(text: &str) -> Vec<(&'static str, String)> {
    let order = |order: &str| {
        let known = order.split_once('=').and_then(|(name, action)| {
            let window = Window::ALL.iter().find(|window| window.name() == name.trim())?;
            Some((window.name(), action.trim().replace("delay(", "return(")))
        });
        known.unwrap_or_else(|| panic!("PAYFLEET_FAILPOINTS: `{order}` is not like c9=delay(300ms,10%)"))
    };
    text.split(';').filter(|part| !part.trim().is_empty()).map(order).collect()
}

/// What is chosen for the window now.
fn chosen(window: Window) -> Option<String> {
    fail::fail_point!(window.name(), |stay| stay);
    None
}

pub(super) async fn stand_in(window: Window) {
    let armed = &*ARMED;
    let Some(text) = chosen(window) else { return };
    let stay = Stay::parse(&text).unwrap_or_else(|| panic!("{}: `{text}` is not like 300ms,10%", window.name()));
    let visit = {
        let mut visits = armed.visits.lock().unwrap_or_else(PoisonError::into_inner);
        let visit = visits.entry(window).or_default();
        *visit += 1;
        *visit
    };
    if !stay.takes(armed.seed, window, visit) {
        return;
    }
    let _stay = Stayed::begin(armed, window, visit);
    tokio::time::sleep(stay.time).await;
}

/// Whoever stands in a window: until its time is over, or what it stands for is given up. Only the death of the process leaves it inside.
struct Stayed {
    armed: &'static Armed,
    window: Window,
    visit: u64,
}

impl Stayed {
    fn begin(armed: &'static Armed, window: Window, visit: u64) -> Self {
        armed.announce(window, visit, "in");
        Self { armed, window, visit }
    }
}

impl Drop for Stayed {
    fn drop(&mut self) {
        self.armed.announce(self.window, self.visit, "out");
    }
}

impl Armed {
    /// One short write to a file that is appended to: lines of many processes do not mix.
    fn announce(&self, window: Window, visit: u64, what: &str) {
        if let Some(mut log) = self.log.as_ref() {
            let line = format!("{} {} {visit} {what}\n", window.name(), std::process::id());
            log.write_all(line.as_bytes()).unwrap_or_else(|why| panic!("PAYFLEET_FAILPOINTS_LOG: {why}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_and_stays_are_read_as_written() {
        assert_eq!(
            orders("c9=delay(2s,5%); c5=delay(200ms);"),
            [("c9", "return(2s,5%)".to_owned()), ("c5", "return(200ms)".to_owned())]
        );
        assert_eq!(Stay::parse("2s,5%"), Some(Stay { time: Duration::from_secs(2), per_mille: 50 }));
        assert_eq!(Stay::parse("200ms"), Some(Stay { time: Duration::from_millis(200), per_mille: 1000 }));
        for bad in ["", "2", "s", "2s,5", "2s,101%", "2h", "-1s"] {
            assert_eq!(Stay::parse(bad), None, "{bad}");
        }
    }

    #[test]
    #[should_panic(expected = "c99=delay(1s)")]
    fn a_window_that_does_not_exist_is_refused() {
        orders("c99=delay(1s)");
    }

    #[test]
    fn the_share_of_visits_is_as_chosen_and_the_same_for_the_same_seed() {
        let stay = Stay::parse("1s,10%").unwrap();
        let taken = |seed| (0..10_000).filter(|visit| stay.takes(seed, Window::C9, *visit)).collect::<Vec<_>>();
        assert!((800..1200).contains(&taken(7).len()), "{}", taken(7).len());
        assert_eq!(taken(7), taken(7));
        assert_ne!(taken(7), taken(8));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn who_gives_up_what_he_stands_for_is_said_to_have_left() {
        let path = std::env::temp_dir().join(format!("payfleet-windows-{}", uuid::Uuid::now_v7()));
        let log = Some(OpenOptions::new().append(true).create(true).open(&path).unwrap());
        let armed: &Armed = Box::leak(Box::new(Armed { seed: 0, log, visits: Mutex::default() }));
        let standing = async {
            let _stay = Stayed::begin(armed, Window::C7, 3);
            std::future::pending::<()>().await;
        };
        assert!(tokio::time::timeout(Duration::from_millis(5), standing).await.is_err());
        let said = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        let pid = std::process::id();
        assert_eq!(said, format!("c7 {pid} 3 in\nc7 {pid} 3 out\n"));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn standing_in_a_window_holds_no_thread() {
        LazyLock::force(&ARMED);
        fail::cfg("c1", "return(600s)").unwrap();
        tokio::select! {
            biased;
            () = stand_in(Window::C1) => panic!("it did not stand"),
            () = stand_in(Window::C2) => {}
        }
        tokio::select! {
            () = stand_in(Window::C1) => panic!("it did not stand"),
            () = tokio::time::sleep(Duration::from_millis(5)) => {}
        }
        fail::remove("c1");
        stand_in(Window::C1).await;
    }
}
