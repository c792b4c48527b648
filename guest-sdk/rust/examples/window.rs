//! window watches a sensor: each event is "TIME VALUE", a time in milliseconds and
//! a whole number. It answers with what the last 60 seconds say, up to this event:
//!
//! ```text
//! n=COUNT rate=MILLIHERTZ min=V p50=V p90=V p99=V max=V
//! ```
//!
//! A percentile is the value of the nearest rank. Configuration is the length of
//! the window in seconds, 1 to 3600. At most 4096 values are in it.
//!
//! Failures: 2 not a measurement (or configuration), 5 out of order, 6 too many.
use std::collections::VecDeque;
use wasmhost::{emit, Daemon, Event, Failure, Result};

const MOST: usize = 4096;

struct Window {
    seconds: u64,
    values: VecDeque<(u64, i64)>, // oldest first
    sorted: Vec<i64>,             // the same values, rising
}

fn number(text: &str, max: u64) -> Option<u64> {
    if text.is_empty() || text.len() > 19 || !text.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|&n| n <= max)
}

fn measurement(line: &[u8]) -> Option<(u64, i64)> {
    const MAX: u64 = 1_000_000_000_000_000;
    let (time, value) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    let size = number(value.strip_prefix('-').unwrap_or(value), MAX)? as i64;
    Some((number(time, MAX)?, if value.starts_with('-') { -size } else { size }))
}

impl Window {
    fn rank(&self, percent: usize) -> i64 {
        self.sorted[(self.sorted.len() * percent + 99) / 100 - 1]
    }

    fn drop_old(&mut self, time: u64) {
        while let Some(&(t, v)) = self.values.front() {
            if t + self.seconds * 1000 > time {
                return;
            }
            self.values.pop_front();
            self.sorted.remove(self.sorted.partition_point(|&x| x < v));
        }
    }
}

impl Daemon for Window {
    fn init(config: &[u8]) -> Result<Self> {
        let seconds = match std::str::from_utf8(config).ok().and_then(|t| number(t, 3600)) {
            _ if config.is_empty() => 60,
            Some(n) if n > 0 => n,
            _ => return Err(Failure::new(2, "configuration is a number of seconds, 1 to 3600")),
        };
        Ok(Window { seconds, values: VecDeque::new(), sorted: Vec::new() })
    }

    fn process(&mut self, event: Event<'_>) -> Result<()> {
        let (time, value) = measurement(event.data()).ok_or_else(|| Failure::new(2, "not a measurement"))?;
        if self.values.back().map_or(false, |&(last, _)| time < last) {
            return Err(Failure::new(5, "out of order"));
        }
        self.drop_old(time);
        if self.values.len() == MOST {
            return Err(Failure::new(6, "too many values in the window"));
        }
        self.values.push_back((time, value));
        self.sorted.insert(self.sorted.partition_point(|&x| x < value), value);
        let n = self.values.len() as u64;
        emit(format!(
            "n={} rate={} min={} p50={} p90={} p99={} max={}",
            n, n * 1000 / self.seconds, self.sorted[0], self.rank(50), self.rank(90), self.rank(99), self.rank(100)
        ));
        Ok(())
    }
}

wasmhost::export!(Window);
