//! Tests of the tour: everything that the SDK's host for tests has.
use super::Tour;
use std::time::Duration;
use wasmhost::sdktest::{self, Effect, BEGIN, SELF};
use wasmhost::{Id, Refused, Timer};

const SECOND: Duration = Duration::from_secs(1);

fn other() -> Id {
    let mut id = Id::default();
    id[31] = 0xff;
    id
}

#[test]
fn a_failure_leaves_no_trace() {
    let mut d = sdktest::spawn::<Tour>("tour");
    let failed = d.send("fail");
    assert_eq!(failed.code(), Some(7));
    assert!(failed.logs.is_empty() && failed.failure.unwrap().text == "told to");
    assert_eq!(d.send("panic").failure.unwrap().text, "told to");
    assert_eq!(d.send("x").texts(), ["10-"]);
    let mut next = d.upgrade::<Tour>().unwrap();
    assert_eq!(next.send("x").texts(), ["20-"]);
}

#[test]
fn effects_are_values() {
    let mut d = sdktest::spawn::<Tour>("tour");
    let a = d.send("all");
    assert_eq!(a.texts(), ["all", "10-"]);
    assert_eq!(a.logs, ["an event"]);
    let second = SECOND.as_nanos() as i64;
    let never = Timer(1 << 12 | 4);
    assert_eq!(
        a.effects,
        [
            Effect::Publish { channel: "news".into(), data: b"p".to_vec() },
            Effect::Send { to: SELF, data: b"s".to_vec() },
            Effect::Timer { timer: Timer(1 << 12 | 3), at: BEGIN + second, data: b"ring".to_vec() },
            Effect::Timer { timer: never, at: BEGIN + 2 * second, data: b"never".to_vec() },
            Effect::Cancel { timer: never },
        ]
    );
}

#[test]
fn grants_are_refused() {
    let mut d = sdktest::spawn::<Tour>("tour");
    d.deny_publish(|channel| channel == "news");
    assert_eq!(d.send("all").failure.unwrap().text, Refused::Denied.to_string());
    d.deny_publish(|_| false);
    d.deny_send(|to| *to == other());
    assert_eq!(d.from(&other(), "x").code(), Some(1));
    d.deny_send(|_| false);
    assert_eq!(d.from(&other(), "x").texts(), ["14+"]);
}

#[test]
fn senders_and_channels() {
    let mut d = sdktest::spawn::<Tour>("tour");
    let a = d.from(&other(), "x");
    assert_eq!(a.texts(), ["14+"]);
    assert_eq!(a.effects, [Effect::Send { to: other(), data: b"s".to_vec() }]);
    assert_eq!(d.channel("news", &Id::default(), "x").texts(), ["21-news"]);
    assert_eq!(d.channel("news", &other(), "x").texts(), ["31+news"]);
    assert_eq!(d.gap("news", 1, 2).texts(), ["42-news"]);
}

#[test]
fn timers_fire_in_time() {
    let mut d = sdktest::spawn::<Tour>("tour");
    d.send("all"); // sets two, and cancels one
    assert_eq!(d.timers(), 1);
    assert!(d.advance(SECOND - Duration::from_nanos(1)).is_empty());
    let rang = d.advance(Duration::from_nanos(1));
    assert_eq!(rang.len(), 1);
    assert_eq!(rang[0].texts(), ["23+"]);
    assert_eq!(d.now(), BEGIN + SECOND.as_nanos() as i64);
    assert!(d.advance(3600 * SECOND).is_empty());
}
