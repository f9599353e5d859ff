package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"multihead/internal/lab"
)

// labProgress writes one line for each event, with the time since the start,
// and says that work goes on when nothing was said for two seconds.
type labProgress struct {
	out   io.Writer
	began time.Time
	quit  chan struct{}
	done  sync.WaitGroup

	mu   sync.Mutex
	last lab.Event
	said time.Time
}

const labSilence = 2 * time.Second

func newLabProgress(out io.Writer) *labProgress {
	p := &labProgress{out: out, began: time.Now(), said: time.Now(), quit: make(chan struct{})}
	p.done.Go(p.reassure)
	return p
}

func (p *labProgress) event(e lab.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = e
	p.line(e.Host, e.Text)
}

// line is called with the lock held.
func (p *labProgress) line(host, text string) {
	p.said = time.Now()
	t := int(time.Since(p.began).Seconds())
	if host != "" {
		text = fmt.Sprintf("%-9s %s", host, text)
	}
	fmt.Fprintf(p.out, "%02d:%02d %s\n", t/60, t%60, text)
}

func (p *labProgress) reassure() {
	tick := time.NewTicker(labSilence / 8)
	defer tick.Stop()
	for {
		select {
		case <-p.quit:
			return
		case <-tick.C:
			p.mu.Lock()
			if time.Since(p.said) > labSilence-labSilence/4 {
				p.line(p.last.Host, p.last.Text+" …")
			}
			p.mu.Unlock()
		}
	}
}

// stop ends the reassuring; no line follows.
func (p *labProgress) stop() {
	close(p.quit)
	p.done.Wait()
}
