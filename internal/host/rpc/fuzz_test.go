package rpc

import (
	"bytes"
	"encoding/json"
	"net"
	"testing"

	"multihead/internal/host/hosttest"
)

func FuzzReadHeader(f *testing.F) {
	var ok bytes.Buffer
	if err := writeFrame(&ok, request{Op: opAsk, Argv: []text{"uname", "\xff"}, Size: 3}, []byte("abc")); err != nil {
		f.Fatal(err)
	}
	f.Add(ok.Bytes())
	f.Add([]byte{0, 0, 0, 2, '{', '}'})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		var req request
		if readHeader(r, &req) != nil {
			return
		}
		payload, err := readN(r, req.Size)
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := writeFrame(&again, req, payload); err != nil {
			t.Fatal(err)
		}
		var back request
		if err := readHeader(&again, &back); err != nil {
			t.Fatal(err)
		}
		a, _ := json.Marshal(req)
		b, _ := json.Marshal(back)
		if !bytes.Equal(a, b) {
			t.Fatalf("%s came back as %s", a, b)
		}
	})
}

// FuzzServer says anything to a server that only looks: it must neither fall
// over nor change the machine.
func FuzzServer(f *testing.F) {
	for _, req := range []request{{Op: opWrite, Path: "/etc/f"}, {Op: opAsk, Argv: []text{"uname"}}, {Op: opDial, Network: "unix"}, {Op: opHolder}, {Op: "?"}} {
		var b bytes.Buffer
		if err := writeFrame(&b, req, nil); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m := hosttest.New("far")
		before := len(m.Changes())
		s := &server{h: m, opt: ServerOptions{ReadOnly: true}}
		s.looking, s.stopLooking = t.Context(), func() {}
		s.call(t.Context(), &said{r: bytes.NewReader(data)})
		if len(m.Changes()) != before {
			t.Fatalf("changed: %v", m.Changes())
		}
	})
}

func TestUnknownOperationsCountAsChanges(t *testing.T) {
	for _, op := range []string{opRun, opWrite, opMkdir, opAttr, opRemove, opRename, opSymlink, opLock, opUnlock, "new"} {
		if !changes(op) {
			t.Errorf("%s passes a server that only looks", op)
		}
	}
}

// said is a stream whose caller has said everything and closed.
type said struct {
	net.Conn
	r *bytes.Reader
}

func (s *said) Read(b []byte) (int, error)  { return s.r.Read(b) }
func (s *said) Write(b []byte) (int, error) { return len(b), nil }
func (s *said) Close() error                { return nil }
