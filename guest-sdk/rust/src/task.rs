//! Daemons that wait: a handler is an `async fn`, and where it awaits an answer or a time
//! the event ends; a later event takes it up there.
//!
//! ```
//! use std::rc::Rc;
//! use std::time::Duration;
//! use wasmhost::task::{ask, sleep, AsyncDaemon, Handling, Request, Tasks};
//! use wasmhost::{Id, Result};
//!
//! struct Shop { prices: Id }
//!
//! impl AsyncDaemon for Shop {
//!     fn init(_config: &[u8]) -> Result<Self> { Ok(Shop { prices: [1; 32] }) }
//!
//!     fn handle(self: Rc<Self>, request: Request) -> Handling {
//!         Box::pin(async move {
//!             let price = ask(&self.prices, &request.data).await?;
//!             sleep(Duration::from_secs(86_400)).await;
//!             request.answer(price)
//!         })
//!     }
//! }
//!
//! wasmhost::export!(Tasks<Shop>);
//! ```
//!
//! What waits is part of the daemon's memory, as everything is: it is stored, moved, forked
//! and undone with it, and nothing is replayed when it goes on. While one handler waits,
//! others run: what a `Cell` or `RefCell` of the daemon holds may have changed after each
//! `await`, and no borrow may be held over one. Futures of other crates that wake by their
//! `Waker` work as well.

use crate::{call, emit, event_call, event_kind, log, now, timer, Call, CallError, Event, EventKind, Failure, Id, Level, Result};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// What a handler returns: `Box::pin(async move { … })`.
pub type Handling = Pin<Box<dyn Future<Output = Result<()>>>>;

/// A daemon whose handlers wait.
pub trait AsyncDaemon: Sized + 'static {
    /// Makes the daemon from its configuration, which may be empty.
    fn init(config: &[u8]) -> Result<Self>;

    /// Handles one event. Where it fails before it has waited, the event fails and leaves no
    /// trace. After a wait the failure goes to the daemon that asked, where one did and has
    /// had no answer, and to the log.
    fn handle(self: Rc<Self>, request: Request) -> Handling;
}

/// One event. Unlike [`Event`] it holds what it says: after a wait the daemon processes
/// another event.
#[derive(Clone, Debug)]
pub struct Request {
    pub data: Vec<u8>,
    pub kind: EventKind,
    pub sender: Id,
    pub channel: String,
    pub sequence: u64,
    /// When it was recorded, in nanoseconds since the Unix epoch.
    pub time: i64,
    call: Call,
}

impl Request {
    /// Answers the event where another daemon asked it, and emits `data` as an output where
    /// none did.
    pub fn answer(&self, data: impl AsRef<[u8]>) -> Result<()> {
        if self.call == Call(0) {
            emit(data);
            return Ok(());
        }
        here(|i| i.answered.insert(self.call, ()));
        Ok(self.call.answer(data)?)
    }
}

/// The daemon to be exported: it runs the handlers of `D`, one at a time.
pub struct Tasks<D> {
    daemon: Rc<D>,
    inner: Rc<RefCell<Inner>>,
}

type Ready = Arc<Mutex<VecDeque<u64>>>;

/// What tasks and futures share.
#[derive(Default)]
struct Inner {
    tasks: BTreeMap<u64, Pin<Box<dyn Future<Output = ()>>>>,
    ready: Ready,
    begun: u64,                         // number of the task that began last
    calls: BTreeMap<Call, Shared>,      // that have not ended
    timers: BTreeMap<u64, Shared>,      // that are not due
    set: u64,                           // number of the timer that was set last
    answered: BTreeMap<Call, ()>,       // whose handler has not ended
    failure: Option<Failure>,           // of the handler of the event itself
}

/// What a future waits for.
#[derive(Default)]
struct Slot {
    result: Option<std::result::Result<Vec<u8>, CallError>>,
    wakers: Vec<Waker>,
}

type Shared = Rc<RefCell<Slot>>;

thread_local! {
    /// That of the daemon whose event is processed now.
    static CURRENT: RefCell<Option<Rc<RefCell<Inner>>>> = RefCell::new(None);
}

fn here<T>(f: impl FnOnce(&mut Inner) -> T) -> T {
    let inner = CURRENT.with(|c| c.borrow().clone()).expect("wasmhost::task is used outside a handler");
    let mut inner = inner.borrow_mut();
    f(&mut inner)
}

/// Wakes a task.
struct Bell {
    task: u64,
    ready: Ready,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        let mut ready = self.ready.lock().expect("one thread");
        if !ready.contains(&self.task) {
            ready.push_back(self.task);
        }
    }
}

fn end(slot: Option<Shared>, result: std::result::Result<Vec<u8>, CallError>) {
    if let Some(slot) = slot {
        let mut slot = slot.borrow_mut();
        slot.result = Some(result);
        slot.wakers.drain(..).for_each(Waker::wake);
    }
}

impl<D: AsyncDaemon + crate::Query> crate::Query for Tasks<D> {
    fn query(&self, question: &[u8]) -> Result<Vec<u8>> {
        self.daemon.query(question)
    }
}

impl<D: AsyncDaemon> crate::Daemon for Tasks<D> {
    fn init(config: &[u8]) -> Result<Self> {
        Ok(Tasks { daemon: Rc::new(D::init(config)?), inner: Rc::default() })
    }

    fn process(&mut self, event: Event<'_>) -> Result<()> {
        CURRENT.with(|c| *c.borrow_mut() = Some(self.inner.clone()));
        here(|i| i.failure = None);
        let kind = event_kind();
        let timer = if kind == EventKind::Timer { timer_of(event.data()) } else { None };
        if kind == EventKind::Reply {
            end(here(|i| i.calls.remove(&event_call())), call::reply(event.data()));
        } else if let Some(number) = timer {
            end(here(|i| i.timers.remove(&number)), Ok(Vec::new()));
        } else {
            let request = Request {
                data: event.data().to_vec(), kind, sender: event.sender(), channel: event.channel(), sequence: event.sequence(), time: event.time(),
                call: event_call(),
            };
            let (call, sequence) = (request.call, request.sequence);
            let handling = self.daemon.clone().handle(request);
            spawn(async move { settle(handling.await, call, sequence) });
        }
        run();
        let failure = here(|i| i.failure.take());
        CURRENT.with(|c| *c.borrow_mut() = None);
        failure.map_or(Ok(()), Err)
    }
}

/// Sees to how a handler ended, of an event with that call and sequence.
fn settle(result: Result<()>, call: Call, sequence: u64) {
    let answered = here(|i| i.answered.remove(&call)).is_some();
    let failure = match result {
        Ok(()) => return,
        Err(f) => f,
    };
    if sequence == unsafe { crate::host_event_sequence() } {
        here(|i| i.failure = Some(failure));
    } else if call != Call(0) && !answered {
        if let Err(r) = call.refuse(&failure.text) {
            log(Level::Error, &format!("refusing call: {}", r));
        }
    } else {
        log(Level::Error, &format!("event {}: {}", sequence, failure.text));
    }
}

/// Runs tasks that are ready until none is.
fn run() {
    let ready = here(|i| i.ready.clone());
    loop {
        let next = ready.lock().expect("one thread").pop_front();
        let task = match next {
            Some(task) => task,
            None => return,
        };
        let mut future = match here(|i| i.tasks.remove(&task)) {
            Some(future) => future,
            None => continue,
        };
        let waker = Waker::from(Arc::new(Bell { task, ready: ready.clone() }));
        if future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            here(|i| i.tasks.insert(task, future));
        }
    }
}

/// Runs a future beside the handler that calls, in this event and in later ones.
pub fn spawn(future: impl Future<Output = ()> + 'static) {
    here(|i| {
        i.begun += 1;
        i.tasks.insert(i.begun, Box::pin(future));
        i.ready.lock().expect("one thread").push_back(i.begun);
    })
}

/// The answer to a call, or a time that comes.
pub struct Pending(Shared);

impl Pending {
    fn done(result: std::result::Result<Vec<u8>, CallError>) -> Self {
        Pending(Rc::new(RefCell::new(Slot { result: Some(result), wakers: Vec::new() })))
    }

    /// Whether awaiting it would not wait.
    pub fn is_done(&self) -> bool {
        self.0.borrow().result.is_some()
    }
}

impl Future for Pending {
    type Output = std::result::Result<Vec<u8>, CallError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slot = self.0.borrow_mut();
        match &slot.result {
            Some(result) => Poll::Ready(result.clone()),
            None => {
                slot.wakers.push(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Asks a daemon, without a deadline. Where that is not permitted awaiting it says so.
pub fn ask(to: &Id, data: impl AsRef<[u8]>) -> Pending {
    ask_until(to, data.as_ref(), 0)
}

/// [`ask`] with a deadline so long after this event.
pub fn ask_within(limit: Duration, to: &Id, data: impl AsRef<[u8]>) -> Pending {
    ask_until(to, data.as_ref(), now().saturating_add(limit.as_nanos() as i64))
}

fn ask_until(to: &Id, data: &[u8], deadline: i64) -> Pending {
    match call::ask(to, data, deadline) {
        Err(refused) => Pending::done(Err(CallError::NotMade(refused))),
        Ok(call) => {
            let slot = Shared::default();
            here(|i| i.calls.insert(call, slot.clone()));
            Pending(slot)
        }
    }
}

/// Is done so long after this event, with no data.
pub fn after(delay: Duration) -> Pending {
    let number = here(|i| {
        i.set += 1;
        i.set
    });
    match timer(now().saturating_add(delay.as_nanos() as i64), timer_data(number)) {
        Err(refused) => Pending::done(Err(CallError::NotMade(refused))),
        Ok(_) => {
            let slot = Shared::default();
            here(|i| i.timers.insert(number, slot.clone()));
            Pending(slot)
        }
    }
}

/// Waits until so long after this event.
///
/// # Panics
/// Where the daemon may set no more timers.
pub async fn sleep(delay: Duration) {
    after(delay).await.expect("no timer can be set");
}

/// Waits for one of them, and returns which: the first in the list of those that are done.
pub async fn first(pending: &[&Pending]) -> usize {
    assert!(!pending.is_empty(), "waiting for none");
    First(pending).await
}

struct First<'a>(&'a [&'a Pending]);

impl Future for First<'_> {
    type Output = usize;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<usize> {
        if let Some(i) = self.0.iter().position(|p| p.is_done()) {
            return Poll::Ready(i);
        }
        for p in self.0 {
            p.0.borrow_mut().wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// Waits for all of them, and returns their answers in that order; the first error in it
/// where there is one.
pub async fn all(pending: Vec<Pending>) -> std::result::Result<Vec<Vec<u8>>, CallError> {
    let mut answers = Vec::with_capacity(pending.len());
    for p in pending {
        answers.push(p.await);
    }
    answers.into_iter().collect()
}

/// Begins the data of this module's timers.
const MAGIC: &[u8] = b"\0await1\0";

fn timer_data(number: u64) -> Vec<u8> {
    [MAGIC, &number.to_le_bytes()].concat()
}

fn timer_of(data: &[u8]) -> Option<u64> {
    let number: [u8; 8] = data.strip_prefix(MAGIC)?.try_into().ok()?;
    Some(u64::from_le_bytes(number))
}
