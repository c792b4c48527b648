//! probe does what abi/vectors.md says, for the golden vectors.
use std::time::Duration;
use wasmhost::{daemon_id, emit, event_kind, log, publish, random, send, timer_after, Daemon, Event, Failure, Level, Refused, Result};

struct Probe {
    count: u64,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{:02x}", b)).collect()
}

fn emit_answer(answer: std::result::Result<(), Refused>) {
    emit(answer.map_or_else(|r| r as u32, |_| 0).to_string());
}

impl Daemon for Probe {
    fn init(config: &[u8]) -> Result<Self> {
        match std::str::from_utf8(config).map(str::parse) {
            _ if config.is_empty() => Ok(Probe { count: 0 }),
            Ok(Ok(count)) => Ok(Probe { count }),
            _ => Err(Failure::new(2, "configuration is a number")),
        }
    }

    fn process(&mut self, event: Event<'_>) -> Result<()> {
        match event.data() {
            b"count" => {
                self.count += 1;
                emit(self.count.to_string());
            }
            b"emit" => {
                emit("a");
                emit("");
                emit("b");
            }
            b"event" => {
                emit(event.sequence().to_string());
                emit(event.time().to_string());
                emit(event.origin().to_string());
                emit(hex(&event.sender()));
                emit(event.channel());
            }
            b"self" => emit(hex(&daemon_id())),
            b"random" => {
                let mut bytes = [0; 16];
                random(&mut bytes);
                emit(hex(&bytes));
            }
            b"log" => {
                log(Level::Debug, "debug");
                log(Level::Info, "info");
                log(Level::Warn, "warn");
                log(Level::Error, "error");
            }
            b"kind" => emit((event_kind() as u32).to_string()),
            b"publish" => emit_answer(publish("news", "hello")),
            b"secret" => emit_answer(publish("secret", "hello")),
            b"misnamed" => emit_answer(publish("No such channel", "hello")),
            b"reply" => emit_answer(send(&event.sender(), "hi")),
            b"timer" => emit(timer_after(Duration::from_secs(3600), "ring")?.0.to_string()),
            b"cancel" => {
                let timer = timer_after(Duration::from_secs(3600), "ring")?;
                timer.cancel();
                emit(timer.0.to_string());
            }
            b"undone" => {
                publish("news", "hello")?;
                return Err(Failure::new(7, "undone"));
            }
            b"fail" => {
                self.count += 1;
                return Err(Failure::new(7, "failed: ä"));
            }
            b"panic" => {
                self.count += 1;
                panic!("at the disco");
            }
            other => emit(other.len().to_string()),
        }
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Vec<u8>> {
        Ok(self.count.to_le_bytes().to_vec())
    }

    fn restore(state: &[u8]) -> Result<Self> {
        match state.try_into() {
            Ok(bytes) => Ok(Probe { count: u64::from_le_bytes(bytes) }),
            Err(_) => Err(Failure::new(3, "the state has 8 bytes")),
        }
    }
}

wasmhost::export_with_hooks!(Probe);
