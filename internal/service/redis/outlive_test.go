package redis

import (
	"net/netip"
	"testing"
)

func TestOnlyAWholeCopyStandsForElection(t *testing.T) {
	master := netip.MustParseAddr("192.0.2.11")
	for _, tt := range []struct {
		name, info string
		want       bool
	}{
		{"a replica with its link up", "role:slave\r\nmaster_host:192.0.2.11\r\nmaster_link_status:up\r\nmaster_sync_in_progress:0\r\n", true},
		{"its master is elsewhere", "role:slave\r\nmaster_host:192.0.2.12\r\nmaster_link_status:up\r\nmaster_sync_in_progress:0\r\n", false},
		{"its link was down before", "role:slave\r\nmaster_host:192.0.2.11\r\nmaster_link_status:down\r\nmaster_sync_in_progress:0\r\n", false},
		{"it is being filled", "role:slave\r\nmaster_host:192.0.2.11\r\nmaster_link_status:up\r\nmaster_sync_in_progress:1\r\n", false},
		{"a master", "role:master\r\nconnected_slaves:1\r\n", false},
		{"it says nothing", "", false},
	} {
		if got := standsFor(parseInfo(tt.info), master); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
