package agent

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"multihead/internal/service/agentd"
)

// counters is what an agent has counted since it started.
type counters struct {
	looks   map[string]lookCount // by service
	events  map[eventKey]uint64
	gained  uint64 // the virtual address came to this head
	lost    uint64 // and went
	removed uint64 // a leftover one was taken off
}

// lookCount is how often a service was looked at, and how long that took.
type lookCount struct {
	n    uint64
	took time.Duration
}

type eventKey struct{ kind, service string }

// event counts an event. Called with the agent's lock held, as all of these.
func (c *counters) event(kind, service string) {
	if c.events == nil {
		c.events = map[eventKey]uint64{}
	}
	c.events[eventKey{kind, service}]++
}

// looked counts a look at a service.
func (a *Agent) looked(service string, took time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.count.looks == nil {
		a.count.looks = map[string]lookCount{}
	}
	l := a.count.looks[service]
	a.count.looks[service] = lookCount{l.n + 1, l.took + took}
}

// sample is one value of a metric.
type sample struct {
	labels []string // name, value, name, value …
	value  float64
}

// metric is one metric with all its samples.
type metric struct {
	name, kind, help string
	samples          []sample
}

func one(value float64) []sample { return []sample{{value: value}} }

func truth(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// metrics is what Prometheus is shown.
func (a *Agent) metrics(now time.Time) []metric {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := []metric{
		{"multihead_agent_info", "gauge", "The agent's version and name; always 1.", []sample{{[]string{"version", a.Version, "name", a.Name}, 1}}},
		{"multihead_agent_start_time_seconds", "gauge", "When the agent started, in seconds since 1970.", one(float64(a.started.UnixMilli()) / 1000)},
		{"multihead_fit", "gauge", "1 while this host may hold the virtual address.", one(truth(a.fit))},
		{"multihead_holds_vip", "gauge", "1 while this host has the virtual address.", one(truth(a.holds))},
		{"multihead_leads", "gauge", "1 while this agent acts for the cluster.", one(truth(a.leading))},
		{"multihead_vip_moves_total", "counter", "How often the virtual address came to this host or left it.",
			[]sample{{[]string{"direction", "gained"}, float64(a.count.gained)}, {[]string{"direction", "lost"}, float64(a.count.lost)}}},
		{"multihead_leftover_vips_removed_total", "counter", "How often the address was taken off after keepalived had died or frozen.", one(float64(a.count.removed))},
	}
	return append(append(append(out, a.serviceMetrics()...), a.peerMetrics(now)...), a.eventMetrics()...)
}

func (a *Agent) serviceMetrics() []metric {
	up := metric{"multihead_service_up", "gauge", "1 while the service can serve on this host, as the agent's last look found.", nil}
	n := metric{"multihead_looks_total", "counter", "How often the service was looked at.", nil}
	took := metric{"multihead_look_seconds_total", "counter", "How long all looks at the service have taken.", nil}
	for _, name := range slices.Sorted(maps.Keys(a.count.looks)) {
		label := []string{"service", name}
		_, bad := a.bad[name]
		up.samples = append(up.samples, sample{label, truth(!bad)})
		n.samples = append(n.samples, sample{label, float64(a.count.looks[name].n)})
		took.samples = append(took.samples, sample{label, a.count.looks[name].took.Seconds()})
	}
	return []metric{up, n, took}
}

func (a *Agent) peerMetrics(now time.Time) []metric {
	heard := metric{"multihead_peer_heard", "gauge", "1 while the other agent is heard.", nil}
	age := metric{"multihead_peer_beat_age_seconds", "gauge", "How long ago the other agent's last beat came; absent until the first.", nil}
	clock := metric{"multihead_peer_clock_ahead_seconds", "gauge", "How far the other host's clock is ahead of this one's; absent while it is not heard.", nil}
	for _, name := range a.electorate.Peers {
		label := []string{"peer", name}
		p, ok := a.peers[name]
		since := now.Sub(p.at)
		heard.samples = append(heard.samples, sample{label, truth(ok && since <= freshFor)})
		if ok {
			age.samples = append(age.samples, sample{label, since.Seconds()})
		}
		if r, ok := a.clocks.peers[name]; ok && now.Sub(r.at) <= freshFor {
			clock.samples = append(clock.samples, sample{label, r.ahead.Seconds()})
		}
	}
	return []metric{heard, age, clock}
}

func (a *Agent) eventMetrics() []metric {
	events := metric{"multihead_events_total", "counter", "What the agent did or found, by kind: recovery, recovery-failed, kill (of a daemon that hung, or would do harm), takeover (from a head that fell silent), fence, alarm.", nil}
	// What has not happened yet is shown as such: the first time would else not
	// be seen as a rise.
	count := map[eventKey]uint64{}
	for service := range a.count.looks {
		for _, kind := range []string{"recovery", "recovery-failed", "kill"} {
			count[eventKey{kind, service}] = 0
		}
	}
	maps.Copy(count, a.count.events)
	for _, k := range slices.SortedFunc(maps.Keys(count), func(x, y eventKey) int {
		return strings.Compare(x.kind+" "+x.service, y.kind+" "+y.service)
	}) {
		events.samples = append(events.samples, sample{[]string{"kind", k.kind, "service", k.service}, float64(count[k])})
	}
	alarms := metric{"multihead_alarm", "gauge", "1 for each thing that needs a person.", nil}
	for _, key := range slices.Sorted(maps.Keys(a.alarms)) {
		alarms.samples = append(alarms.samples, sample{[]string{"about", key}, 1})
	}
	return []metric{events, alarms}
}

// processMetrics are what every Prometheus exporter tells of its own process;
// none where the kernel does not say.
func processMetrics() []metric {
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return nil
	}
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])) // from the third field on (proc_pid_stat(5))
	const utime, stime, rss = 14 - 3, 15 - 3, 24 - 3
	if len(f) <= rss {
		return nil
	}
	number := func(i int) float64 { n, _ := strconv.ParseFloat(f[i], 64); return n }
	const ticks = 100 // USER_HZ, on every architecture that Linux runs heads on
	return []metric{
		{"process_cpu_seconds_total", "counter", "CPU time of the agent.", one((number(utime) + number(stime)) / ticks)},
		{"process_resident_memory_bytes", "gauge", "Memory of the agent.", one(number(rss) * float64(os.Getpagesize()))},
	}
}

// exposition is Prometheus' text format, version 0.0.4. A metric without samples
// is left out.
func exposition(list []metric) []byte {
	var b bytes.Buffer
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
	for _, m := range list {
		if len(m.samples) == 0 {
			continue
		}
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", m.name, m.help, m.name, m.kind)
		for _, s := range m.samples {
			b.WriteString(m.name)
			for i := 0; i+1 < len(s.labels); i += 2 {
				b.WriteByte("{,"[min(i, 1)])
				fmt.Fprintf(&b, `%s="%s"`, s.labels[i], escape.Replace(s.labels[i+1]))
			}
			if len(s.labels) > 0 {
				b.WriteByte('}')
			}
			b.WriteByte(' ')
			b.WriteString(strconv.FormatFloat(s.value, 'g', -1, 64))
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

func (a *Agent) answerMetrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write(exposition(append(a.metrics(time.Now()), processMetrics()...))) // the asker may have gone
}

// serveMetrics shows the metrics to this host alone. A port that is taken costs
// the metrics and nothing else.
func (a *Agent) serveMetrics(ctx context.Context) {
	at := net.JoinHostPort("127.0.0.1", strconv.Itoa(agentd.MetricsPort))
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", at)
	if err != nil {
		a.Log.Error("no metrics", "address", at, "error", err)
		return
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", a.answerMetrics)
	srv := &http.Server{Handler: mux, ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second, IdleTimeout: 30 * time.Second, MaxHeaderBytes: 8 << 10}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	_ = srv.Serve(ln) // ends with ctx
}
