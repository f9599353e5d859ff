//go:build lab

package test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// requests is how many are due each second, and for how long.
const (
	requests    = 1000
	requestsFor = 20 * time.Second
)

// underLoad asks the database through the virtual address, and Redis, together a thousand
// times a second, while 2000 jobs are submitted: 1700 in two arrays, and 300 one by one.
// What the machine under this test cannot do in time is told, and what fails is an error.
func (h *hosts) underLoad() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 3*time.Minute)
	defer cancel()
	db := h.database()
	defer db.Close()
	db.SetMaxIdleConns(20)
	if _, err := db.ExecContext(ctx, "CREATE TABLE loaded (n INT PRIMARY KEY)"); err != nil {
		h.t.Fatal(err)
	}
	keys := h.redis()
	defer keys.Close()

	one := func(n int) (err error) {
		switch {
		case n%20 == 0:
			_, err = db.ExecContext(ctx, "INSERT INTO loaded VALUES (?)", n)
		case n%2 == 0:
			var got int
			err = db.QueryRowContext(ctx, "SELECT COUNT(*) FROM loaded WHERE n = ?", n-n%20).Scan(&got)
		case n%3 == 0:
			err = keys.Set(ctx, fmt.Sprintf("loaded%d", n), n, time.Hour).Err()
		default:
			if err = keys.Get(ctx, fmt.Sprintf("loaded%d", n)).Err(); errors.Is(err, redis.Nil) {
				err = nil
			}
		}
		return err
	}
	due := make(chan int, 4*requests)
	var done, failed atomic.Int64
	var first atomic.Value
	var workers sync.WaitGroup
	for range 20 {
		workers.Go(func() {
			for n := range due {
				if err := one(n); err != nil {
					failed.Add(1)
					first.CompareAndSwap(nil, fmt.Sprintf("request %d: %v", n, err))
				}
				done.Add(1)
			}
		})
	}
	jobs := make(chan string, 1)
	go func() {
		out, err := h.trySh("server2", `cd /tmp && for n in 1000 700; do sbatch --hold --array=1-$n --job-name=loaded --output=/dev/null --wrap=true || exit 1; done
			seq 300 | xargs -P 4 -I{} sbatch --parsable --hold --job-name=loaded --output=/dev/null --wrap=true | wc -l`)
		jobs <- fmt.Sprint(out, " ", err)
	}()
	begin := time.Now()
	n, late := 0, 0
	pace := time.NewTicker(5 * time.Millisecond)
	defer pace.Stop()
	for time.Since(begin) < requestsFor {
		<-pace.C
		for soFar := int(time.Since(begin).Seconds() * requests); n < soFar; n++ {
			select {
			case due <- n:
			default:
				late++ // all are at work, and as many wait
			}
		}
	}
	close(due)
	workers.Wait()
	took := time.Since(begin)
	h.t.Logf("%d requests in %.1f s, %.0f a second; %d failed, %d could not be made in time; %v", done.Load(), took.Seconds(), float64(done.Load())/took.Seconds(), failed.Load(), late, first.Load())
	if failed.Load() > 0 {
		h.t.Errorf("%d requests failed, the first: %v", failed.Load(), first.Load())
	}
	said := <-jobs
	if !strings.HasSuffix(said, "300 <nil>") {
		h.t.Errorf("jobs: %s", said)
	}
	if out := h.sh("server1", "squeue -h -r -n loaded | wc -l"); out != "2000" {
		h.t.Errorf("%s jobs are there, 2000 were submitted", out)
	}
	h.sh("server1", "scancel -n loaded")
}
