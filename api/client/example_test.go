package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"wasmhost.example/api"
	"wasmhost.example/api/client"
)

// standIn answers as a node with one daemon does, which counts its events.
func standIn() *httptest.Server {
	answer := func(w http.ResponseWriter, status int, v any) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v) // the client sees an answer that is cut off
	}
	sent, text := uint64(0), ""
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/daemons/counter/events", func(w http.ResponseWriter, _ *http.Request) {
		sent++
		text = fmt.Sprint(sent)
		answer(w, http.StatusOK, api.Sent{Outputs: []api.Output{{Sequence: sent, Text: &text}}})
	})
	mux.HandleFunc("GET /v1/daemons", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, []api.Daemon{{Name: "counter", Kind: "count", State: "active", Sequence: sent}})
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		p := api.NewProblem("daemon-not-found", "no such daemon: \"nobody\"")
		answer(w, p.Status, p)
	})
	return httptest.NewServer(mux)
}

// A program sends an event to a daemon and reads its answer. Dial reaches a node of the
// same machine by its socket.
func Example() {
	node := standIn()
	defer node.Close()
	c := client.DialTLS(node.URL, "", nil)

	sent, err := c.Send(context.Background(), "counter", "shop/1", []byte("bought"))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, o := range sent.Outputs {
		fmt.Printf("output %d: %s\n", o.Sequence, *o.Text)
	}
	// Output: output 1: 1
}

// Lists are read page by page.
func ExampleDaemons_List() {
	node := standIn()
	defer node.Close()
	c := client.DialTLS(node.URL, "", nil)

	list, err := c.Daemons().List(context.Background(), false)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, d := range list {
		fmt.Println(d.Name, d.Kind, d.State)
	}
	// Output: counter count active
}

// What a node refuses has a code that stays the same from version to version, the exit
// code of the command line, and a hint for people.
func ExampleClient_Send_refused() {
	node := standIn()
	defer node.Close()
	c := client.DialTLS(node.URL, "", nil)

	_, err := c.Send(context.Background(), "nobody", "", []byte("hello"))
	var p *api.Problem
	switch {
	case errors.As(err, &p):
		fmt.Println(p.Code, p.Exit())
		fmt.Println(p.Hint)
	case errors.Is(err, client.ErrUnreachable):
		fmt.Println("try again")
	}
	// Output:
	// daemon-not-found 3
	// list the daemons with: wasmhost ps --all
}

func ExampleNew() {
	// Any transport does; of a context that has ended nothing is asked.
	c := client.New(http.DefaultTransport)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()

	_, err := c.Node().Get(ctx)
	fmt.Println(errors.Is(err, context.Canceled))
	// Output: true
}
