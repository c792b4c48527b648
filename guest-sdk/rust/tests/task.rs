//! Handlers that wait, under the test kit.

use std::rc::Rc;
use std::time::Duration;
use wasmhost::sdktest::{self, Answer, Effect};
use wasmhost::task::{after, all, ask, ask_within, first, sleep, spawn, AsyncDaemon, Handling, Request, Tasks};
use wasmhost::{emit, Call, CallError, Id, Query, Result};

const PRICES: Id = [1; 32];
const STOCKS: Id = [2; 32];
const ASKER: Id = [3; 32];

struct Shop;

impl Query for Shop {
    fn query(&self, question: &[u8]) -> Result<Vec<u8>> {
        if question == b"emit" {
            emit("x");
        }
        Ok(question.to_vec())
    }
}

#[test]
fn questions_are_answered() {
    let mut d = sdktest::spawn::<Tasks<Shop>>("");
    assert_eq!(d.query("a question").unwrap(), b"a question");
    assert_eq!(d.query("emit").unwrap_err().code, 1);
}

impl AsyncDaemon for Shop {
    fn init(_config: &[u8]) -> Result<Self> {
        Ok(Shop)
    }

    fn handle(self: Rc<Self>, request: Request) -> Handling {
        Box::pin(async move {
            match request.data.as_slice() {
                b"price" => request.answer(ask(&PRICES, "apple").await?),
                b"both" => {
                    let answers = all(vec![ask(&PRICES, ""), ask(&STOCKS, "")]).await?;
                    request.answer(answers.join(&b' '))
                }
                b"first" => {
                    let (answer, late) = (ask_within(Duration::from_secs(60), &PRICES, ""), after(Duration::from_secs(1)));
                    request.answer(first(&[&answer, &late]).await.to_string())
                }
                b"days" => {
                    for day in 1..=3 {
                        sleep(Duration::from_secs(86_400)).await;
                        emit(format!("day {day}"));
                    }
                    Ok(())
                }
                b"beside" => {
                    spawn(async {
                        sleep(Duration::from_secs(3600)).await;
                        emit("beside");
                    });
                    emit("done");
                    Ok(())
                }
                b"fail" => Err("told to".into()),
                b"panic" => panic!("told to"),
                _ => Ok(()),
            }
        })
    }
}

fn shop() -> sdktest::Daemon<Tasks<Shop>> {
    sdktest::spawn("")
}

/// The calls that the answer's event made.
fn calls(a: &Answer) -> Vec<Call> {
    a.effects.iter().filter_map(|e| if let Effect::Ask { call, .. } = e { Some(*call) } else { None }).collect()
}

fn answers(a: &Answer, call: u64, data: &str) {
    assert!(a.effects.contains(&Effect::Answer { call: Call(call), data: data.into() }), "got {:?}, want the answer {:?} to {}", a, data, call);
}

#[test]
fn an_answer_is_awaited() {
    let mut d = shop();
    let a = d.ask(&ASKER, "price");
    assert_eq!(a.effects, [Effect::Ask { call: calls(&a)[0], to: PRICES, deadline: 0, data: b"apple".to_vec() }]);
    assert_eq!(d.send("fail").failure.map(|f| f.text), Some("told to".into()));
    assert!(d.send("panic").failure.is_some());
    answers(&d.reply(calls(&a)[0], "3"), 1, "3");
    assert_eq!(d.calls(), 0);
}

#[test]
fn a_refusal_is_passed_on() {
    let mut d = shop();
    let call = calls(&d.ask(&ASKER, "price"))[0];
    let a = d.end(call, &CallError::Refused("closed".into()));
    assert_eq!(a.effects, [Effect::Refuse { call: Call(1), reason: "refused: closed".into() }]);

    d.deny_send(|to| *to == PRICES);
    assert_eq!(d.ask(&ASKER, "price").failure.map(|f| f.text), Some("the daemon was not granted that".into()));
}

#[test]
fn several_are_awaited() {
    let mut d = shop();
    let asked = calls(&d.ask(&ASKER, "both"));
    assert_eq!(d.reply(asked[1], "many").effects, []);
    answers(&d.reply(asked[0], "9"), 1, "9 many");
}

#[test]
fn the_first_counts() {
    let mut d = shop();
    let call = calls(&d.ask(&ASKER, "first"))[0];
    let late = d.advance(Duration::from_secs(2));
    answers(&late[0], 1, "1");
    let a = d.reply(call, "too late");
    assert!(a.failure.is_none() && a.effects.is_empty(), "got {:?}", a);

    let call = calls(&d.ask(&ASKER, "first"))[0];
    answers(&d.reply(call, "soon"), 4, "0");
}

#[test]
fn days_pass() {
    let mut d = shop();
    d.send("days");
    let texts: Vec<String> = d.advance(Duration::from_secs(4 * 86_400)).iter().flat_map(Answer::texts).collect();
    assert_eq!(texts, ["day 1", "day 2", "day 3"]);
}

#[test]
fn tasks_run_beside_one_another() {
    let mut d = shop();
    assert_eq!(d.send("beside").texts(), ["done"]);
    assert_eq!(d.advance(Duration::from_secs(3600))[0].texts(), ["beside"]);
}
