//! Who stands in which window now, who was ever in one, and who died there: from the lines that armed failpoints leave.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use payfleet::service::failpoint::Window;

pub struct Watch {
    log: PathBuf,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    offset: u64,
    /// The beginning of a line whose rest is not written yet.
    rest: String,
    inside: HashMap<u32, BTreeSet<(Window, u64)>>,
    entered: BTreeMap<Window, u64>,
    died: BTreeMap<Window, u64>,
}

/// Of one window, over the whole run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Fired {
    pub entered: u64,
    pub died: u64,
}

impl Watch {
    pub fn new(log: &Path) -> Self {
        Self { log: log.to_owned(), seen: Mutex::default() }
    }

    fn look(&self) -> MutexGuard<'_, Seen> {
        let mut seen = self.seen.lock().unwrap();
        let mut text = String::new();
        if let Ok(mut log) = File::open(&self.log) {
            log.seek(SeekFrom::Start(seen.offset)).unwrap();
            seen.offset += log.read_to_string(&mut text).unwrap() as u64;
        }
        seen.take(&text);
        seen
    }

    pub fn stands_in(&self, pid: u32, window: Window) -> bool {
        self.look().inside.get(&pid).is_some_and(|stays| stays.iter().any(|(inside, _)| *inside == window))
    }

    /// The process is dead: in these windows it died.
    pub fn bury(&self, pid: u32) -> BTreeSet<Window> {
        let mut seen = self.look();
        let windows: BTreeSet<Window> =
            seen.inside.remove(&pid).unwrap_or_default().into_iter().map(|(window, _)| window).collect();
        for window in &windows {
            *seen.died.entry(*window).or_default() += 1;
        }
        windows
    }

    /// The process has ended by itself.
    pub fn forget(&self, pid: u32) {
        self.look().inside.remove(&pid);
    }

    pub fn fired(&self) -> Vec<(Window, Fired)> {
        let seen = self.look();
        let of = |map: &BTreeMap<Window, u64>, window| map.get(window).copied().unwrap_or_default();
        Window::ALL
            .iter()
            .map(|window| (*window, Fired { entered: of(&seen.entered, window), died: of(&seen.died, window) }))
            .collect()
    }
}

impl Seen {
    fn take(&mut self, text: &str) {
        self.rest.push_str(text);
        let whole = self.rest.rfind('\n').map_or(0, |end| end + 1);
        let lines: String = self.rest.drain(..whole).collect();
        for line in lines.lines() {
            let [window, pid, visit, said] = line.split(' ').collect::<Vec<_>>()[..] else { continue };
            let Some(window) = Window::ALL.iter().find(|known| known.name() == window) else { continue };
            let (pid, visit): (u32, u64) = (pid.parse().unwrap(), visit.parse().unwrap());
            if said == "in" {
                *self.entered.entry(*window).or_default() += 1;
                self.inside.entry(pid).or_default().insert((*window, visit));
            } else if let Some(stays) = self.inside.get_mut(&pid) {
                stays.remove(&(*window, visit));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_died_where_it_stood_and_not_where_it_had_been() {
        let watch = Watch::new(Path::new("/nowhere"));
        watch.seen.lock().unwrap().take("c9 7 1 in\nc10 7 1 in\nc9 7 1 out\nc9 8 1 in\nc11 7 ");
        assert!(watch.stands_in(7, Window::C10) && !watch.stands_in(7, Window::C9));
        watch.seen.lock().unwrap().take("3 in\n");
        assert_eq!(watch.bury(7), [Window::C10, Window::C11].into());
        assert_eq!(watch.bury(7), [].into());
        let fired: BTreeMap<Window, Fired> = watch.fired().into_iter().collect();
        assert_eq!(fired[&Window::C9], Fired { entered: 2, died: 0 });
        assert_eq!(fired[&Window::C11], Fired { entered: 1, died: 1 });
        assert_eq!(fired[&Window::C1], Fired::default());
    }
}
