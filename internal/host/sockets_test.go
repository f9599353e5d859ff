package host

import (
	"reflect"
	"testing"
)

func TestWhatSsPrintsOfConnectionsIsRead(t *testing.T) {
	text := `ESTAB    0 606  192.0.2.12:39392 192.0.2.11:9797 users:(("multihead",pid=812,fd=11))
SYN-SENT 0 1    192.0.2.12:60172 192.0.2.11:16379 users:(("redis-server",pid=9,fd=1),("redis-server",pid=10,fd=1))
FIN-WAIT-1 0 26 192.0.2.12:51176 192.0.2.11:16379
ESTAB    0 0    [2001:db8::12]:49152 [2001:db8::11]:1021 users:(("glusterfsd",pid=7,fd=3),("a b",pid=8,fd=3))
State Recv-Q Send-Q Local Address:Port Peer Address:Port
short line
`
	want := []Socket{
		{39392, 9797, []string{"multihead"}},
		{60172, 16379, []string{"redis-server"}},
		{51176, 16379, nil},
		{49152, 1021, []string{"glusterfsd", "a b"}},
	}
	if got := parseSockets(text); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}

func FuzzSockets(f *testing.F) {
	f.Add("ESTAB 0 0 192.0.2.12:39392 192.0.2.11:9797 users:((\"multihead\",pid=812,fd=11))")
	f.Add("x 0 0 : :")
	f.Fuzz(func(t *testing.T, text string) {
		for _, s := range parseSockets(text) {
			if s.LocalPort <= 0 || s.PeerPort <= 0 {
				t.Errorf("%+v", s)
			}
		}
	})
}
