//! counter counts its events and emits the count. Configuration {"start":N}
//! sets where it starts; the event "fail" fails.
use wasmhost::{emit, Daemon, Event, Failure, Result};

struct Counter {
    count: u64,
}

fn start(config: &[u8]) -> Option<u64> {
    if config.is_empty() {
        return Some(0);
    }
    let text: String = std::str::from_utf8(config).ok()?.split_ascii_whitespace().collect();
    let digits = text.strip_prefix("{\"start\":")?.strip_suffix('}')?;
    if !digits.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

impl Daemon for Counter {
    fn init(config: &[u8]) -> Result<Self> {
        match start(config) {
            Some(count) => Ok(Counter { count }),
            None => Err(Failure::new(2, "configuration must be {\"start\":N}")),
        }
    }

    fn process(&mut self, event: Event<'_>) -> Result<()> {
        if event.data() == b"fail" {
            return Err(Failure::new(1, "asked to fail"));
        }
        self.count += 1;
        emit(self.count.to_string());
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Vec<u8>> {
        Ok(self.count.to_le_bytes().to_vec())
    }

    fn restore(state: &[u8]) -> Result<Self> {
        match state.try_into() {
            Ok(bytes) => Ok(Counter { count: u64::from_le_bytes(bytes) }),
            Err(_) => Err(Failure::new(3, "a counter's state has 8 bytes")),
        }
    }
}

wasmhost::export_with_hooks!(Counter);
