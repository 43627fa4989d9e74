//! Looks after one place of the fleet: does to whoever holds it what the schedule says, and puts another there at once.

use std::collections::{BTreeSet, VecDeque};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use payfleet::service::failpoint::Window;
use rustix::process::Signal;

use super::ground::{Armed, Ground, is_rare};
use super::named;
use super::poison::{self, Spread};
use super::schedule::{Act, Fault};
use super::tally::Tally;
use super::watch::Watch;
use crate::fleet::crew::Place;
use crate::fleet::process::Process;

/// Between two looks at who stands where; a stay is much longer.
const LOOK: Duration = Duration::from_millis(15);
/// How long a process is given to come to the window in which it is to be killed.
const AIM: Duration = Duration::from_secs(4);
/// Likewise of a rare window, for all of its role.
const AIM_RARE: Duration = Duration::from_secs(12);
/// From SIGTERM on; a process gives itself 20 s.
const END_WITHIN: Duration = Duration::from_secs(40);
/// From its start on: a machine with two cores may have ten processes that start.
const HEEDS_WITHIN: Duration = Duration::from_secs(5);
/// How long one who was started is waited for before it is frozen.
const SETTLES_IN: Duration = Duration::from_secs(10);
const READY_WITHIN: Duration = Duration::from_secs(60);
/// What a process says that could not finish in its time, and ends with 1: Postgres or Kafka was away meanwhile. Documented in
/// `cli::processes`.
const OVERDUE: &str = "the deadline for stopping is over";

pub struct Keeper<'a> {
    pub ground: &'a Ground,
    pub watch: &'a Watch,
    pub tally: &'a Tally,
    place: Place,
    process: Process,
    armed: Armed,
    /// Where whoever holds the place is still to be killed.
    aims: VecDeque<Option<Window>>,
}

fn aims(acts: &[Act]) -> VecDeque<Option<Window>> {
    acts.iter().filter_map(|act| if let Fault::Kill(aim) = act.fault { Some(aim) } else { None }).collect()
}

/// Before a kill in a rare window somebody else may be killed instead: whoever is left is armed for the kill after it.
fn armed_for(aims: &VecDeque<Option<Window>>) -> Armed {
    if aims.is_empty() {
        return Armed::Not;
    }
    Armed::For(aims.iter().take_while(|aim| aim.is_some()).flatten().copied().find(|window| !is_rare(*window)))
}

/// With what the first holder of a place is started.
pub fn armed_at_first(acts: &[Act]) -> Armed {
    armed_for(&aims(acts))
}

impl<'a> Keeper<'a> {
    pub fn new(ground: &'a Ground, watch: &'a Watch, tally: &'a Tally, (place, process): (Place, Process)) -> Self {
        Self { ground, watch, tally, place, process, armed: Armed::Not, aims: VecDeque::new() }
    }

    /// Does it all. The process that holds the place afterwards has no failpoints.
    pub async fn follow(mut self, acts: Vec<Act>) -> (Place, Process) {
        self.aims = aims(&acts);
        self.armed = armed_for(&self.aims);
        for act in acts {
            self.idle_until(self.tally.at(act.at_ms)).await;
            let in_time = Instant::now() < self.tally.ends;
            match act.fault {
                Fault::Kill(aim) => {
                    self.aims.pop_front();
                    if in_time { self.kill(aim).await } else { self.tally.not_done("kill -9", "no time left") }
                }
                _ if !in_time => self.tally.not_done(named::this(&act.fault), "no time left"),
                Fault::Freeze(ms) => self.freeze(ms).await,
                Fault::Away(ms) => {
                    self.leave().await;
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                    self.replace();
                    self.tally.done(named::this(&Fault::Away(ms)));
                }
                Fault::Clock { jump_s, ms } => self.jump(jump_s, ms).await,
                Fault::Roll => {
                    self.roll().await;
                    self.tally.done(named::this(&Fault::Roll));
                }
                other => unreachable!("{other:?} of a place"),
            }
        }
        self.idle_until(self.tally.ends).await;
        self.aims.clear();
        if self.armed != Armed::Not {
            self.roll().await;
        }
        (self.place, self.process)
    }

    /// Stays until then, sees to it that somebody holds the place, and lets the holder be killed where anybody is to be.
    pub async fn idle_until(&mut self, at: Instant) {
        loop {
            let next = at.min(Instant::now() + LOOK);
            tokio::select! {
                status = self.process.ended() => self.has_failed(status),
                () = tokio::time::sleep_until(next.into()) => {}
            }
            if self.tally.is_wanted() {
                let pid = self.process.pid;
                if self.tally.take_wanted(|window| self.watch.stands_in(pid, window)).is_some() {
                    self.kill_now().await;
                }
            }
            if Instant::now() >= at {
                return;
            }
        }
    }

    /// Likewise, and whether whoever holds the place was ready before that.
    pub async fn joins_until(&mut self, at: Instant) -> bool {
        let mut is_ready = false;
        while !is_ready && Instant::now() < at {
            self.idle_until(at.min(Instant::now() + LOOK)).await;
            is_ready = self.process.is_ready().await;
        }
        self.idle_until(at).await;
        is_ready
    }

    /// It ended without being told to.
    fn has_failed(&mut self, status: ExitStatus) {
        let (name, words) = (self.process.name.clone(), self.process.last_words());
        self.tally.failure(format!("{name} ended by itself with {status}:\n{words}"));
        self.watch.forget(self.process.pid);
        self.replace();
    }

    fn replace(&mut self) {
        self.armed = armed_for(&self.aims);
        self.process = self.ground.start(self.place, self.armed);
    }

    async fn kill(&mut self, aim: Option<Window>) {
        match aim {
            Some(window) if is_rare(window) => {
                self.tally.want(window);
                let limit = Instant::now() + AIM_RARE;
                let mut ready = if window == Window::C17 { Err("no time left".to_owned()) } else { Ok(()) };
                // Whoever takes it does the killing, this place's holder among them.
                while self.tally.wants(window) && Instant::now() < limit.min(self.tally.ends) {
                    if ready.is_err() {
                        ready = self.poison().await;
                    }
                    self.idle_until(Instant::now() + LOOK).await;
                }
                if let Err(why) = ready {
                    self.tally.not_done(poison::SPREAD, &why);
                }
                if self.tally.withdraw(window) {
                    self.kill_now().await;
                }
            }
            Some(window) => {
                let limit = Instant::now() + AIM;
                while !self.watch.stands_in(self.process.pid, window) && Instant::now() < limit {
                    self.idle_until(Instant::now() + LOOK).await;
                }
                self.kill_now().await;
            }
            None => self.kill_now().await,
        }
    }

    async fn poison(&self) -> Result<(), String> {
        let Spread { meant, arrived } =
            poison::spread(&self.ground.brokers).await.map_err(|error| error.to_string())?;
        let enough = !arrived.is_empty() && arrived.len() * 2 >= meant;
        self.tally.poisoned(arrived);
        if !enough {
            return Err("too few arrived".to_owned());
        }
        self.tally.done(poison::SPREAD);
        Ok(())
    }

    async fn kill_now(&mut self) {
        let pid = self.process.pid;
        self.process.strike().await;
        let inside: BTreeSet<Window> = self.watch.bury(pid);
        self.tally.killed(self.place.0, !inside.is_empty());
        self.tally.done("kill -9");
        self.replace();
    }

    /// Whoever has just been started has nothing yet that it could lose by standing still, nor does it heed signals.
    async fn freeze(&mut self, ms: u64) {
        let limit = Instant::now() + SETTLES_IN;
        while !self.process.is_ready().await {
            if Instant::now() > limit {
                return self.tally.not_done(named::this(&Fault::Freeze(ms)), "nobody was at work");
            }
            self.idle_until(Instant::now() + LOOK).await;
        }
        self.process.freeze();
        // It stands still: it can neither end nor come to a window.
        tokio::time::sleep(Duration::from_millis(ms)).await;
        self.process.thaw();
        self.tally.done(named::this(&Fault::Freeze(ms)));
    }

    async fn jump(&mut self, jump_s: i64, ms: u64) {
        let what = named::this(&Fault::Clock { jump_s, ms });
        if !self.ground.set_clock(self.place, jump_s) {
            return self.tally.not_done(what, "libfaketime is not installed");
        }
        self.idle_until(Instant::now() + Duration::from_millis(ms)).await;
        self.ground.set_clock(self.place, 0);
        self.tally.done(what);
    }

    /// SIGTERM, and another in its place.
    async fn roll(&mut self) {
        self.leave().await;
        self.replace();
    }

    /// Ends whoever holds the place in good order, whatever else is being done to the fleet.
    pub async fn leave(&mut self) {
        self.end(true).await;
    }

    /// Likewise when nothing is done to anybody any more: there is no reason not to end well.
    pub async fn dismiss(&mut self) {
        self.end(false).await;
    }

    async fn end(&mut self, amid_faults: bool) {
        let (name, pid) = (self.process.name.clone(), self.process.pid);
        let is_young = self.process.started.elapsed() < HEEDS_WITHIN;
        self.process.ask_to_end();
        match tokio::time::timeout(END_WITHIN, self.process.ended()).await {
            Ok(status) if status.success() => {}
            Ok(status) if amid_faults && status.code() == Some(1) && self.process.last_words().contains(OVERDUE) => {
                self.tally.done("a process ended before it had finished: its deadline was over");
            }
            // Only whoever does not heed signals yet can die of this one: it had been started a moment ago, and had begun nothing.
            Ok(status) if amid_faults && is_young && status.signal() == Some(Signal::TERM.as_raw()) => {
                self.tally.done("a process was told to end before it had begun");
            }
            Ok(status) => {
                self.tally.failure(format!("{name}, told to end, ended with {status}:\n{}", self.process.last_words()))
            }
            Err(_) => {
                self.tally.failure(format!("{name}, told to end, went on:\n{}", self.process.last_words()));
                self.process.strike().await;
            }
        }
        self.watch.forget(pid);
    }
}

/// Waits until it is ready, however often it has to be started. It must not come to that.
pub async fn ready(ground: &Ground, tally: &Tally, (place, mut process): (Place, Process)) -> (Place, Process) {
    let limit = Instant::now() + READY_WITHIN;
    while !process.is_ready().await {
        tokio::select! {
            status = process.ended() => {
                let (name, words) = (&process.name, process.last_words());
                tally.failure(format!("{name} ended by itself with {status}:\n{words}"));
                process = ground.start(place, Armed::Not);
            }
            () = tokio::time::sleep(LOOK) => {}
        }
        if Instant::now() > limit {
            tally.failure(format!("{} was not ready within {READY_WITHIN:?}:\n{}", process.name, process.last_words()));
            break;
        }
    }
    (place, process)
}
