//! A tour of everything that the SDK has.
use std::time::Duration;
use wasmhost::{daemon_id, emit, event_kind, log, now, publish, random, send, timer, timer_after, Daemon, Event, EventKind, Failure, Level, Result};

struct Tour;

impl Daemon for Tour {
    fn init(config: &[u8]) -> Result<Self> {
        if config == b"tour" { Ok(Tour) } else { Err("the configuration is tour".into()) }
    }

    fn process(&mut self, event: Event<'_>) -> Result<()> {
        log(Level::Info, "an event");
        match event.data() {
            b"fail" => return Err(Failure::new(7, "told to")),
            b"panic" => panic!("told to"),
            b"all" => {
                emit(event.data());
                publish("news", "p")?;
                send(&daemon_id(), "s")?;
                timer_after(Duration::from_secs(1), "ring")?;
                timer(event.time() + 2_000_000_000, "never")?.cancel();
                let mut bytes = [0; 4];
                random(&mut bytes);
                assert!(now() == event.time());
            }
            _ => {}
        }
        let kind = match event_kind() {
            EventKind::Direct => 0,
            EventKind::Channel => 1,
            EventKind::Gap => 2,
            EventKind::Timer => 3,
            EventKind::Daemon => 4,
            _ => 5,
        };
        if kind == 4 {
            send(&event.sender(), "s")?;
        }
        let origin = if event.origin() == 0 { "-" } else { "+" };
        emit(format!("{}{}{}{}", event.sequence(), kind, origin, event.channel()));
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn restore(_state: &[u8]) -> Result<Self> {
        Ok(Tour)
    }
}

wasmhost::export_with_hooks!(Tour);

#[cfg(test)]
mod tests;
