package agent

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"time"

	"multihead/internal/service/agentd"
)

// listenLocal opens the socket on which the tool asks. Root alone may: a report
// names what is broken.
func listenLocal(ctx context.Context) (net.Listener, error) {
	if err := os.MkdirAll(agentd.RunDir, 0o755); err != nil {
		return nil, err
	}
	if err := os.Remove(agentd.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "unix", agentd.Socket)
	if err != nil {
		return nil, err
	}
	return ln, os.Chmod(agentd.Socket, 0o600)
}

// serveLocal answers on the socket.
func (a *Agent) serveLocal(ctx context.Context, ln net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/report", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("look") == "now" {
			a.lookAgain(r.Context())
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(a.report(time.Now())) // the asker may have gone
	})
	mux.HandleFunc("GET /v1/events", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		a.mu.Lock()
		events := slices.Clone(a.events)
		a.mu.Unlock()
		_ = json.NewEncoder(w).Encode(events)
	})
	mux.HandleFunc("GET /metrics", a.answerMetrics)
	srv := &http.Server{Handler: mux, ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// report is what the agent knows.
func (a *Agent) report(now time.Time) agentd.Report {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := agentd.Report{Name: a.Name, Version: a.Version, Fit: a.fit, Holds: a.holds, Bad: copyOf(a.bad), Peers: map[string]agentd.Peer{}}
	r.Maintenance = a.maint
	r.UpMS, r.Leads = now.Sub(a.started).Milliseconds(), a.leading
	j := decide(a.living(now), Verdict{Bad: a.bad, Maintained: a.maint != nil}, a.peers, now)
	r.Why = j.Why
	r.Settling = !a.fit && (j.Fit || now.Sub(a.started) < freshFor)
	for _, key := range slices.Sorted(maps.Keys(a.alarms)) {
		r.Alarms = append(r.Alarms, key+": "+a.alarms[key])
	}
	r.Dead, r.Fencing = a.fenceReport(now)
	for _, name := range a.electorate.Peers {
		p, ok := a.peers[name]
		peer := agentd.Peer{AgeMS: -1}
		if ok {
			age := now.Sub(p.at)
			peer = agentd.Peer{Heard: age <= freshFor, AgeMS: age.Milliseconds(), Fit: p.Fit, Holds: p.Holds, Maintenance: p.Maintenance}
		}
		r.Peers[name] = peer
	}
	return r
}
