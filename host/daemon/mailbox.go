package daemon

// MailboxBytes bounds the payloads of the events that wait for one daemon, of those with
// more than 4 KiB.
const MailboxBytes = 64 << 20

// MaxReaders is how many callers that only look may wait for one daemon at a time:
// those that save a snapshot, export a chain, follow outputs, fork, list or settle
// failed events, change subscriptions or upgrade. They take no places in its mailbox.
const MaxReaders = 256

// MaxQueries is how many queries may wait for one daemon at a time.
const MaxQueries = 256

// NearPercent is from how much of a limit on a daemon is near it.
const NearPercent = 80

// HaltedState is the state of a daemon that is stopped until it is started again.
const HaltedState = "stopped"
