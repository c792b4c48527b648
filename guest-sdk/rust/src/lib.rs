//! Write wasmhost daemons in Rust (contract version 1).
//!
//! Implement [`Daemon`] and export it with one macro: [`export!`] for a daemon
//! whose memory is its state, [`export_with_hooks!`] for one whose state also goes
//! over to the next version of the code, [`export_stateless!`] for one that keeps
//! nothing between events.
//! Build a `cdylib` for `wasm32-unknown-unknown`. A panic reaches whoever sent
//! the event with its text, and the event leaves no trace.

mod call;
pub mod task;

pub use call::{ask, event_call, reply, Call, CallError};
use std::cell::RefCell;

/// The version of the contract that this crate follows.
pub const ABI_VERSION: u32 = 1;

/// Why an event, or a hook, failed: a code other than 0 and a text, which the
/// sender gets.
#[derive(Debug, Clone)]
pub struct Failure {
    pub code: i32,
    pub text: String,
}

impl Failure {
    /// Makes a failure. A code of 0 becomes 1: 0 means success.
    pub fn new(code: i32, text: impl Into<String>) -> Self {
        Failure { code: if code == 0 { 1 } else { code }, text: text.into() }
    }
}

/// Any text is a failure of code 1: `return Err("no such key".into())`.
impl From<&str> for Failure {
    fn from(text: &str) -> Self {
        Failure::new(1, text)
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Failure::new(1, text)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

/// What a call into the daemon returns.
pub type Result<T> = std::result::Result<T, Failure>;

/// A daemon. The host calls it one event at a time.
pub trait Daemon: Sized + 'static {
    /// Makes the daemon from its configuration, which may be empty.
    fn init(config: &[u8]) -> Result<Self>;

    /// Applies one event. Outputs go out by [`emit`]. When it fails, the host
    /// undoes everything that it changed.
    fn process(&mut self, event: Event<'_>) -> Result<()>;

    /// Returns the state, for [`Daemon::restore`] to begin from.
    fn snapshot(&mut self) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }

    /// Makes the daemon from what `snapshot` returned.
    fn restore(_state: &[u8]) -> Result<Self> {
        Err(Failure::new(3, "the daemon takes no state"))
    }
}

/// An identity: an ed25519 public key. All zeros is nobody.
pub type Id = [u8; 32];

/// One event. It is a `&[u8]` where one is wanted. What it knows of its sender is
/// asked of the host when it is needed.
#[derive(Clone, Copy)]
pub struct Event<'a> {
    data: &'a [u8],
}

impl<'a> Event<'a> {
    /// The event's bytes.
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// Which event this is: 1 for the first that the daemon applies.
    pub fn sequence(&self) -> u64 {
        unsafe { host_event_sequence() }
    }

    /// When the event was recorded, in nanoseconds since the Unix epoch.
    pub fn time(&self) -> i64 {
        now()
    }

    /// The sender's identity; zeros when the event is anonymous.
    pub fn sender(&self) -> Id {
        let mut id = [0; 32];
        unsafe { host_event_sender(id.as_mut_ptr()) };
        id
    }

    /// The sender's origin hash; 0 when the event is anonymous.
    pub fn origin(&self) -> u64 {
        unsafe { host_event_origin() }
    }

    /// The channel that the event came by; empty for a direct event.
    pub fn channel(&self) -> String {
        let mut name = vec![0; 255];
        let len = unsafe { host_event_channel(name.as_mut_ptr(), name.len()) };
        name.truncate(len);
        String::from_utf8_lossy(&name).into_owned()
    }
}

impl std::ops::Deref for Event<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.data
    }
}

#[rustfmt::skip] #[cfg(target_arch = "wasm32")] #[link(wasm_import_module = "wasmhost")]
extern "C" {
    #[link_name = "emit"]
    fn host_emit(ptr: *const u8, len: usize);
    #[link_name = "fail"]
    fn host_fail(ptr: *const u8, len: usize);
    #[link_name = "log"]
    fn host_log(level: i32, ptr: *const u8, len: usize);
    #[link_name = "event_origin"]
    fn host_event_origin() -> u64;
    #[link_name = "event_sequence"]
    fn host_event_sequence() -> u64;
    #[link_name = "event_time"]
    fn host_event_time() -> i64;
    #[link_name = "event_sender"]
    fn host_event_sender(ptr: *mut u8);
    #[link_name = "event_channel"]
    fn host_event_channel(ptr: *mut u8, cap: usize) -> usize;
    #[link_name = "daemon_id"]
    fn host_daemon_id(ptr: *mut u8);
    #[link_name = "random"]
    fn host_random(ptr: *mut u8, len: usize);
}

/// Emits one output.
pub fn emit(data: impl AsRef<[u8]>) {
    let data = data.as_ref();
    unsafe { host_emit(data.as_ptr(), data.len()) }
}

/// Levels of [`log`].
#[derive(Clone, Copy)]
pub enum Level {
    Debug = 0,
    Info = 1,
    Warn = 2,
    Error = 3,
}

/// Writes a line to the daemon's log.
pub fn log(level: Level, text: &str) {
    unsafe { host_log(level as i32, text.as_ptr(), text.len()) }
}

/// When the event was recorded, in nanoseconds since the Unix epoch. It is the
/// daemon's only clock.
pub fn now() -> i64 {
    unsafe { host_event_time() }
}

/// The daemon's own identity.
pub fn daemon_id() -> Id {
    let mut id = [0; 32];
    unsafe { host_daemon_id(id.as_mut_ptr()) };
    id
}

/// Fills `out` from the event's random stream: the same again on a replay.
pub fn random(out: &mut [u8]) {
    unsafe { host_random(out.as_mut_ptr(), out.len()) }
}

/// What the macros need. Not for direct use.
#[doc(hidden)]
pub mod glue {
    use super::*;

    thread_local! {
        static INPUT: RefCell<Vec<u8>> = RefCell::new(Vec::new());
        static OUTPUT: RefCell<Vec<u8>> = RefCell::new(Vec::new());
    }

    /// The input buffer, made larger where it must be.
    pub fn alloc(len: usize) -> *mut u8 {
        hook();
        INPUT.with(|b| {
            let mut b = b.borrow_mut();
            if b.len() < len.max(1) {
                *b = vec![0; len.max(4096).next_power_of_two()];
            }
            b.as_mut_ptr()
        })
    }

    /// The bytes that the host has put into the input buffer.
    ///
    /// # Safety
    /// `ptr` and `len` are what the host passed.
    pub unsafe fn input<'a>(ptr: *const u8, len: usize) -> &'a [u8] {
        if len == 0 {
            return &[];
        }
        std::slice::from_raw_parts(ptr, len)
    }

    /// What `input` is to a daemon.
    ///
    /// # Safety
    /// As for `input`.
    pub unsafe fn event<'a>(ptr: *const u8, len: usize) -> Event<'a> {
        Event { data: input(ptr, len) }
    }

    /// The code of a result; its text goes to the host.
    pub fn code<T>(r: Result<T>) -> (i32, Option<T>) {
        match r {
            Ok(v) => (0, Some(v)),
            Err(f) => {
                unsafe { host_fail(f.text.as_ptr(), f.text.len()) };
                (f.code, None)
            }
        }
    }

    /// Keeps the state in place and returns where it is.
    pub fn output(state: Vec<u8>) -> u64 {
        OUTPUT.with(|b| {
            let mut b = b.borrow_mut();
            *b = state;
            (b.as_ptr() as usize as u64) << 32 | b.len() as u64
        })
    }

    /// Makes panics reach the host with their text.
    fn hook() {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| {
            std::panic::set_hook(Box::new(|info| {
                let text = info.to_string();
                unsafe { host_fail(text.as_ptr(), text.len()) }
            }))
        });
    }
}

/// Exports a daemon. The host captures its memory: it needs no code for that.
#[macro_export]
macro_rules! export {
    ($daemon:ty) => {
        $crate::export_common!($daemon);
    };
}

/// Exports a daemon that has `snapshot` and `restore`, by which its state goes over
/// to another version of the code.
#[macro_export]
macro_rules! export_with_hooks {
    ($daemon:ty) => {
        $crate::export_common!($daemon);

        #[no_mangle]
        pub extern "C" fn wasmhost_snapshot() -> u64 {
            wasmhost_daemon(|d| match $crate::glue::code(<$daemon as $crate::Daemon>::snapshot(d)) {
                (0, Some(state)) => $crate::glue::output(state),
                _ => u64::MAX,
            })
        }

        #[no_mangle]
        pub unsafe extern "C" fn wasmhost_restore(ptr: *const u8, len: usize) -> i32 {
            let (code, daemon) = $crate::glue::code(<$daemon as $crate::Daemon>::restore($crate::glue::input(ptr, len)));
            if let Some(d) = daemon {
                DAEMON.with(|slot| *slot.borrow_mut() = Some(d));
            }
            code
        }
    };
}

/// A daemon that answers questions, which change nothing: the host undoes whatever the answer
/// took. It may neither emit nor act on others. `export_query!` exports it, after the macro
/// that exports the daemon.
pub trait Query {
    /// Answers a question. Where it fails, who asked gets the failure.
    fn query(&self, question: &[u8]) -> Result<Vec<u8>>;
}

/// Exports the [`Query`] of a daemon that is exported in the same module.
#[macro_export]
macro_rules! export_query {
    ($daemon:ty) => {
        #[no_mangle]
        pub unsafe extern "C" fn wasmhost_query(ptr: *const u8, len: usize) -> u64 {
            wasmhost_daemon(|d| match $crate::glue::code(<$daemon as $crate::Query>::query(d, $crate::glue::input(ptr, len))) {
                (0, Some(answer)) => $crate::glue::output(answer),
                _ => u64::MAX,
            })
        }
    };
}

/// Exports a daemon that keeps nothing from one event to the next.
#[macro_export]
macro_rules! export_stateless {
    ($daemon:ty) => {
        $crate::export_common!($daemon);

        #[no_mangle]
        pub extern "C" fn wasmhost_stateless() {}
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! export_common {
    ($daemon:ty) => {
        thread_local! {
            static DAEMON: std::cell::RefCell<Option<$daemon>> = std::cell::RefCell::new(None);
        }

        /// Calls `f` with the daemon, which is made without configuration where
        /// the host gave none.
        fn wasmhost_daemon<T>(f: impl FnOnce(&mut $daemon) -> T) -> T {
            DAEMON.with(|slot| {
                let mut slot = slot.borrow_mut();
                if slot.is_none() {
                    match <$daemon as $crate::Daemon>::init(&[]) {
                        Ok(d) => *slot = Some(d),
                        Err(e) => panic!("the daemon needs a configuration: {}", e.text),
                    }
                }
                f(slot.as_mut().unwrap())
            })
        }

        #[no_mangle]
        pub extern "C" fn wasmhost_abi_v1() {}

        #[no_mangle]
        pub extern "C" fn wasmhost_alloc(len: usize) -> *mut u8 {
            $crate::glue::alloc(len)
        }

        #[no_mangle]
        pub unsafe extern "C" fn wasmhost_init(ptr: *const u8, len: usize) -> i32 {
            let (code, daemon) = $crate::glue::code(<$daemon as $crate::Daemon>::init($crate::glue::input(ptr, len)));
            if let Some(d) = daemon {
                DAEMON.with(|slot| *slot.borrow_mut() = Some(d));
            }
            code
        }

        #[no_mangle]
        pub unsafe extern "C" fn wasmhost_process(ptr: *const u8, len: usize) -> i32 {
            wasmhost_daemon(|d| $crate::glue::code(<$daemon as $crate::Daemon>::process(d, $crate::glue::event(ptr, len))).0)
        }
    };
}

/// What an event is to its daemon. There may be more kinds in later versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// It was sent to the daemon.
    Direct,
    /// It came by a channel that the daemon is subscribed to.
    Channel,
    /// It stands for a channel's events that are lost: 16 bytes, the sequences of the
    /// first and the last of them, little-endian; zeros where they are not known.
    Gap,
    /// A timer of the daemon's own is due.
    Timer,
    /// Another daemon sent it, which is proven.
    Daemon,
    /// Another daemon asks, which is proven, and waits for an answer: see [`event_call`].
    Asked,
    /// A call of the daemon's own has ended: see [`reply`].
    Reply,
    /// It is no event, but a question: see [`Query`].
    Query,
}

#[rustfmt::skip] #[cfg(target_arch = "wasm32")] #[link(wasm_import_module = "wasmhost")]
extern "C" {
    #[link_name = "event_kind"]
    fn host_event_kind() -> u32;
}

/// What the event is.
pub fn event_kind() -> EventKind {
    match unsafe { host_event_kind() } {
        1 => EventKind::Channel,
        2 => EventKind::Gap,
        3 => EventKind::Timer,
        4 => EventKind::Daemon,
        5 => EventKind::Asked,
        6 => EventKind::Reply,
        7 => EventKind::Query,
        _ => EventKind::Direct,
    }
}

/// Why something is not published, sent or set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The daemon was not granted that when it was spawned.
    Denied = 1,
    /// No channel, daemon or time is like that.
    Invalid = 2,
    /// The payload has more than 1 MiB.
    TooLarge = 3,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Refused::Denied => "the daemon was not granted that",
            Refused::Invalid => "no channel, daemon or time is like that",
            Refused::TooLarge => "more than 1 MiB",
        })
    }
}

impl std::error::Error for Refused {}

/// An event may end with one: `publish("news", text)?`.
impl From<Refused> for Failure {
    fn from(r: Refused) -> Self {
        Failure::new(1, r.to_string())
    }
}

#[rustfmt::skip] #[cfg(target_arch = "wasm32")] #[link(wasm_import_module = "wasmhost")]
extern "C" {
    #[link_name = "publish"]
    fn host_publish(channel: *const u8, channel_len: usize, ptr: *const u8, len: usize) -> i32;
    #[link_name = "send"]
    fn host_send(id: *const u8, ptr: *const u8, len: usize) -> i32;
    #[link_name = "timer"]
    fn host_timer(at: i64, ptr: *const u8, len: usize) -> i64;
    #[link_name = "timer_cancel"]
    fn host_timer_cancel(timer: i64);
}

fn answer(code: i32) -> std::result::Result<(), Refused> {
    match code {
        0 => Ok(()),
        1 => Err(Refused::Denied),
        3 => Err(Refused::TooLarge),
        _ => Err(Refused::Invalid),
    }
}

/// Publishes an event on a channel, once this event is durable.
pub fn publish(channel: &str, data: impl AsRef<[u8]>) -> std::result::Result<(), Refused> {
    let data = data.as_ref();
    answer(unsafe { host_publish(channel.as_ptr(), channel.len(), data.as_ptr(), data.len()) })
}

/// Sends an event to a daemon, wherever it is, once this event is durable.
pub fn send(to: &Id, data: impl AsRef<[u8]>) -> std::result::Result<(), Refused> {
    let data = data.as_ref();
    answer(unsafe { host_send(to.as_ptr(), data.as_ptr(), data.len()) })
}

/// A timer that was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer(pub i64);

impl Timer {
    /// Makes the timer not fire. One that has fired is no error.
    pub fn cancel(self) {
        unsafe { host_timer_cancel(self.0) }
    }
}

/// Has the daemon get `data` as an event of [`EventKind::Timer`] at that time, in
/// nanoseconds since the Unix epoch: once, and late rather than never.
pub fn timer(at: i64, data: impl AsRef<[u8]>) -> std::result::Result<Timer, Refused> {
    let data = data.as_ref();
    match unsafe { host_timer(at, data.as_ptr(), data.len()) } {
        n if n < 0 => answer(-n as i32).map(|_| Timer(0)),
        n => Ok(Timer(n)),
    }
}

/// [`timer`] at so long after this event.
pub fn timer_after(delay: std::time::Duration, data: impl AsRef<[u8]>) -> std::result::Result<Timer, Refused> {
    timer(now().saturating_add(delay.as_nanos() as i64), data)
}

#[cfg(not(target_arch = "wasm32"))]
pub mod sdktest;

#[cfg(not(target_arch = "wasm32"))]
use sdktest::host::*;
