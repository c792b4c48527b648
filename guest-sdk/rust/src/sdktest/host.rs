//! What a module imports, where the daemon runs in a test: the functions have the names
//! and the parameters that they have in a module.

use super::{Answer, Effect, SELF};
use crate::{EventKind, Failure, Id, Result, Timer};
use std::cell::RefCell;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::rc::Rc;

const DONE: i32 = 0;
const DENIED: i32 = 1;
const INVALID: i32 = 2;
const TOO_LARGE: i32 = 3;

const MAX_PAYLOAD: usize = 1 << 20;

/// An event, and what the host answered to it.
#[derive(Clone)]
pub(super) struct Call {
    pub data: Vec<u8>,
    pub kind: EventKind,
    pub sender: Id,
    pub channel: String,
    pub at: i64,
    pub sequence: u64,
    pub ended: u64,  // the call, of a reply
    pub status: u32, // of a reply
    pub said: Vec<i32>, // what publish and send answered, in order, when it was applied
}

impl Default for Call {
    fn default() -> Self {
        Call { data: Vec::new(), kind: EventKind::Direct, sender: Id::default(), channel: String::new(), at: 0, sequence: 0, ended: 0, status: 0, said: Vec::new() }
    }
}

/// What is refused.
#[derive(Clone, Default)]
pub(super) struct Denies {
    pub publish: Option<Rc<dyn Fn(&str) -> bool>>,
    pub send: Option<Rc<dyn Fn(&Id) -> bool>>,
}

/// What one call is answered by.
struct Host {
    call: Call,
    answer: Answer,
    asked: usize, // how often it was asked for an effect that it may refuse
    random: u64,
    denies: Denies,
}

thread_local! {
    /// The host of the call that this thread's test makes.
    static CURRENT: RefCell<Option<Host>> = RefCell::new(None);
}

/// Runs a call of the daemon's. A panic is a failure of code 0.
pub(super) fn run<T>(call: &mut Call, denies: &Denies, f: impl FnOnce() -> Result<T>) -> (Result<T>, Answer) {
    let host = Host { call: call.clone(), answer: Answer::default(), asked: 0, random: call.sequence, denies: denies.clone() };
    CURRENT.with(|c| *c.borrow_mut() = Some(host));
    let result = match catch_unwind(AssertUnwindSafe(f)) {
        Ok(result) => result,
        Err(p) => {
            let text = p.downcast_ref::<String>().cloned().or_else(|| p.downcast_ref::<&str>().map(|s| s.to_string()));
            Err(Failure { code: 0, text: text.unwrap_or_else(|| "panic".into()) })
        }
    };
    let host = CURRENT.with(|c| c.borrow_mut().take()).expect("the host of this call");
    call.said = host.call.said;
    (result, host.answer)
}

fn host<T>(f: impl FnOnce(&mut Host) -> T) -> T {
    CURRENT.with(|c| match c.borrow_mut().as_mut() {
        Some(h) => f(h),
        None => panic!("there is no host: a daemon runs under wasmhost, or in a test under wasmhost::sdktest"),
    })
}

unsafe fn bytes(ptr: *const u8, len: usize) -> Vec<u8> {
    if len == 0 {
        return Vec::new();
    }
    std::slice::from_raw_parts(ptr, len).to_vec()
}

pub(crate) unsafe fn host_emit(ptr: *const u8, len: usize) {
    let data = bytes(ptr, len);
    host(|h| h.answer.outputs.push(data))
}

pub(crate) unsafe fn host_fail(_ptr: *const u8, _len: usize) {} // the failure itself is returned

pub(crate) unsafe fn host_log(_level: i32, ptr: *const u8, len: usize) {
    let text = String::from_utf8_lossy(&bytes(ptr, len)).into_owned();
    host(|h| h.answer.logs.push(text))
}

pub(crate) unsafe fn host_event_origin() -> u64 {
    let mut id = Id::default();
    host_event_sender(id.as_mut_ptr());
    if id == Id::default() {
        return 0;
    }
    let mut first = [0; 8];
    first.copy_from_slice(&id[..8]);
    u64::from_le_bytes(first) | 1
}

pub(crate) unsafe fn host_event_sequence() -> u64 {
    host(|h| h.call.sequence)
}

pub(crate) unsafe fn host_event_time() -> i64 {
    host(|h| h.call.at)
}

pub(crate) unsafe fn host_event_kind() -> u32 {
    host(|h| h.call.kind as u32)
}

pub(crate) unsafe fn host_event_sender(ptr: *mut u8) {
    let id = host(|h| h.call.sender);
    std::ptr::copy_nonoverlapping(id.as_ptr(), ptr, id.len())
}

pub(crate) unsafe fn host_event_channel(ptr: *mut u8, cap: usize) -> usize {
    let name = host(|h| h.call.channel.clone());
    std::ptr::copy_nonoverlapping(name.as_ptr(), ptr, name.len().min(cap));
    name.len()
}

pub(crate) unsafe fn host_daemon_id(ptr: *mut u8) {
    std::ptr::copy_nonoverlapping(SELF.as_ptr(), ptr, SELF.len())
}

/// Fills from a stream that follows from the event's number (splitmix64).
pub(crate) unsafe fn host_random(ptr: *mut u8, len: usize) {
    for i in 0..len {
        let byte = host(|h| {
            h.random = h.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (h.random ^ h.random >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ z >> 31) as u8
        });
        *ptr.add(i) = byte;
    }
}

/// Takes an effect, unless it is refused.
fn effect(e: Effect, size: usize, bad: bool, denied: impl FnOnce(&Denies) -> bool) -> i32 {
    let (said, denies) = host(|h| (h.call.said.get(h.asked).copied(), h.denies.clone()));
    let code = match said {
        Some(code) => code, // as it was answered when the event was applied
        None if bad => INVALID,
        None if size > MAX_PAYLOAD => TOO_LARGE,
        None if denied(&denies) => DENIED,
        None => DONE,
    };
    host(|h| {
        h.asked += 1;
        if said.is_none() {
            h.call.said.push(code);
        }
        if code == DONE {
            h.answer.effects.push(e);
        }
    });
    code
}

pub(crate) unsafe fn host_publish(channel: *const u8, channel_len: usize, ptr: *const u8, len: usize) -> i32 {
    let name = String::from_utf8_lossy(&bytes(channel, channel_len)).into_owned();
    let bad = channel_len == 0 || channel_len > 255;
    let e = Effect::Publish { channel: name.clone(), data: bytes(ptr, len) };
    effect(e, len, bad, |d| d.publish.as_ref().map_or(false, |f| f(&name)))
}

pub(crate) unsafe fn host_send(id: *const u8, ptr: *const u8, len: usize) -> i32 {
    let mut to = Id::default();
    std::ptr::copy_nonoverlapping(id, to.as_mut_ptr(), to.len());
    let e = Effect::Send { to, data: bytes(ptr, len) };
    effect(e, len, to == Id::default(), |d| d.send.as_ref().map_or(false, |f| f(&to)))
}

pub(crate) unsafe fn host_timer(at: i64, ptr: *const u8, len: usize) -> i64 {
    if at <= 0 {
        return -i64::from(INVALID);
    }
    if len > MAX_PAYLOAD {
        return -i64::from(TOO_LARGE);
    }
    let data = bytes(ptr, len);
    host(|h| {
        let number = (h.call.sequence << 12) as i64 | (h.answer.effects.len() as i64 + 1);
        h.answer.effects.push(Effect::Timer { timer: Timer(number), at, data });
        number
    })
}

pub(crate) unsafe fn host_timer_cancel(timer: i64) {
    host(|h| h.answer.effects.push(Effect::Cancel { timer: Timer(timer) }))
}

pub(crate) unsafe fn host_ask(id: *const u8, ptr: *const u8, len: usize, deadline: i64) -> i64 {
    let mut to = Id::default();
    std::ptr::copy_nonoverlapping(id, to.as_mut_ptr(), to.len());
    let number = host(|h| h.call.sequence << 12 | (h.answer.effects.len() as u64 + 1));
    let e = Effect::Ask { call: crate::Call(number), to, deadline, data: bytes(ptr, len) };
    match effect(e, len, to == Id::default() || deadline < 0, |d| d.send.as_ref().map_or(false, |f| f(&to))) {
        DONE => number as i64,
        code => -i64::from(code),
    }
}

pub(crate) unsafe fn host_answer(call: u64, ptr: *const u8, len: usize) -> i32 {
    let bad = host(|h| call == 0 || call > h.call.sequence);
    effect(Effect::Answer { call: crate::Call(call), data: bytes(ptr, len) }, len, bad, |_| false)
}

pub(crate) unsafe fn host_refuse(call: u64, ptr: *const u8, len: usize) -> i32 {
    let bad = host(|h| call == 0 || call > h.call.sequence);
    let reason = String::from_utf8_lossy(&bytes(ptr, len)).into_owned();
    effect(Effect::Refuse { call: crate::Call(call), reason }, len, bad, |_| false)
}

pub(crate) unsafe fn host_event_call() -> u64 {
    host(|h| if h.call.kind == EventKind::Asked { h.call.sequence } else { h.call.ended })
}

pub(crate) unsafe fn host_event_status() -> u32 {
    host(|h| h.call.status)
}
