//go:build lab

package remote_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"multihead/internal/host/remote"
)

// BenchmarkLabReach connects to the first heads of a lab and asks each one
// question: what a discover costs before it has asked anything of a service.
func BenchmarkLabReach(b *testing.B) {
	dir := labDir(b)
	for _, heads := range []int{1, 2, 4} {
		b.Run(fmt.Sprintf("heads=%d", heads), func(b *testing.B) {
			var targets []remote.Target
			for i := range heads {
				targets = append(targets, remote.Target{Name: fmt.Sprintf("server%d", i+1), Address: fmt.Sprintf("192.0.2.%d", 11+i),
					User: "root", KeyFile: filepath.Join(dir, "id_ed25519")})
			}
			var sent int64
			var slowest remote.Timing
			for b.Loop() {
				d := labDialer(b, dir, "")
				results, err := d.ConnectAll(b.Context(), targets)
				if err != nil {
					b.Fatal(err)
				}
				slowest = remote.Timing{}
				for _, r := range results {
					if r.Err != nil {
						b.Fatal(r.Err)
					}
					if _, err := r.Conn.Query(b.Context(), "uname"); err != nil {
						b.Fatal(err)
					}
					sent = r.Conn.Timing.Sent
					slowest.Keys = max(slowest.Keys, r.Conn.Timing.Keys)
					slowest.Login = max(slowest.Login, r.Conn.Timing.Login)
					slowest.Start = max(slowest.Start, r.Conn.Timing.Start)
				}
				b.StopTimer()
				for _, r := range results {
					_ = r.Conn.Close()
				}
				b.StartTimer()
			}
			ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
			b.ReportMetric(float64(sent)/(1<<20), "MiB-sent")
			b.ReportMetric(ms(slowest.Keys), "ms-keys")
			b.ReportMetric(ms(slowest.Login), "ms-login")
			b.ReportMetric(ms(slowest.Start), "ms-start")
		})
	}
}
