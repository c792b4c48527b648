//! Calls between daemons: one asks, the other answers, in the same event or in a later
//! one.

use crate::{answer, Id, Refused};

#[rustfmt::skip] #[cfg(target_arch = "wasm32")] #[link(wasm_import_module = "wasmhost")]
extern "C" {
    #[link_name = "ask"]
    fn host_ask(id: *const u8, ptr: *const u8, len: usize, deadline: i64) -> i64;
    #[link_name = "answer"]
    fn host_answer(call: u64, ptr: *const u8, len: usize) -> i32;
    #[link_name = "refuse"]
    fn host_refuse(call: u64, ptr: *const u8, len: usize) -> i32;
    #[link_name = "event_call"]
    fn host_event_call() -> u64;
    #[link_name = "event_status"]
    fn host_event_status() -> u32;
}

#[cfg(not(target_arch = "wasm32"))]
use crate::sdktest::host::*;

/// A call between daemons: to who asked it is what [`ask`] returned, to who is asked what
/// [`event_call`] returns. 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call(pub u64);

impl Call {
    /// Answers what another daemon asked. The first answer counts.
    pub fn answer(self, data: impl AsRef<[u8]>) -> Result<(), Refused> {
        let data = data.as_ref();
        answer(unsafe { host_answer(self.0, data.as_ptr(), data.len()) })
    }

    /// Answers with the reason why there is no answer.
    pub fn refuse(self, reason: &str) -> Result<(), Refused> {
        answer(unsafe { host_refuse(self.0, reason.as_ptr(), reason.len()) })
    }
}

/// A call that ended without an answer, and what the other daemon said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// The other daemon refused it, for that reason.
    Refused(String),
    /// The other daemon failed on it, with that error.
    Failed(String),
    /// There is no such daemon, or it was removed.
    NoSuchDaemon,
    /// The deadline passed first.
    TimedOut,
    /// This daemon is a fork of the one that asked.
    Forked,
    /// The call was not made.
    NotMade(Refused),
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CallError::Refused(text) => write!(f, "refused: {}", text),
            CallError::Failed(text) => write!(f, "failed: {}", text),
            CallError::NoSuchDaemon => f.write_str("no such daemon"),
            CallError::TimedOut => f.write_str("timed out"),
            CallError::Forked => f.write_str("forked"),
            CallError::NotMade(r) => r.fmt(f),
        }
    }
}

impl std::error::Error for CallError {}

/// An event may end with one: `ask(...).await?`.
impl From<CallError> for crate::Failure {
    fn from(e: CallError) -> Self {
        crate::Failure::new(1, e.to_string())
    }
}

/// Sends an event of [`EventKind::Asked`](crate::EventKind) to a daemon, which answers it:
/// as [`send`](crate::send), under the same grant. How the call ends comes as an event of
/// [`EventKind::Reply`](crate::EventKind) whose [`event_call`] is the one that is returned.
/// The deadline is in nanoseconds since the Unix epoch; 0: it never passes.
pub fn ask(to: &Id, data: impl AsRef<[u8]>, deadline: i64) -> Result<Call, Refused> {
    let data = data.as_ref();
    match unsafe { host_ask(to.as_ptr(), data.as_ptr(), data.len(), deadline) } {
        n if n < 0 => answer(-n as i32).map(|_| Call(0)),
        n => Ok(Call(n as u64)),
    }
}

/// Of an event of [`EventKind::Asked`](crate::EventKind), what to answer; of one of
/// [`EventKind::Reply`](crate::EventKind), the call that has ended; else 0.
pub fn event_call() -> Call {
    Call(unsafe { host_event_call() })
}

/// The answer that an event of [`EventKind::Reply`](crate::EventKind) with that data brings.
pub fn reply(data: &[u8]) -> Result<Vec<u8>, CallError> {
    let text = || String::from_utf8_lossy(data).into_owned();
    match unsafe { host_event_status() } {
        0 => Ok(data.to_vec()),
        1 => Err(CallError::Refused(text())),
        3 => Err(CallError::NoSuchDaemon),
        4 => Err(CallError::TimedOut),
        5 => Err(CallError::Forked),
        _ => Err(CallError::Failed(text())),
    }
}
