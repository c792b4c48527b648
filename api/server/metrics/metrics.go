// Package metrics shows Prometheus what a node does and has.
package metrics

import (
	"iter"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"wasmhost.example/api"
	"wasmhost.example/api/server/cluster"
	"wasmhost.example/host"
	"wasmhost.example/host/meter"
	"wasmhost.example/host/store"
	"wasmhost.example/wire"
)

// Metrics are what Prometheus reads of a node. Labels name kinds, never
// daemons: their number is the users'.
type Metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	took     *prometheus.HistogramVec
	denied   *prometheus.CounterVec

	ambiguousGroups prometheus.Gauge
}

// New makes the metrics of a node. s may be nil: the node stores nothing.
func New(rt *host.Runtime, mesh *wire.Mesh, s *store.Store, version string, logger *slog.Logger) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "wasmhost_api_requests_total", Help: "Requests of the control API that were answered, by route and status."}, []string{"route", "status"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "wasmhost_api_request_duration_seconds", Help: "How long requests of the control API took, streams included.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 4, 9)}, []string{"route"}),
		denied:          prometheus.NewCounterVec(prometheus.CounterOpts{Name: "wasmhost_api_denied_total", Help: "Requests that were refused for want of a token or of its scope, by the code of the refusal."}, []string{"code"}),
		ambiguousGroups: prometheus.NewGauge(prometheus.GaugeOpts{Name: "wasmhost_groups_ambiguous", Help: "Groups of this node whose name another node has a group of, too: nothing is sent to them."}),
	}
	for _, c := range api.Codes() { // counters are there before the first of their events
		if c.Status == http.StatusUnauthorized || c.Status == http.StatusForbidden {
			m.denied.WithLabelValues(c.Name)
		}
	}
	m.registry.MustRegister(m.requests, m.took, m.denied, m.ambiguousGroups, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		&nodeCollector{rt: rt, mesh: mesh, store: s, version: version, logger: logger})
	return m
}

// Expect has the counters of the routes there before the first request of them.
func (m *Metrics) Expect(routes iter.Seq[string]) {
	for route := range routes {
		for _, status := range []int{http.StatusOK, http.StatusForbidden, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusServiceUnavailable} {
			m.requests.WithLabelValues(route, strconv.Itoa(status))
		}
	}
}

// ServeHTTP answers a scrape.
func (m *Metrics) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{EnableOpenMetrics: true}).ServeHTTP(w, r)
}

// Answered counts a request.
func (m *Metrics) Answered(route string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	m.took.WithLabelValues(route).Observe(took.Seconds())
}

// Denied counts a refusal by its code.
func (m *Metrics) Denied(code string) { m.denied.WithLabelValues(code).Inc() }

// CountAmbiguous says how many of the node's groups have a name that another node's has.
// m may be nil.
func (m *Metrics) CountAmbiguous(n int) {
	if m != nil {
		m.ambiguousGroups.Set(float64(n))
	}
}

// The metrics of a node, as they are read at each scrape.
var (
	descEvents      = desc("events_total", "Events that daemons applied.", "kind")
	descRepeats     = desc("event_repeats_total", "Events that had been applied before, and were answered from the record.", "kind")
	descFailures    = desc("event_failures_total", "Events that daemons failed on and that left no trace, by the limit that they went over or the sort of fault.", "kind", "reason")
	descOutputs     = desc("outputs_total", "Outputs that daemons emitted.", "kind")
	descRefused     = desc("mailbox_refusals_total", "Events that found a mailbox full.", "kind")
	descPassedOver  = desc("events_passed_over_total", "Events of timers, daemons and channels that a daemon failed on and that nobody tries again, by where they came from.", "kind", "source")
	descRoomless    = desc("event_room_waits_total", "Tries of such events that found no room for their effects and are made again.", "kind")
	descInternal    = desc("internal_seconds_total", "Processor time of events that the node delivers by itself: of timers, daemons and channels.", "kind")
	descProcess     = desc("event_process_duration_seconds", "How long a daemon took for an event. One event in 16 is timed.", "kind")
	descDelivery    = desc("event_delivery_duration_seconds", "From when a daemon began with an event until it was durable. One event in 16 is timed.", "kind")
	descDaemons     = desc("daemons", "Daemons of this node, by state.", "kind", "state")
	descMemory      = desc("daemon_memory_bytes", "Memory that daemons hold.", "kind")
	descNear        = desc("daemons_near_limit", "Daemons that are near a limit which grows with what they keep: events that would pass it will fail.", "kind", "limit")
	descActive      = desc("active_memory_bytes", "Memory of the daemons that are not passive, which serve --active-memory bounds.")
	descPassivated  = desc("passivations_total", "Daemons that left memory because they were idle.", "kind")
	descReturned    = desc("recoveries_total", "Daemons that were read from disk: at the start, for an event while they were passive, or by wasmhost recover.", "kind", "why", "outcome")
	descRecovering  = desc("recovering_daemons", "Daemons that the start of the node has yet to bring back.")
	descMoves       = desc("migrations_total", "Migrations that ended, by this node's role and their outcome.", "kind", "role", "outcome")
	descDowntime    = desc("migration_downtime_seconds", "For how long senders may have waited for a daemon that moved away.", "kind")
	descMoveBytes   = desc("migration_sent_bytes_total", "Bytes that migrations from here sent.", "kind")
	descRounds      = desc("migration_rounds_total", "Rounds of migrations from here; the pause is one.", "kind")
	descRefusedIDs  = desc("refused_identities", "Identities whose key has signed two histories.")
	descHeld        = desc("held_daemons", "Daemons that serve nothing: until an operator decides which copy goes on, or until a standby in sync answers.")
	descLossy       = desc("daemons_with_loss", "Daemons of which acknowledged outputs are known to be lost, or may be: wasmhost inspect says which.")
	descPeers       = desc("peers", "Trusted nodes, by whether there is a session with them.", "connected")
	descDenied      = desc("peer_denials_total", "Requests of peers that they have no right to.")
	descDraining    = desc("draining", "1 while the node takes no daemons.")
	descHolding     = desc("cluster_holding", "1 while the node's lease has ended: its daemons hold their events.")
	descMembers     = desc("cluster_members", "Nodes of the cluster, by whether they are there.", "here")
	descKept        = desc("cluster_daemons", "Daemons of the cluster that have too few standbys in sync (wanting), or are nowhere (lost).", "state")
	descReady       = desc("ready", "1 while the node takes events.")
	descBuild       = desc("build_info", "1, with the version of the node.", "version")
	descBudget      = desc("budget_bytes", "Bytes that queues and waiting callers hold, by budget.", "budget")
	descBudgetLimit = desc("budget_limit_bytes", "The most that a budget lets be held.", "budget")
	descBudgetPeak  = desc("budget_peak_bytes", "The most that was held at a time since the node started.", "budget")
	descBudgetWait  = desc("budget_waiting", "Callers that wait for room in a budget.", "budget")
	descBudgetFull  = desc("budget_refusals_total", "Requests for which a budget had no room, and followers that were cut.", "budget")
	descCompiles    = desc("compiles_total", "Modules that were to be compiled, by what became of it: compiled, cached, over-budget, cancelled, refused, remembered (it failed a while ago) or error.", "result")
	descCompiling   = desc("compiles_running", "Modules that are being compiled.")
	descCompileQ    = desc("compiles_waiting", "Modules that are being compiled, or wait for that.")
	descCompileCPU  = desc("compile_cpu_seconds_total", "Processor time of the processes that compiled modules.")
	descCompileMem  = desc("compile_peak_memory_bytes", "The most memory that a process which compiled a module had.")
	descRateWaits   = desc("internal_rate_waits_total", "How often daemons waited since they do more of their own accord than their limits internal-rate and internal-bytes allow.", "kind")
	descArriving    = desc("arrivals_unfinished", "Daemons on their way here that are not this node's yet.")
	descArrivalMem  = desc("arrival_bytes", "Bytes that daemons on their way here take, with the most that they may take.", "what")

	descBatches  = desc("store_batches_total", "Batches that were made durable.")
	descSyncs    = desc("store_syncs_total", "Syncs that made batches durable: many share one.")
	descFailed   = desc("store_write_failures_total", "Writes of the store that failed.")
	descWritten  = desc("store_written_bytes_total", "Bytes of the batches.")
	descSync     = desc("store_sync_duration_seconds", "How long a write took until it was durable.")
	descQueued   = desc("store_queued_bytes", "Bytes that wait to be written.")
	descPoisoned = desc("store_poisoned", "1 when a write failed and nothing more is written.")
	descFull     = desc("store_full", "1 while the disk is too full for new records.")
	descFree     = desc("store_free_bytes", "Bytes that are free on the disk, as of the last look.")
	descReserve  = desc("store_reserve_bytes", "Bytes of the disk that stay free for the node itself.")
	descDisk     = desc("store_disk_bytes", "Bytes that the store's files have.")
	descReopened = desc("store_reopenings_total", "How often the store was opened again after the disk was full.")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("wasmhost_"+name, help, labels, nil)
}

type nodeCollector struct {
	rt      *host.Runtime
	mesh    *wire.Mesh
	store   *store.Store
	version string
	logger  *slog.Logger
}

// Describe says nothing: what is collected depends on the kinds.
func (c *nodeCollector) Describe(chan<- *prometheus.Desc) {}

func (c *nodeCollector) Collect(out chan<- prometheus.Metric) {
	count := func(d *prometheus.Desc, n uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	histogram := func(d *prometheus.Desc, v meter.Distribution, labels ...string) {
		out <- prometheus.MustNewConstHistogram(d, v.Count, v.Sum, v.Within, labels...)
	}
	m := c.rt.Metrics()
	for kind, k := range m.Kinds {
		count(descEvents, k.Events, kind)
		count(descRepeats, k.Repeats, kind)
		count(descOutputs, k.Outputs, kind)
		count(descRefused, k.Refused, kind)
		count(descPassivated, k.Passivated, kind)
		count(descMoveBytes, k.MigrationBytes, kind)
		count(descRounds, k.Rounds, kind)
		gauge(descMemory, float64(k.MemoryBytes), kind)
		histogram(descProcess, k.Process, kind)
		histogram(descDelivery, k.Delivery, kind)
		histogram(descDowntime, k.Downtime, kind)
		count(descRoomless, k.Roomless, kind)
		count(descRateWaits, k.RateWaits, kind)
		out <- prometheus.MustNewConstMetric(descInternal, prometheus.CounterValue, k.InternalTime.Seconds(), kind)
		for source, n := range k.PassedOver {
			count(descPassedOver, n, kind, source)
		}
		for reason, n := range k.Failures {
			count(descFailures, n, kind, reason)
		}
		for state, n := range k.Daemons {
			gauge(descDaemons, float64(n), kind, state)
		}
		for limit, n := range k.Near {
			gauge(descNear, float64(n), kind, limit)
		}
		for how, n := range k.Returned {
			count(descReturned, n, kind, how.Why, how.Outcome)
		}
	}
	for how, n := range m.Moves {
		count(descMoves, n, how.Kind, how.Role, how.Outcome)
	}
	gauge(descActive, float64(m.MemoryBytes))
	gauge(descRecovering, float64(m.ToRecover-m.Recovered))
	gauge(descRefusedIDs, float64(m.Accused))
	gauge(descHeld, float64(m.Held))
	gauge(descLossy, float64(m.Lossy))
	arrivals := c.rt.Migrations().Arrivals()
	gauge(descArriving, float64(arrivals.Unfinished))
	gauge(descArrivalMem, float64(arrivals.Bytes.Used), "used")
	gauge(descArrivalMem, float64(arrivals.Bytes.Limit), "limit")
	gauge(descDraining, oneIf(c.rt.Node().Draining()))
	gauge(descReady, oneIf(c.rt.IsReady()))
	gauge(descBuild, 1, c.version)
	for _, u := range c.rt.Node().Budgets().Uses() {
		gauge(descBudget, float64(u.Used), u.Name)
		gauge(descBudgetLimit, float64(u.Limit), u.Name)
		gauge(descBudgetPeak, float64(u.Peak), u.Name)
		gauge(descBudgetWait, float64(u.Waiting), u.Name)
		count(descBudgetFull, u.Refused, u.Name)
	}
	c.peers(count, gauge)
	c.cluster(gauge)
	compiles := c.rt.Kinds().Compiles()
	for result, n := range compiles.Results {
		count(descCompiles, n, result)
	}
	gauge(descCompiling, float64(compiles.Running))
	gauge(descCompileQ, float64(compiles.Waiting))
	gauge(descCompileMem, float64(compiles.Memory))
	out <- prometheus.MustNewConstMetric(descCompileCPU, prometheus.CounterValue, compiles.CPU.Seconds())
	if c.store != nil {
		c.stored(count, gauge, histogram)
	}
}

func (c *nodeCollector) peers(count func(*prometheus.Desc, uint64, ...string), gauge func(*prometheus.Desc, float64, ...string)) {
	peers, err := c.mesh.Peers()
	if err != nil {
		c.logger.Warn("counting the peers", "error", err)
		return
	}
	var denied uint64
	connected := 0
	for _, p := range peers {
		denied += p.Denied
		if p.Connected {
			connected++
		}
	}
	gauge(descPeers, float64(connected), "true")
	gauge(descPeers, float64(len(peers)-connected), "false")
	count(descDenied, denied)
}

func (c *nodeCollector) cluster(gauge func(*prometheus.Desc, float64, ...string)) {
	m, err := c.rt.Cluster()
	if err != nil {
		return // it is in none
	}
	gauge(descHolding, oneIf(c.rt.Node().Holding() != nil))
	here, gone := 0, 0
	for _, n := range m.Nodes() {
		if n.Here {
			here++
		} else {
			gone++
		}
	}
	gauge(descMembers, float64(here), "true")
	gauge(descMembers, float64(gone), "false")
	k := cluster.KeptIn(m, c.rt.Places().Remembered())
	gauge(descKept, float64(k.Wanting), "wanting")
	gauge(descKept, float64(k.Lost), "lost")
}

func (c *nodeCollector) stored(count func(*prometheus.Desc, uint64, ...string), gauge func(*prometheus.Desc, float64, ...string),
	histogram func(*prometheus.Desc, meter.Distribution, ...string)) {
	s := c.store.Metrics()
	count(descBatches, s.Batches)
	count(descSyncs, s.Syncs)
	count(descFailed, s.Failed)
	count(descWritten, s.Bytes)
	count(descReopened, uint64(s.Reopened))
	histogram(descSync, s.Sync)
	gauge(descQueued, float64(s.Queued))
	gauge(descPoisoned, oneIf(s.Failure))
	gauge(descFull, oneIf(s.Full))
	gauge(descFree, float64(s.Free))
	gauge(descReserve, float64(s.Reserve))
	gauge(descDisk, float64(s.Disk))
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
