//! reminder keeps what it is to say later: an event "90s tea" (or m, h, d) sets a timer,
//! and emits its number; "cancel NUMBER" takes it back. When the time has come it emits
//! the text, and publishes it on the channel reminders where it may; what another daemon
//! asked for is sent back to it. All of this outlives crashes and moves.
use std::time::Duration;
use wasmhost::{emit, event_kind, publish, send, timer_after, Daemon, Event, EventKind, Failure, Id, Result, Timer};

struct Reminder;

const USAGE: &str = "an event is DELAY TEXT, as in 90s tea, or cancel NUMBER";

/// Splits "90s tea" into a time and the text.
fn parse(event: &[u8]) -> Option<(Duration, &[u8])> {
    let at = event.iter().position(|b| !b.is_ascii_digit())?;
    let count: u64 = std::str::from_utf8(&event[..at]).ok()?.parse().ok()?;
    let unit = match event[at] {
        b's' => 1,
        b'm' => 60,
        b'h' => 3600,
        b'd' => 86400,
        _ => return None,
    };
    let text = event[at + 1..].strip_prefix(b" ")?;
    (count <= 100_000).then_some((Duration::from_secs(count * unit), text))
}

impl Daemon for Reminder {
    fn init(_config: &[u8]) -> Result<Self> {
        Ok(Reminder)
    }

    fn process(&mut self, event: Event<'_>) -> Result<()> {
        let nobody: Id = [0; 32];
        if event_kind() == EventKind::Timer {
            // It begins with the 32 bytes of who asked for it, zeros for nobody.
            let (asked, text) = event.data().split_at(32);
            emit(text);
            let _ = publish("reminders", text); // where it may
            if asked != nobody {
                let mut id = nobody;
                id.copy_from_slice(asked);
                let _ = send(&id, text);
            }
            return Ok(());
        }
        if let Some(number) = event.data().strip_prefix(b"cancel ") {
            let number = std::str::from_utf8(number).ok().and_then(|n| n.parse().ok());
            Timer(number.ok_or_else(|| Failure::new(2, "cancel NUMBER"))?).cancel();
            return Ok(());
        }
        let (delay, text) = parse(event.data()).ok_or_else(|| Failure::new(2, USAGE))?;
        if text.len() > 4096 {
            return Err(Failure::new(2, "the text has at most 4096 bytes"));
        }
        let asked = if event_kind() == EventKind::Daemon { event.sender() } else { nobody };
        let note = [&asked[..], text].concat();
        emit(timer_after(delay, note)?.0.to_string());
        Ok(())
    }
}

wasmhost::export!(Reminder);
