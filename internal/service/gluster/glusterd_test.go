package gluster

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"reflect"
	"strings"
	"testing"

	"multihead/internal/host/hosttest"
)

// record is an answer without its mark.
func record(t testing.TB, file string) []byte {
	t.Helper()
	msg, err := readRecord(strings.NewReader(read(t, file)))
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

// The files are what a glusterd 11.1 sent.
func TestFriends(t *testing.T) {
	got, err := parseFriends(record(t, "peers-one-down.rpc"))
	want := []friend{
		{"192.0.2.12", []string{"192.0.2.12"}, "14e2441e-630a-4f44-9b15-68c50f95c3bb", true, peerInCluster, "Peer in Cluster"},
		{"192.0.2.13", []string{"192.0.2.13"}, "3fe73e26-caf7-4a45-b5b4-8270287cfdc0", false, peerInCluster, "Peer in Cluster"},
	}
	if err != nil || len(got) != 2 {
		t.Fatalf("%+v %v", got, err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	if got, err := parseFriends(record(t, "peers-none.rpc")); err != nil || len(got) != 0 {
		t.Errorf("a head without peers: %+v %v", got, err)
	}
}

// daemonThat is glusterd's socket, which does that once it was asked.
func daemonThat(answers func(net.Conn)) func(context.Context) (net.Conn, error) {
	return func(context.Context) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			var mark [4]byte
			_, _ = io.ReadFull(theirs, mark[:])
			_, _ = io.CopyN(io.Discard, theirs, int64(binary.BigEndian.Uint32(mark[:])&^lastFragment))
			answers(theirs)
		}()
		return ours, nil
	}
}

func TestFriendsOfADaemonThat(t *testing.T) {
	tests := []struct {
		name   string
		answer func(net.Conn)
		wrong  string
	}{
		{"answers", func(c net.Conn) { _, _ = io.WriteString(c, read(t, "peers-one-down.rpc")) }, ""},
		{"hangs", func(net.Conn) {}, "deadline"},
		{"closes", func(c net.Conn) { _ = c.Close() }, "EOF"},
		{"sends a part", func(c net.Conn) {
			_, _ = io.WriteString(c, read(t, "peers-one-down.rpc")[:100])
			_ = c.Close()
		}, "EOF"},
		{"says something else", func(c net.Conn) { _, _ = io.WriteString(c, "\x80\x00\x00\x04what") }, "no sense"},
		{"floods", func(c net.Conn) { _, _ = io.WriteString(c, "\xff\xff\xff\xff") }, "bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := hosttest.New("s1")
			m.OnDial("unix", daemonSocket, daemonThat(tt.answer))
			ctx := t.Context()
			if tt.wrong == "deadline" {
				var cancel func()
				ctx, cancel = context.WithTimeout(ctx, 1)
				defer cancel()
			}
			_, err := friends(ctx, m)
			if (err == nil) != (tt.wrong == "") || err != nil && !strings.Contains(err.Error(), tt.wrong) {
				t.Errorf("%v, want one with %q", err, tt.wrong)
			}
		})
	}
}

func FuzzFriends(f *testing.F) {
	f.Add(record(f, "peers-one-down.rpc"))
	f.Add(record(f, "peers-none.rpc"))
	f.Fuzz(func(t *testing.T, msg []byte) {
		got, err := parseFriends(msg)
		if err == nil && len(got) > len(msg) {
			t.Errorf("%d peers out of %d bytes", len(got), len(msg))
		}
		var said *cliError
		if err != nil && !errors.Is(err, errAnswer) && !errors.As(err, &said) && !bytes.Contains([]byte(err.Error()), []byte("refuses")) {
			t.Error(err)
		}
	})
}
