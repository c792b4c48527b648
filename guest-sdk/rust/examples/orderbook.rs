//! orderbook matches orders of one instrument by price, then by time.
//!
//! ```text
//! buy ID PRICE QUANTITY    emits "trade MAKER TAKER PRICE QUANTITY" for each
//! sell ID PRICE QUANTITY   match, at the maker's price, and then "filled ID" or
//!                          "open ID QUANTITY"
//! cancel ID                emits "cancelled ID QUANTITY"
//! book                     emits "ask PRICE QUANTITY", then "bid PRICE QUANTITY",
//!                          the best ten prices of each, best first; or "empty"
//! ```
//!
//! An ID is 1 to 16 bytes without a space; price and quantity are 1 to 10^9.
//! At most 1024 orders are open on each side.
//!
//! Failures: 2 not a command, 4 no such order, 5 an order of that ID is open,
//! 6 the side is full.
use std::collections::VecDeque;
use wasmhost::{emit, Daemon, Event, Failure, Result};

const MOST: usize = 1024;

struct Order {
    id: Vec<u8>,
    price: u64,
    quantity: u64,
}

/// One side, best first, and of one price oldest first.
#[derive(Default)]
struct Side(VecDeque<Order>);

impl Side {
    fn levels(&self, name: &str) {
        let mut at = 0;
        for _ in 0..10 {
            let price = match self.0.get(at) {
                Some(o) => o.price,
                None => return,
            };
            let level: Vec<&Order> = self.0.iter().skip(at).take_while(|o| o.price == price).collect();
            emit(format!("{} {} {}", name, price, level.iter().map(|o| o.quantity).sum::<u64>()));
            at += level.len();
        }
    }
}

#[derive(Default)]
struct Book {
    bids: Side,
    asks: Side,
}

fn say(what: &str, id: &[u8], rest: String) {
    emit([what.as_bytes(), b" ", id, rest.as_bytes()].concat());
}

/// Takes the next word of a line, which ends at a space.
fn word<'a>(line: &mut &'a [u8]) -> &'a [u8] {
    let n = line.iter().position(|&c| c == b' ').unwrap_or(line.len());
    let w = &line[..n];
    *line = &line[(n + 1).min(line.len())..];
    w
}

fn amount(text: &[u8]) -> Option<u64> {
    if text.len() > 19 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok().filter(|n| (1..=1_000_000_000).contains(n))
}

impl Book {
    fn trade(&mut self, buy: bool, id: &[u8], price: u64, mut quantity: u64) -> Result<()> {
        let (own, other) = if buy { (&mut self.bids, &mut self.asks) } else { (&mut self.asks, &mut self.bids) };
        while let Some(maker) = other.0.front_mut() {
            let crosses = if buy { maker.price <= price } else { maker.price >= price };
            if quantity == 0 || !crosses {
                break;
            }
            let n = quantity.min(maker.quantity);
            emit([b"trade ", maker.id.as_slice(), b" ", id, format!(" {} {}", maker.price, n).as_bytes()].concat());
            quantity -= n;
            maker.quantity -= n;
            if maker.quantity == 0 {
                other.0.pop_front();
            }
        }
        if quantity == 0 {
            say("filled", id, String::new());
            return Ok(());
        }
        if own.0.len() == MOST {
            return Err(Failure::new(6, "the side is full"));
        }
        let at = own.0.partition_point(|o| if buy { o.price >= price } else { o.price <= price });
        own.0.insert(at, Order { id: id.to_vec(), price, quantity });
        say("open", id, format!(" {}", quantity));
        Ok(())
    }

    fn cancel(&mut self, id: &[u8]) -> Result<()> {
        for side in [&mut self.bids, &mut self.asks] {
            if let Some(at) = side.0.iter().position(|o| o.id == id) {
                say("cancelled", id, format!(" {}", side.0[at].quantity));
                side.0.remove(at);
                return Ok(());
            }
        }
        Err(Failure::new(4, "no such order"))
    }

    fn has(&self, id: &[u8]) -> bool {
        self.bids.0.iter().chain(&self.asks.0).any(|o| o.id == id)
    }
}

impl Daemon for Book {
    fn init(_config: &[u8]) -> Result<Self> {
        Ok(Self::default())
    }

    fn process(&mut self, event: Event<'_>) -> Result<()> {
        let not_a_command = Failure::new(2, "not a command");
        let mut line = event.data();
        let command = word(&mut line);
        if command == b"book" && line.is_empty() {
            self.asks.levels("ask");
            self.bids.levels("bid");
            if self.asks.0.is_empty() && self.bids.0.is_empty() {
                emit("empty");
            }
            return Ok(());
        }
        let id = word(&mut line);
        if !(1..=16).contains(&id.len()) {
            return Err(not_a_command);
        }
        if command == b"cancel" && line.is_empty() {
            return self.cancel(id);
        }
        let price = amount(word(&mut line));
        match (command, price, amount(line)) {
            (b"buy" | b"sell", Some(p), Some(q)) => {
                if self.has(id) {
                    return Err(Failure::new(5, "an order of that ID is open"));
                }
                self.trade(command == b"buy", id, p, q)
            }
            _ => Err(not_a_command),
        }
    }
}

wasmhost::export!(Book);
