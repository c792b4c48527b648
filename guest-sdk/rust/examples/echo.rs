//! echo emits every event as it came.
use wasmhost::{emit, Daemon, Event, Result};

struct Echo;

impl Daemon for Echo {
    fn init(_config: &[u8]) -> Result<Self> {
        Ok(Echo)
    }

    fn process(&mut self, event: Event<'_>) -> Result<()> {
        emit(event.data());
        Ok(())
    }
}

wasmhost::export_stateless!(Echo);
