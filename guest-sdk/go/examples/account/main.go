//go:build wasip1

// Command account holds an amount of money, and moves it to other accounts by asking them,
// as the account of the Rust SDK's examples does: the two pay one another.
package main

import (
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"strings"

	sdk "wasmhost.example/guest-sdk/go"
	"wasmhost.example/guest-sdk/go/await"
	"wasmhost.example/guest-sdk/go/query"
)

// The account's money, and what of it is on its way to others.
var balance, underWay uint64

func handle(e *await.Event) error {
	words := strings.Split(string(e.Data), " ")
	switch {
	case e.Kind == sdk.Asked && len(words) == 2 && words[0] == "take":
		n, err := amount(words[1])
		if err != nil {
			return err
		}
		if err := put(n); err != nil {
			return err
		}
		return e.Answer([]byte("taken"))
	case e.Kind == sdk.Direct && len(words) == 3 && words[0] == "pay":
		to, err := identity(words[1])
		if err != nil {
			return err
		}
		n, err := amount(words[2])
		if err != nil {
			return err
		}
		return pay(to, n)
	case e.Kind == sdk.Direct && words[0] == "balance":
		return e.Answer(fmt.Appendf(nil, "%d %d", balance, underWay))
	}
	return sdk.Fail(2, "an event is pay ID AMOUNT, or balance")
}

func pay(to sdk.ID, n uint64) error {
	if n > balance {
		return sdk.Fail(4, "not so much is in the account")
	}
	balance -= n
	underWay += n
	_, err := await.Ask(to, fmt.Appendf(nil, "take %d", n)).Wait()
	underWay -= n
	if err == nil {
		sdk.EmitText(fmt.Sprintf("paid %d", n))
		return nil
	}
	sdk.EmitText(fmt.Sprintf("kept %d: %v", n, err))
	return put(n)
}

func put(n uint64) error {
	if n > math.MaxUint64-balance {
		return sdk.Fail(3, "more money than there is")
	}
	balance += n
	return nil
}

func amount(text string) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, sdk.Fail(2, "an amount is a number")
	}
	return n, nil
}

func identity(text string) (id sdk.ID, err error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(id) {
		return id, sdk.Fail(2, "an identity has 64 hexadecimal digits")
	}
	return sdk.ID(b), nil
}

// account takes its configuration: the amount that it begins with.
type account struct{ sdk.Daemon }

func (a account) Init(config []byte) (err error) {
	if len(config) > 0 {
		balance, err = amount(string(config))
	}
	return err
}

// Query answers the question balance.
func (a account) Query(question []byte) ([]byte, error) {
	if string(question) != "balance" {
		return nil, sdk.Fail(2, "the question is balance")
	}
	return fmt.Appendf(nil, "%d %d", balance, underWay), nil
}

func init() { query.Register(account{await.New(handle)}) }

func main() {}
