// Package daemon is the vocabulary of daemons: what their code is to the runtime and what
// it is told (Daemon, Factory, Call), what goes in and comes out of one (Event, Result),
// what bounds it (Limits), what a node says of it (Info, Notification, Effects, HeldDaemon),
// how it is named (Ref), and the errors of all of these.
//
// It says what things are called and which values are valid. It knows nothing of how any
// of it is done: no runtime, no store, no sandbox, no network. A client of the API can
// compile it.
package daemon
