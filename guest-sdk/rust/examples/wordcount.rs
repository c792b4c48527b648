//! wordcount counts the words of the lines it is sent. A word is a run of ASCII
//! letters and digits, lower-cased. "?totals" emits "word count" lines sorted by
//! word; "?lines" emits how many lines were counted.
use std::collections::BTreeMap;
use wasmhost::{emit, Daemon, Event, Failure, Result};

#[derive(Default)]
struct WordCount {
    lines: u64,
    words: BTreeMap<String, u64>,
}

impl WordCount {
    fn totals(&self) -> String {
        let list: Vec<String> = self.words.iter().map(|(w, n)| format!("{} {}", w, n)).collect();
        list.join("\n")
    }

    fn count(&mut self, line: &[u8]) {
        for word in line.split(|c| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty()) {
            let word = String::from_utf8_lossy(word).to_ascii_lowercase();
            *self.words.entry(word).or_insert(0) += 1;
        }
        self.lines += 1;
    }

    fn parse(state: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(state).ok()?;
        let (lines, rest) = text.split_once('\n')?;
        let mut w = WordCount { lines: lines.parse().ok()?, ..Default::default() };
        for entry in rest.split('\n').filter(|e| !rest.is_empty() || !e.is_empty()) {
            let (word, count) = entry.split_once(' ')?;
            if word.is_empty() || !word.bytes().all(|c| c.is_ascii_digit() || c.is_ascii_lowercase()) {
                return None;
            }
            w.words.insert(word.to_string(), count.parse().ok()?);
        }
        Some(w)
    }
}

impl Daemon for WordCount {
    fn init(_config: &[u8]) -> Result<Self> {
        Ok(Self::default())
    }

    fn process(&mut self, event: Event<'_>) -> Result<()> {
        match event.data() {
            b"?totals" => emit(self.totals()),
            b"?lines" => emit(self.lines.to_string()),
            line => self.count(line),
        }
        Ok(())
    }

    /// The state is the number of lines, a newline, and what ?totals emits.
    fn snapshot(&mut self) -> Result<Vec<u8>> {
        Ok(format!("{}\n{}", self.lines, self.totals()).into_bytes())
    }

    fn restore(state: &[u8]) -> Result<Self> {
        Self::parse(state).ok_or_else(|| Failure::new(3, "malformed state"))
    }
}

wasmhost::export_with_hooks!(WordCount);
