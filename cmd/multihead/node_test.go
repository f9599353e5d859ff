package main

import (
	"io"
	"strings"
	"testing"
)

func TestAChangeOfTheFileIsShownWithoutItsSecrets(t *testing.T) {
	const device = "    - {node: server2, agent: fence_apc_snmp, options: {ip: 10.9.0.2, plug: 2, community: CANARY-1, passwd: CANARY-2}}\n"
	const before = "environment:\n  PW: CANARY-3\nfencing:\n  devices:\n    - {node: server1, agent: fence_apc_snmp, options: {ip: 10.9.0.2, plug: 1, community: CANARY-1}}\n"
	for _, tt := range []struct{ name, old, new, want string }{
		{"a device comes", before, before + device, "  +    - {node: server2, agent: fence_apc_snmp, options: {ip: 10.9.0.2, plug: 2, community: \"********\", passwd: \"********\"}}\n"},
		{"a device goes", before + device, before, "  -    - {node: server2, agent: fence_apc_snmp, options: {ip: 10.9.0.2, plug: 2, community: \"********\", passwd: \"********\"}}\n"},
		{"one that cannot be masked", before, before + "x: {password: CANARY-4\n  CANARY-5, b: 1}\n", "its lines are not shown"},
		{"nothing", before, before, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			e := &edited{path: "c.yaml", old: []byte(tt.old), new: []byte(tt.new)}
			e.show(&app{stdout: &out, stderr: io.Discard, lang: "en"})
			if got := out.String(); strings.Contains(got, "CANARY") || !strings.Contains(got, tt.want) || tt.want == "" && got != "" {
				t.Errorf("shown:\n%s", got)
			}
		})
	}
}
