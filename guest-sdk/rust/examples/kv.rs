//! kv is a key-value store with range queries. A key is 1 to 64 bytes without a
//! space, a value at most 4096 bytes.
//!
//! ```text
//! put KEY VALUE           emits "ok"
//! get KEY                 emits the value
//! del KEY                 emits "ok"
//! range FROM TO [LIMIT]   emits "KEY VALUE" for each key from FROM to before TO,
//!                         in order of bytes; TO may be - for the end; LIMIT is
//!                         100 unless told, at most 1000
//! count                   emits how many keys there are
//! ```
//!
//! Failures: 2 not a command, 4 no such key.
use std::collections::BTreeMap;
use wasmhost::{emit, Daemon, Event, Failure, Result};

#[derive(Default)]
struct Store {
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Takes the next word of a line, which ends at a space.
fn word<'a>(line: &mut &'a [u8]) -> &'a [u8] {
    let n = line.iter().position(|&c| c == b' ').unwrap_or(line.len());
    let w = &line[..n];
    *line = &line[(n + 1).min(line.len())..];
    w
}

fn number(text: &[u8], max: u64) -> Option<u64> {
    if text.len() > 19 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok().filter(|&n| n <= max)
}

fn is_key(key: &[u8]) -> bool {
    (1..=64).contains(&key.len())
}

impl Store {
    fn range(&self, from: &[u8], to: &[u8], limit: u64) {
        for (key, value) in self.entries.range(from.to_vec()..).take(limit as usize) {
            if to != b"-" && key.as_slice() >= to {
                break;
            }
            emit([key.as_slice(), b" ", value].concat());
        }
    }
}

impl Daemon for Store {
    fn init(_config: &[u8]) -> Result<Self> {
        Ok(Self::default())
    }

    fn process(&mut self, event: Event<'_>) -> Result<()> {
        let not_a_command = Failure::new(2, "not a command");
        let no_such_key = Failure::new(4, "no such key");
        let mut line = event.data();
        let command = word(&mut line);
        if command == b"count" && line.is_empty() {
            emit(self.entries.len().to_string());
            return Ok(());
        }
        let key = word(&mut line);
        if !is_key(key) {
            return Err(not_a_command);
        }
        match command {
            b"put" if line.len() <= 4096 => {
                self.entries.insert(key.to_vec(), line.to_vec());
                emit("ok");
            }
            b"range" => {
                let to = word(&mut line);
                let limit = if line.is_empty() { Some(100) } else { number(line, 1000) };
                match limit {
                    Some(n) if is_key(to) => self.range(key, to, n),
                    _ => return Err(not_a_command),
                }
            }
            b"get" if line.is_empty() => emit(self.entries.get(key).ok_or(no_such_key)?),
            b"del" if line.is_empty() => {
                self.entries.remove(key).ok_or(no_such_key)?;
                emit("ok");
            }
            _ => return Err(not_a_command),
        }
        Ok(())
    }
}

wasmhost::export!(Store);
