package drill

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"multihead/internal/config"
	"multihead/internal/drill/check"
	"multihead/internal/drill/clients"
)

// checkVolume reads the lines as every head sees them.
func (r *run) checkVolume(ctx context.Context, ops []clients.Op) []check.Verdict {
	if len(r.volume) == 0 {
		return nil
	}
	var out []check.Verdict
	views := map[string][]int64{}
	for _, c := range r.env.File.HeadsWith(config.GlusterFS) {
		h, ok := r.env.Host(c.Hostname)
		if !ok {
			out = append(out, unread("volume on "+c.Hostname, errors.New("not reached")))
			continue
		}
		for _, f := range r.volume {
			data, err := h.ReadFile(ctx, path.Join(r.volumeDir(), f.file))
			var numbers []int64
			if err == nil {
				numbers, err = lines(string(data))
			}
			if err != nil {
				out = append(out, unread("volume on "+c.Hostname, err))
			}
			for _, n := range numbers {
				views[c.Hostname] = append(views[c.Hostname], n+f.by.first)
			}
		}
	}
	out = append(out, check.Numbers("fsynced lines", check.Of(ops, clients.Volume, clients.Append), views))
	h, err := r.anyHead(config.GlusterFS)
	if err != nil {
		return append(out, unread("volume healed", err))
	}
	summary, err := h.Query(ctx, "gluster", "--mode=script", "volume", "heal", r.env.File.SharedStorage.GlusterFS.VolumeName, "info", "summary")
	if err != nil {
		return append(out, unread("volume healed", err))
	}
	return append(out, check.Heal(summary))
}

// lines reads one number a line.
func lines(data string) ([]int64, error) {
	var out []int64
	for line := range strings.Lines(data) {
		n, err := strconv.ParseInt(strings.TrimSuffix(line, "\n"), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("a line is damaged: %w", err)
		}
		out = append(out, n)
	}
	return out, nil
}
