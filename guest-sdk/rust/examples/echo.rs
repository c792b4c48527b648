//! echo emits every event as it came.
use wasmhost::{emit, Daemon, Result};

struct Echo;

impl Daemon for Echo {
    fn init(_config: &[u8]) -> Result<Self> {
        Ok(Echo)
    }

    fn process(&mut self, event: &[u8]) -> Result<()> {
        emit(event);
        Ok(())
    }
}

wasmhost::export_stateless!(Echo);
