package slurm

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"multihead/internal/host"
	"multihead/internal/host/hosttest"
)

// jobStateOf is the head of a job_state as slurmctld packs it, and a job.
func jobStateOf(c savedCopy) string {
	var b bytes.Buffer
	for _, v := range []any{uint32(17), []byte("PROTOCOL_VERSION\x00"), uint16(0x2a00), uint64(c.at.Unix()), c.next, uint64(0), []byte("a job")} {
		_ = binary.Write(&b, binary.BigEndian, v)
	}
	return b.String()
}

func at(t *testing.T, when string, next uint32) savedCopy {
	t.Helper()
	tm, err := time.Parse(time.DateTime, when)
	if err != nil {
		t.Fatal(err)
	}
	return savedCopy{tm.UTC(), next}
}

func TestJobStateSaysWhenItWasSavedAndTheNextNumber(t *testing.T) {
	want := at(t, "2026-11-22 11:58:17", 5)
	data := []byte(jobStateOf(want))
	got, err := jobState(data)
	if err != nil || !got.at.Equal(want.at) || got.next != want.next {
		t.Errorf("%+v, %v", got, err)
	}
	more := skipJobs(data)
	if got, err := jobState(more); err != nil || got.next != 5+skipped || !bytes.Equal(more[len(more)-5:], []byte("a job")) {
		t.Errorf("%+v, %v", got, err)
	}
	if got, _ := jobState(data); got.next != 5 {
		t.Error("the copy itself was changed")
	}
	last := []byte(jobStateOf(savedCopy{want.at, maxJob}))
	if !bytes.Equal(skipJobs(last), last) {
		t.Error("a number beyond Slurm's largest")
	}
	for _, none := range []string{"", "x", strings.Repeat("\x00", 60), "\x00\x00\x00\x11PROTOCOL_VERSION\x00\x2a\x00"} {
		if _, err := jobState([]byte(none)); err == nil {
			t.Errorf("%q is taken for a job_state", none)
		}
	}
}

// As 24.11.5 and 22.05.8 wrote it, after two jobs.
func TestJobStateOfTheRealDaemons(t *testing.T) {
	for version, hexed := range map[string]string{
		"24.11.5": "0000001150524f544f434f4c5f56455253494f4e002a0000000000 6b02dde3 00000003 0000000000000000",
		"22.05.8": "0000001150524f544f434f4c5f56455253494f4e00260000000000 6b02dded 00000003 0000000000000000",
	} {
		data, err := hex.DecodeString(strings.ReplaceAll(hexed, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		got, err := jobState(data)
		if err != nil || got.next != 3 || got.at.UTC().Format("2006-01-02 15") != "2026-11-22 12" {
			t.Errorf("%s: %+v, %v", version, got, err)
		}
	}
}

func FuzzJobState(f *testing.F) {
	f.Add([]byte(jobStateOf(savedCopy{time.Unix(1000, 0), 7})))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := jobState(data)
		if more, err2 := jobState(skipJobs(data)); (err == nil) != (err2 == nil) || more.next < c.next {
			t.Errorf("%+v %v, %+v %v", c, err, more, err2)
		}
	})
}

func TestNamesOfCopies(t *testing.T) {
	c := at(t, "2026-11-22 12:00:05", 42)
	if got, ok := parseCopy(c.name()); !ok || !got.at.Equal(c.at) || got.next != c.next {
		t.Errorf("%s: %+v %v", c.name(), got, ok)
	}
	for _, no := range []string{"", halfCopy, "20261122T120005Z", "20261122T120005Z--1", "20261122T120005Z-042", "x-1"} {
		if _, ok := parseCopy(no); ok {
			t.Errorf("%q is taken for a copy", no)
		}
	}
}

func TestWhichCopiesStay(t *testing.T) {
	begin := at(t, "2026-11-22 12:00:00", 0)
	var copies []savedCopy // every minute for five days, thinned out each time
	for i := range 5 * 24 * 60 {
		copies = append([]savedCopy{{begin.at.Add(time.Duration(i) * time.Minute), uint32(i)}}, copies...)
		for _, c := range outdated(copies) {
			copies = slices.DeleteFunc(copies, func(x savedCopy) bool { return x == c })
		}
		if len(copies) > 9 {
			t.Fatalf("%d copies", len(copies))
		}
	}
	newest := copies[0].at
	for i := range 3 {
		if !copies[i].at.Equal(newest.Add(-time.Duration(i) * time.Minute)) {
			t.Errorf("the newest are %v", copies[:3])
		}
	}
	if oldest := newest.Sub(copies[len(copies)-1].at); oldest < 36*time.Hour || oldest > 5*24*time.Hour {
		t.Errorf("the oldest is of %v before: %v", oldest, copies)
	}
}

func TestKeepCopiesWhatIsNewer(t *testing.T) {
	ctx := context.Background()
	c := site(t)
	dir := c.Slurm.StateSaveLocation
	name := c.SlurmControllers()[1].Hostname
	m := hosttest.New(name).Dir("/var/lib")
	save := func(when savedCopy) {
		m.File(dir+"/job_state", jobStateOf(when), host.Attr{ModTime: when.at}).File(dir+"/node_state", fmt.Sprint(when.next))
	}
	keep := func() {
		t.Helper()
		if err := New().Keep(ctx, m, c); err != nil {
			t.Fatal(err)
		}
	}
	list := func() []savedCopy {
		t.Helper()
		out, err := listCopies(ctx, m)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	keep()
	if got := list(); len(got) != 0 {
		t.Errorf("copies of nothing: %v", got)
	}
	first, second := at(t, "2026-11-22 12:00:00", 1), at(t, "2026-11-22 12:00:10", 2)
	save(first)
	m.Dir(copiesDir).File(copiesDir+"/"+halfCopy+"/job_state", "begun by one that was killed")
	keep()
	before := len(m.Changes())
	keep()
	if len(m.Changes()) != before {
		t.Error("a copy of what has not changed")
	}
	save(second)
	keep()
	if got := list(); len(got) != 2 || !got[0].at.Equal(second.at) {
		t.Errorf("%v", got)
	}
	if data, err := m.ReadFile(ctx, copiesDir+"/"+second.name()+"/node_state"); err != nil || string(data) != "2" {
		t.Errorf("%q, %v", data, err)
	}
	m.File(dir+"/job_state", "")
	keep()
	if got := list(); len(got) != 2 {
		t.Errorf("a copy of an empty file: %v", got)
	}
	if err := New().Keep(ctx, hosttest.New("witness"), c); err != nil {
		t.Error(err)
	}
}
