package agentd

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"multihead/internal/host"
)

// Event is something that an agent did for the cluster, or found to need a
// person.
type Event struct {
	Time    time.Time `json:"time"`
	Kind    string    `json:"kind"` // recovery, recovery-failed, kill, fence, proof, alarm
	Host    string    `json:"host"` // where
	Service string    `json:"service,omitempty"`
	What    string    `json:"what"`
	Cause   string    `json:"cause,omitempty"`
}

// Events asks the agent of a host what it did, oldest first, as far as it
// remembers: since it was started, and not endlessly.
func Events(ctx context.Context, r host.Reader) ([]Event, error) {
	var out []Event
	return out, get(ctx, r, "/v1/events", &out)
}

// Ask asks the agent of a host how its head is.
func Ask(ctx context.Context, r host.Reader) (*Report, error) { return askAgent(ctx, r) }

// askAgent asks an agent how its head is.
func askAgent(ctx context.Context, r host.Reader) (*Report, error) {
	var out Report
	if err := get(ctx, r, "/v1/report?look=now", &out); err != nil {
		return nil, err
	}
	return &out, nil
}

// get asks an agent on its own socket.
func get(ctx context.Context, r host.Reader, path string, out any) error {
	conn, err := r.Dial(ctx, "unix", Socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://agent"+path, nil)
	if err != nil {
		return err
	}
	req.Close = true
	if err := req.Write(conn); err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the agent answers %s", res.Status)
	}
	if err := json.NewDecoder(http.MaxBytesReader(nil, res.Body, 1<<20)).Decode(out); err != nil {
		return fmt.Errorf("the agent's answer: %w", err)
	}
	return nil
}
