// Package abi is the contract between a host and a guest module: the names a
// module exports and imports, the codes that cross the border, the inspection
// of a module before it is accepted, and the faults a guest can cause.
//
// SPEC.md in this folder is the contract in prose; a guest author needs only
// that file.
package abi

// Version is the version of the guest contract that this package describes.
const Version = 1

// ImportModule is the module name of every import that the host offers,
// WASI preview 1 (WASIModule) excepted.
const ImportModule = "wasmhost"

// WASIModule is the module name of the WASI preview 1 subset that the host
// answers deny-by-default.
const WASIModule = "wasi_snapshot_preview1"

// Exports of a guest. All but those in RequiredExports are optional.
const (
	ExportMemory     = "memory"             // the linear memory
	ExportMarker     = "wasmhost_abi_v1"    // func(): says which contract the module follows
	ExportAlloc      = "wasmhost_alloc"     // func(len i32) ptr i32: the reusable input buffer; 0 means out of memory
	ExportProcess    = "wasmhost_process"   // func(ptr, len i32) code i32: one event
	ExportInit       = "wasmhost_init"      // func(ptr, len i32) code i32: configuration bytes, once at spawn
	ExportSnapshot   = "wasmhost_snapshot"  // func() i64: ptr<<32|len of the state, or -1 for failure
	ExportRestore    = "wasmhost_restore"   // func(ptr, len i32) code i32: the bytes of an earlier snapshot
	ExportQuery      = "wasmhost_query"     // func(ptr, len i32) i64: answers a question, ptr<<32|len of the answer, or -1 for failure; what it changes is undone
	ExportStateless  = "wasmhost_stateless" // func(): marker; nothing is kept from one event to the next
	ExportInitialize = "_initialize"        // func(): WASI reactor start-up, run once before anything else
)

// RequiredExports are the exports without which a module is no guest.
var RequiredExports = []string{ExportMemory, ExportMarker, ExportAlloc, ExportProcess}

// Imports of a guest, in module ImportModule.
const (
	ImportEmit          = "emit"           // func(ptr, len i32): one output
	ImportFail          = "fail"           // func(ptr, len i32): the text of the error that this call will return
	ImportLog           = "log"            // func(level, ptr, len i32): one line to the daemon's log
	ImportEventOrigin   = "event_origin"   // func() i64: OriginHash of the sender, 0 when anonymous
	ImportEventSequence = "event_sequence" // func() i64: 1 for the first event that this daemon applies, then 2, 3, ...
	ImportEventTime     = "event_time"     // func() i64: when the event was recorded, nanoseconds since the Unix epoch
	ImportEventSender   = "event_sender"   // func(ptr i32): writes the sender's 32-byte EntityID, zeros when anonymous
	ImportEventChannel  = "event_channel"  // func(ptr, cap i32) len i32: writes at most cap bytes of the channel's name; 0 for a direct event
	ImportEventKind     = "event_kind"     // func() i32: one of the kinds below
	ImportDaemonID      = "daemon_id"      // func(ptr i32): writes this daemon's own 32-byte EntityID
	ImportNow           = "now"            // func() i64: the event's recorded time, as event_time
	ImportRandom        = "random"         // func(ptr, len i32): fills with the event's deterministic random stream
	ImportPublish       = "publish"        // func(channel, channel_len, ptr, len i32) code i32: an event on a channel; one of the answers below
	ImportSend          = "send"           // func(id, ptr, len i32) code i32: an event to the daemon whose 32-byte EntityID is at id
	ImportTimer         = "timer"          // func(at i64, ptr, len i32) i64: an event to this daemon at a time; the timer's number, or minus an answer
	ImportTimerCancel   = "timer_cancel"   // func(timer i64): the timer does not fire; one that is not there is no error
	ImportAsk           = "ask"            // func(id, ptr, len i32, deadline i64) i64: an event to another daemon, which answers it; the call's number, or minus an answer
	ImportAnswer        = "answer"         // func(call i64, ptr, len i32) code i32: the answer to what another asked; one of the answers below
	ImportRefuse        = "refuse"         // func(call i64, ptr, len i32) code i32: refuses it, for the reason in the text
	ImportEventCall     = "event_call"     // func() i64: of EventAsk, what to answer; of EventReply, the number that ask returned; else 0
	ImportEventStatus   = "event_status"   // func() i32: of EventReply, one of the statuses below; else 0
)

// Kinds of events, as of ImportEventKind.
const (
	EventDirect  = 0 // sent to the daemon
	EventChannel = 1 // of a channel to which it is subscribed
	EventGap     = 2 // in place of a channel's events that are lost: 16 bytes, sequences of the first and the last of them, little-endian; zeros where they are not known
	EventTimer   = 3 // a timer of the daemon's own is due
	EventDaemon  = 4 // another daemon sent it, which is proven
	EventAsk     = 5 // another daemon asks, which is proven, and waits for an answer: only for modules that import ImportAnswer
	EventReply   = 6 // a call of the daemon's own has ended
	EventQuery   = 7 // no event: a question, in ExportQuery
)

// Statuses of EventReply, as of ImportEventStatus.
const (
	ReplyAnswered     = 0 // the payload is the answer
	ReplyRefused      = 1 // the payload is the reason
	ReplyFailed       = 2 // the daemon failed on it; the payload is the error
	ReplyNoSuchDaemon = 3 // there is none, or it was removed
	ReplyTimedOut     = 4 // the deadline passed first
	ReplyForked       = 5 // this daemon is a fork of the one that asked
)

// Answers of ImportPublish, ImportSend, ImportAnswer, ImportRefuse and, negative,
// ImportTimer and ImportAsk.
const (
	EffectDone     = 0
	EffectDenied   = 1 // the daemon was not granted it
	EffectInvalid  = 2 // no channel, daemon or time is like that
	EffectTooLarge = 3 // the payload has more than MaxEffectBytes
)

// EffectRoom is for what of a daemon's effects there is room: how many more on their
// way, bytes of them, timers, bytes of those, and calls without an answer.
type EffectRoom struct{ Pending, Bytes, Timers, TimerBytes, Calls int }

// Bounds and price of effects.
const (
	MaxEffects     = 4096    // effects of one event
	MaxEffectBytes = 1 << 20 // bytes of one effect's payload
	EffectFuel     = 1000    // for each, beside what its bytes cost
)

// Levels of ImportLog.
const (
	LogDebug = 0
	LogInfo  = 1
	LogWarn  = 2
	LogError = 3
)

// SnapshotFailed is what ExportSnapshot returns (as all ones) when the guest
// could not produce its state.
const SnapshotFailed = ^uint64(0)

// QueryFailed is what ExportQuery returns (as all ones) when the guest has no answer.
const QueryFailed = ^uint64(0)
