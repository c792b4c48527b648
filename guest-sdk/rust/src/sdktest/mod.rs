//! Runs a daemon in `cargo test`, under a host that keeps everything in memory:
//!
//! ```
//! use wasmhost::{emit, sdktest, Daemon, Event, Result};
//!
//! struct Echo;
//!
//! impl Daemon for Echo {
//!     fn init(_config: &[u8]) -> Result<Self> { Ok(Echo) }
//!     fn process(&mut self, event: Event<'_>) -> Result<()> {
//!         emit(event.data());
//!         Ok(())
//!     }
//! }
//!
//! let mut d = sdktest::spawn::<Echo>("");
//! assert_eq!(d.send("hello").texts(), ["hello"]);
//! ```
//!
//! An event that fails or panics leaves no trace: the daemon is made again, and gets the
//! events before once more, without effects. So what it keeps is in the value that `init`
//! makes, not in statics. `std::time` is the machine's here, and panics in a module: a
//! daemon that is tested asks [`now`](crate::now). `wasmhost run --replay` runs the module
//! itself. In a module there is none of this.

pub(crate) mod host;

use crate::{Call, CallError, Event, EventKind, Failure, Id, Result, Timer};
use host::{run, Denies};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// When a daemon is spawned: 2000-01-01 UTC, in nanoseconds since the Unix epoch.
pub const BEGIN: i64 = 946_684_800_000_000_000;

/// The identity of each daemon.
pub const SELF: Id = [
    0x4e, 0x0d, 0xb1, 0x95, 0x18, 0x29, 0xda, 0x71, 0x21, 0xc1, 0xa3, 0xf8, 0xbd, 0xc0, 0xa3, 0x5c,
    0xd0, 0xfe, 0x0c, 0x7e, 0xa9, 0x20, 0xac, 0xd7, 0x18, 0x39, 0x2e, 0x54, 0x6e, 0x8c, 0x51, 0x7b,
];

/// What a daemon does to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    Publish { channel: String, data: Vec<u8> },
    Send { to: Id, data: Vec<u8> },
    Timer { timer: Timer, at: i64, data: Vec<u8> },
    Cancel { timer: Timer },
    /// A call, which [`Daemon::reply`] and [`Daemon::end`] end. A deadline of 0 never passes.
    Ask { call: Call, to: Id, deadline: i64, data: Vec<u8> },
    /// The answer to the event of that sequence, by which another daemon asked.
    Answer { call: Call, data: Vec<u8> },
    Refuse { call: Call, reason: String },
}

/// What came of one event. Where it failed nothing else came of it.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    pub outputs: Vec<Vec<u8>>,
    pub effects: Vec<Effect>,
    pub logs: Vec<String>,
    /// Why it failed. A panic has the code 0.
    pub failure: Option<Failure>,
}

impl Answer {
    /// The outputs as texts.
    pub fn texts(&self) -> Vec<String> {
        self.outputs.iter().map(|b| String::from_utf8_lossy(b).into_owned()).collect()
    }

    /// The code of the failure; None where there is none.
    pub fn code(&self) -> Option<i32> {
        self.failure.as_ref().map(|f| f.code)
    }
}

#[derive(Clone)]
struct Alarm {
    timer: Timer,
    at: i64,
    data: Vec<u8>,
}

/// A daemon in a test.
pub struct Daemon<D> {
    begin: Rc<dyn Fn() -> Result<D>>, // makes it as it was before past
    past: Vec<host::Call>,            // that were applied
    code: D,
    applied: u64,
    now: i64,
    timers: Vec<Alarm>, // by time, then number
    calls: BTreeMap<Call, Id>,
    denies: Denies,
}

/// Makes a daemon from a configuration.
///
/// # Panics
/// Where the daemon's `init` fails.
pub fn spawn<D: crate::Daemon>(config: impl AsRef<[u8]>) -> Daemon<D> {
    let config = config.as_ref().to_vec();
    let begin = Rc::new(move || made(BEGIN, 0, || D::init(&config)));
    match begin() {
        Ok(code) => Daemon { begin, past: Vec::new(), code, applied: 0, now: BEGIN, timers: Vec::new(), calls: BTreeMap::new(), denies: Denies::default() },
        Err(f) => panic!("spawning the daemon: {}", f),
    }
}

/// Runs what makes a daemon.
fn made<D>(at: i64, sequence: u64, make: impl FnOnce() -> Result<D>) -> Result<D> {
    run(&mut host::Call { at, sequence, ..host::Call::default() }, &Denies::default(), make).0
}

impl<D: crate::Daemon> Daemon<D> {
    /// Has the daemon apply an event that was sent to it.
    pub fn send(&mut self, data: impl AsRef<[u8]>) -> Answer {
        self.apply(host::Call { data: data.as_ref().to_vec(), ..Default::default() })
    }

    /// Has the daemon apply an event that another daemon sent.
    pub fn from(&mut self, sender: &Id, data: impl AsRef<[u8]>) -> Answer {
        self.apply(host::Call { data: data.as_ref().to_vec(), kind: EventKind::Daemon, sender: *sender, ..Default::default() })
    }

    /// Has the daemon apply an event by which another daemon asks. It is answered by an
    /// effect, of this event or of a later one, whose call is the event's sequence.
    pub fn ask(&mut self, sender: &Id, data: impl AsRef<[u8]>) -> Answer {
        self.apply(host::Call { data: data.as_ref().to_vec(), kind: EventKind::Asked, sender: *sender, ..Default::default() })
    }

    /// Has the daemon get the answer to a call that it made.
    ///
    /// # Panics
    /// Where it made no such call, or the call has ended.
    pub fn reply(&mut self, call: Call, data: impl AsRef<[u8]>) -> Answer {
        self.ended(call, 0, data.as_ref())
    }

    /// Has the daemon learn that a call ended without an answer; as `reply`.
    ///
    /// # Panics
    /// As `reply`, and for a `CallError::NotMade`.
    pub fn end(&mut self, call: Call, error: &CallError) -> Answer {
        match error {
            CallError::Refused(text) => self.ended(call, 1, text.as_bytes()),
            CallError::Failed(text) => self.ended(call, 2, text.as_bytes()),
            CallError::NoSuchDaemon => self.ended(call, 3, &[]),
            CallError::TimedOut => self.ended(call, 4, &[]),
            CallError::Forked => self.ended(call, 5, &[]),
            CallError::NotMade(_) => panic!("a call that is not made does not end"),
        }
    }

    fn ended(&mut self, call: Call, status: u32, data: &[u8]) -> Answer {
        let sender = match self.calls.remove(&call) {
            Some(sender) => sender,
            None => panic!("the daemon has made no call {}, or it has ended", call.0),
        };
        self.apply(host::Call { data: data.to_vec(), kind: EventKind::Reply, sender, ended: call.0, status, ..Default::default() })
    }

    /// How many calls of the daemon have not ended.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Has the daemon apply an event of a channel. A publisher of zeros is the owner of
    /// the channel's node.
    pub fn channel(&mut self, channel: &str, publisher: &Id, data: impl AsRef<[u8]>) -> Answer {
        self.apply(host::Call { data: data.as_ref().to_vec(), kind: EventKind::Channel, sender: *publisher, channel: channel.into(), ..Default::default() })
    }

    /// Has the daemon apply a gap in a channel: `first` and `last` are lost.
    pub fn gap(&mut self, channel: &str, first: u64, last: u64) -> Answer {
        let data = [first.to_le_bytes(), last.to_le_bytes()].concat();
        self.apply(host::Call { data, kind: EventKind::Gap, channel: channel.into(), ..Default::default() })
    }

    /// Lets time pass, and returns what came of each timer that was due, in order.
    pub fn advance(&mut self, by: Duration) -> Vec<Answer> {
        let until = self.now + by.as_nanos() as i64;
        let mut answers = Vec::new();
        while self.timers.first().map_or(false, |t| t.at <= until) {
            let due = self.timers.remove(0);
            self.now = self.now.max(due.at);
            answers.push(self.apply(host::Call { data: due.data, kind: EventKind::Timer, sender: SELF, ..Default::default() }));
        }
        self.now = until;
        answers
    }

    /// The daemon's time, in nanoseconds since the Unix epoch.
    pub fn now(&self) -> i64 {
        self.now
    }

    /// How many timers are set.
    pub fn timers(&self) -> usize {
        self.timers.len()
    }

    /// Refuses to publish on the channels of which `denies` says true.
    pub fn deny_publish(&mut self, denies: impl Fn(&str) -> bool + 'static) {
        self.denies.publish = Some(Rc::new(denies));
    }

    /// Refuses to send to the daemons of which `denies` says true.
    pub fn deny_send(&mut self, denies: impl Fn(&Id) -> bool + 'static) {
        self.denies.send = Some(Rc::new(denies));
    }

    /// Carries the state to a daemon of the type `N`, by `snapshot` and `restore`, as
    /// `wasmhost upgrade` does. Where that fails, the old one goes on.
    pub fn upgrade<N: crate::Daemon>(&mut self) -> Result<Daemon<N>> {
        let (now, applied) = (self.now, self.applied);
        let code = &mut self.code;
        let state = match made(now, applied, || code.snapshot()) {
            Ok(state) => state,
            Err(f) => {
                self.undo();
                return Err(f);
            }
        };
        let begin = Rc::new(move || made(now, applied, || N::restore(&state)));
        let code = begin()?;
        Ok(Daemon { begin, past: Vec::new(), code, applied, now, timers: self.timers.clone(), calls: self.calls.clone(), denies: self.denies.clone() })
    }

    /// Runs an event, and undoes it where it fails.
    fn apply(&mut self, mut call: host::Call) -> Answer {
        call.at = self.now;
        call.sequence = self.applied + 1;
        let data = call.data.clone();
        let code = &mut self.code;
        let (result, answer) = run(&mut call, &self.denies, || code.process(Event { data: &data }));
        if let Err(f) = result {
            self.undo();
            return Answer { failure: Some(f), ..Answer::default() };
        }

        self.applied += 1;
        self.past.push(call);
        for e in &answer.effects {
            match e {
                Effect::Timer { timer, at, data } => self.timers.push(Alarm { timer: *timer, at: *at, data: data.clone() }),
                Effect::Ask { call, to, .. } => {
                    self.calls.insert(*call, *to);
                }
                Effect::Cancel { timer } => self.timers.retain(|t| t.timer != *timer),
                _ => {}
            }
        }
        self.timers.sort_by_key(|t| t.at); // stable
        answer
    }

    /// Makes the daemon again, with its past.
    fn undo(&mut self) {
        self.code = match (self.begin)() {
            Ok(code) => code,
            Err(f) => panic!("making the daemon again: {}", f),
        };
        for call in &mut self.past {
            let data = call.data.clone();
            let sequence = call.sequence;
            let code = &mut self.code;
            if let Err(f) = run(call, &self.denies, || code.process(Event { data: &data })).0 {
                panic!("event {} was applied, and fails when it is applied again: {}; what the daemon keeps does not follow from its events", sequence, f);
            }
        }
    }
}

impl<D: crate::Daemon + crate::Query> Daemon<D> {
    /// Asks the daemon a question, and undoes what it changed. A question that emits or has
    /// effects fails, as under wasmhost.
    pub fn query(&mut self, question: impl AsRef<[u8]>) -> Result<Vec<u8>> {
        let question = question.as_ref();
        let mut call = host::Call { kind: EventKind::Query, at: self.now, sequence: self.applied, ..Default::default() };
        let code = &self.code;
        let (result, answer) = run(&mut call, &self.denies, || code.query(question));
        self.undo();
        if result.is_ok() && !(answer.outputs.is_empty() && answer.effects.is_empty()) {
            return Err(Failure::new(1, "a question neither emits nor acts on others"));
        }
        result
    }
}
