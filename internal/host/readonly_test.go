package host

import (
	"regexp"
	"strings"
	"testing"
)

func TestReadOnlyPatternsCompile(t *testing.T) {
	for _, pattern := range readOnly {
		for word := range strings.FieldsSeq(pattern) {
			if expr, ok := strings.CutPrefix(word, "~"); ok {
				if _, err := regexp.Compile("^(?:" + expr + ")$"); err != nil {
					t.Errorf("%s: %v", pattern, err)
				}
			}
			if strings.HasPrefix(word, "(") != strings.HasSuffix(word, ")*") {
				t.Errorf("%s: a group needs both ends", pattern)
			}
		}
	}
}

func TestReadOnly(t *testing.T) {
	for _, c := range []struct {
		cmd  string
		want bool
	}{
		{"systemctl show -p ActiveState redis", true},
		{"systemctl is-active redis", true},
		{"/usr/bin/systemctl is-active redis", true},
		{"/tmp/systemctl is-active redis", false},
		{"systemctl start redis", false},
		{"systemctl", false},
		{"systemctl --now enable redis", false},
		{"gluster --mode=script --xml peer status", true},
		{"gluster --mode=script --xml peer probe h2", false},
		{"gluster --xml volume heal gv0 info summary", true},
		{"gluster volume heal gv0 info", true},
		{"gluster volume heal gv0 full", false},
		{"gluster volume heal gv0", false},
		{"gluster volume set gv0 a b", false},
		{"gluster volume get gv0 all", true},
		{"gluster volume rebalance gv0 status", true},
		{"gluster volume rebalance gv0 start", false},
		{"gluster volume remove-brick gv0 replica 2 h:/b status", true},
		{"gluster volume remove-brick gv0 replica 2 h:/b commit", false},
		{"scontrol ping", true},
		{"scontrol --json show nodes", true},
		{"scontrol reconfigure", false},
		{"scontrol update nodename=a state=drain", false},
		{"sacctmgr -nP show cluster format=cluster", true},
		{"sacctmgr -i add cluster x", false},
		{"ip -j addr", true},
		{"ip -j -4 addr show dev eth0", true},
		{"ip addr add 192.0.2.1/24 dev eth0", false},
		{"ip link set eth0 down", false},
		{"ip route get 192.0.2.1", true},
		{"ss -tlnpH", true},
		{"ss -tKl", false},
		{"ss -t -l -n", true},
		{"ss --kill", false},
		{"journalctl -u redis", false},
		{"journalctl -b --no-pager --lines=1 --output=json --output-fields=MESSAGE_ID UNIT=x.service MESSAGE_ID=39f53479d3a045ac8e11786248231fbf", true},
		{"journalctl --unit=redis --lines=20 --no-pager", true},
		{"journalctl --vacuum-size=1M", false},
		{"date +%s", true},
		{"date -s now", false},
		{"hostnamectl", true},
		{"hostnamectl set-hostname x", false},
		{"hostname -f", true},
		{"hostname other", false},
		{"timedatectl show", true},
		{"timedatectl set-ntp true", false},
		{"sysctl -n kernel.pid_max", true},
		{"sysctl -n kernel.pid_max=5", false},
		{"sysctl -w kernel.pid_max=5", false},
		{"munge -n", true},
		{"munge -n -o /etc/x", false},
		{"unmunge", true},
		{"dpkg-query -W -f=${Status} redis", true},
		{"dpkg --configure -a", false},
		{"apt-cache policy redis", true},
		{"apt-get install redis", false},
		{"nft list ruleset", true},
		{"nft flush ruleset", false},
		{"chronyc -n sources", true},
		{"chronyc makestep", false},
		{"haproxy -c -f /etc/haproxy/haproxy.cfg", true},
		{"haproxy -f /etc/haproxy/haproxy.cfg", false},
		{"sh -c true", false},
		{"rm -rf /", false},
		{"", false},
	} {
		if got := ReadOnly(strings.Fields(c.cmd)); got != c.want {
			t.Errorf("ReadOnly(%q) = %v", c.cmd, got)
		}
	}
}

func FuzzReadOnly(f *testing.F) {
	f.Add("gluster --xml volume heal gv0 info")
	f.Add("ip -j addr show")
	f.Fuzz(func(t *testing.T, s string) {
		argv := strings.Fields(s)
		if ReadOnly(argv) && len(argv) > 0 && (argv[0] == "sh" || argv[0] == "rm") {
			t.Fatal(s)
		}
	})
}
