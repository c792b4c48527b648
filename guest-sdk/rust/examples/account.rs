//! account holds an amount of money, and moves it to other accounts by asking them. Its
//! configuration is the amount that it begins with. The events:
//!
//! - "pay ID AMOUNT" takes the amount out, asks the account of that identity (64 hexadecimal
//!   digits) to take it in, and puts it back where that is refused. When the other account has
//!   answered it emits "paid AMOUNT" or "kept AMOUNT: REASON", in that later event.
//! - "balance" emits the amount, and what is on its way; as a question it is answered with that.
//!
//! Another account asks "take AMOUNT". No sum of all accounts, with what is on its way, ever
//! changes: a payment waits for its answer through crashes, moves and failovers.
use std::cell::Cell;
use std::rc::Rc;
use wasmhost::task::{ask, AsyncDaemon, Handling, Request, Tasks};
use wasmhost::{emit, EventKind, Failure, Id, Query, Result};

#[derive(Default)]
struct Account {
    balance: Cell<u64>,
    under_way: Cell<u64>,
}

fn amount(text: &str) -> Result<u64> {
    text.parse().map_err(|_| Failure::new(2, "an amount is a number"))
}

fn identity(text: &str) -> Result<Id> {
    let bad = || Failure::new(2, "an identity has 64 hexadecimal digits");
    let mut id = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return Err(bad());
    }
    for (i, byte) in id.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).map_err(|_| bad())?;
    }
    Ok(id)
}

impl Account {
    fn put(&self, n: u64) -> Result<()> {
        self.balance.set(self.balance.get().checked_add(n).ok_or_else(|| Failure::new(3, "more money than there is"))?);
        Ok(())
    }

    async fn pay(&self, to: Id, n: u64) -> Result<()> {
        let left = self.balance.get().checked_sub(n).ok_or_else(|| Failure::new(4, "not so much is in the account"))?;
        self.balance.set(left);
        self.under_way.set(self.under_way.get() + n);
        let answer = ask(&to, format!("take {n}")).await;
        self.under_way.set(self.under_way.get() - n);
        match answer {
            Ok(_) => emit(format!("paid {n}")),
            Err(e) => {
                self.put(n)?;
                emit(format!("kept {n}: {e}"));
            }
        }
        Ok(())
    }
}

impl Query for Account {
    fn query(&self, question: &[u8]) -> Result<Vec<u8>> {
        match question {
            b"balance" => Ok(format!("{} {}", self.balance.get(), self.under_way.get()).into_bytes()),
            _ => Err(Failure::new(2, "the question is balance")),
        }
    }
}

impl AsyncDaemon for Account {
    fn init(config: &[u8]) -> Result<Self> {
        let account = Account::default();
        if !config.is_empty() {
            account.balance.set(amount(&String::from_utf8_lossy(config))?);
        }
        Ok(account)
    }

    fn handle(self: Rc<Self>, request: Request) -> Handling {
        Box::pin(async move {
            let text = String::from_utf8_lossy(&request.data).into_owned();
            let words: Vec<&str> = text.split(' ').collect();
            match (request.kind, words.as_slice()) {
                (EventKind::Asked, ["take", n]) => {
                    self.put(amount(n)?)?;
                    request.answer("taken")
                }
                (EventKind::Direct, ["pay", to, n]) => self.pay(identity(to)?, amount(n)?).await,
                (EventKind::Direct, ["balance"]) => request.answer(format!("{} {}", self.balance.get(), self.under_way.get())),
                _ => Err(Failure::new(2, "an event is pay ID AMOUNT, or balance")),
            }
        })
    }
}

wasmhost::export!(Tasks<Account>);
wasmhost::export_query!(Tasks<Account>);
