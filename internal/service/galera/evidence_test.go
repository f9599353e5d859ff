package galera

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"multihead/internal/config"
	"multihead/internal/service"
)

const (
	uuidA = "aaaaaaaa-0000-11f1-bd3e-327f7ecc9e1e"
	uuidB = "bbbbbbbb-0000-11f1-bd3e-327f7ecc9e1e"
)

// stateOf is a State of a cluster called hpc with these heads.
func stateOf(nodes ...node) *State {
	s := &State{nodes: nodes, nets: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	s.conf.Galera = config.Galera{ClusterName: "hpc", SSTMethod: "mariabackup", SlaveThreads: 4}
	s.conf.SSTUser = "sst_sync"
	return s
}

func head(name string) node {
	last := name[len(name)-1] - '0'
	return node{name: name, addr: netip.AddrFrom4([4]byte{192, 0, 2, 10 + last}), reached: true, at: debian}
}

func blank(name string) node {
	n := head(name)
	n.stands, n.disk = off, disk{data: service.No, why: "no database but the server's own"}
	return n
}

func live(name, uuid string) node {
	n := head(name)
	n.stands = answering
	n.status = status{galera: true, clusterName: "hpc", sync: "Synced", component: "Primary", cluster: uuid, size: 1, committed: 9, ready: true}
	return n
}

func donor(name, uuid string) node {
	n := live(name, uuid)
	n.status.sync, n.status.ready = "Donor/Desynced", true
	return n
}

func joining(name, uuid string) node {
	n := live(name, uuid)
	n.status.sync, n.status.ready = "Joiner", false
	return n
}

func detached(name, uuid string) node {
	n := live(name, uuid)
	n.status.component, n.status.ready, n.status.sync = "non-Primary", false, "Initialized"
	return n
}

// left is a node that runs and has closed its connection to the cluster.
func left(name, uuid string) node {
	n := detached(name, uuid)
	n.status.component = "Disconnected"
	n.disk = disk{data: service.Yes, hasState: true, state: saved{uuid, -1, false}}
	return n
}

func stopped(name, uuid string, seqno int64, safe bool) node {
	n := head(name)
	n.stands = off
	n.disk = disk{data: service.Yes, hasState: true, state: saved{uuid, seqno, safe}, why: "part of cluster " + uuid}
	return n
}

func starts(name string) node {
	n := blank(name)
	n.stands, n.why = starting, "mariadb.service is activating"
	return n
}

func hangs(name string) node {
	n := head(name)
	n.why = "mariadbd takes connections and does not answer"
	return n
}

func lost(name string) node {
	return node{name: name, addr: head(name).addr, at: debian, why: "ssh: timed out"}
}

// alone is a MariaDB that was there before multihead, and runs.
func alone(name string, schemas int) node {
	n := head(name)
	n.stands, n.status = answering, status{schemas: schemas}
	n.disk = disk{data: service.No}
	return n
}

// aloneStopped is one that is stopped.
func aloneStopped(name string) node {
	n := head(name)
	n.stands, n.disk = off, disk{data: service.Yes, why: "databases slurm_acct_db"}
	return n
}

func TestDecide(t *testing.T) {
	formed := service.Intent{Mode: service.Bootstrap}
	tests := []struct {
		name    string
		nodes   []node
		intent  service.Intent
		want    service.Verdict
		first   string
		joiners string
		skipped string
		refused string // a piece of the reason
	}{
		{name: "bare hosts", nodes: []node{blank("s1"), blank("s2"), blank("s3")}, want: service.Form, first: "s1", joiners: "s2,s3"},
		{name: "MariaDB runs empty on one, as a package starts it", nodes: []node{blank("s1"), alone("s2", 0)}, want: service.Form, first: "s1", joiners: "s2"},
		{name: "one lives, others are bare", nodes: []node{blank("s1"), live("s2", uuidA), blank("s3")}, want: service.Joins, joiners: "s1,s3"},
		{name: "a donor lives", nodes: []node{donor("s1", uuidA), blank("s2")}, want: service.Joins, joiners: "s2"},
		{name: "a joiner is a member", nodes: []node{live("s1", uuidA), joining("s2", uuidA)}, want: service.Joins},
		{name: "one is starting while others live", nodes: []node{live("s1", uuidA), starts("s2")}, want: service.Joins, joiners: "s2"},
		{name: "one is starting and nobody lives: it may be forming", nodes: []node{starts("s1"), blank("s2")}, refused: "what s1 holds is not known"},
		{name: "one crashed while others live", nodes: []node{live("s1", uuidA), stopped("s2", uuidA, -1, false)}, want: service.Joins, joiners: "s2"},
		{name: "one left in order while others live", nodes: []node{live("s1", uuidA), stopped("s2", uuidA, 9, false)}, want: service.Joins, joiners: "s2"},
		{name: "one is ahead of the cluster that was started without it", nodes: []node{live("s1", uuidA), donor("s2", uuidA), stopped("s3", uuidA, 10, true)},
			refused: "s3 holds data of this cluster that goes further (10)"},
		{name: "ahead of one that is still receiving data, whose donor is out of reach", nodes: []node{lost("s1"), joining("s2", uuidA), stopped("s3", uuidA, 10, false)},
			want: service.Joins, joiners: "s3", skipped: "s1"},
		{name: "one was cut off and others have quorum", nodes: []node{live("s1", uuidA), live("s2", uuidA), detached("s3", uuidA)}, want: service.Joins, skipped: "s3"},
		{name: "one left the cluster and runs on", nodes: []node{live("s1", uuidA), left("s2", uuidA)}, want: service.Joins, joiners: "s2"},
		{name: "one left another cluster and runs on", nodes: []node{live("s1", uuidA), left("s2", uuidB)}, refused: "s2 holds data of another cluster"},
		{name: "all left and run on", nodes: []node{left("s1", uuidA), left("s2", uuidA)}, refused: "without quorum"},
		{name: "all without quorum", nodes: []node{detached("s1", uuidA), detached("s2", uuidA)}, refused: "without quorum (non-Primary)"},
		{name: "one without quorum, the others stopped", nodes: []node{detached("s1", uuidA), stopped("s2", uuidA, 4, false)}, refused: "without quorum"},
		{name: "one without quorum, told to bootstrap with the name typed", nodes: []node{detached("s1", uuidA), lost("s2")},
			intent: service.Intent{Mode: service.Bootstrap, Confirmed: true}, refused: "without quorum"},
		{name: "two primaries", nodes: []node{live("s1", uuidA), live("s2", uuidB)}, refused: "two clusters live"},
		{name: "a joiner has data of another cluster", nodes: []node{live("s1", uuidA), stopped("s2", uuidB, 3, true)}, refused: "s2 holds data of another cluster"},
		{name: "a joiner has a MariaDB of its own with data", nodes: []node{live("s1", uuidA), alone("s2", 1)}, refused: "s2 holds data of another cluster (the server on s2"},
		{name: "a head hangs", nodes: []node{blank("s1"), hangs("s2")}, refused: "s2: mariadbd takes connections and does not answer"},
		{name: "a head is lost", nodes: []node{blank("s1"), lost("s2")}, refused: "what s2 holds is not known"},
		{name: "a head is lost, told to bootstrap", nodes: []node{blank("s1"), lost("s2")}, intent: formed, refused: "what s2 holds is not known"},
		{name: "stopped in order: the last to stop begins", nodes: []node{stopped("s1", uuidA, 9, false), stopped("s2", uuidA, 9, true), stopped("s3", uuidA, 9, false)},
			want: service.Resume, first: "s2", joiners: "s1,s3"},
		{name: "stopped in order: the furthest begins, whatever its flag", nodes: []node{stopped("s1", uuidA, 8, true), stopped("s2", uuidA, 9, false)},
			want: service.Resume, first: "s2", joiners: "s1"},
		{name: "stopped in order, and one is new", nodes: []node{stopped("s1", uuidA, 9, true), blank("s2")}, want: service.Resume, first: "s1", joiners: "s2"},
		{name: "all lost their power", nodes: []node{stopped("s1", uuidA, -1, false), stopped("s2", uuidA, -1, false)}, refused: "was not stopped in order"},
		{name: "all stopped, one lost its power", nodes: []node{stopped("s1", uuidA, 9, true), stopped("s2", uuidA, -1, false)}, refused: "s2 holds data and was not stopped in order"},
		{name: "all stopped, one is lost", nodes: []node{stopped("s1", uuidA, 9, true), lost("s2")}, refused: "what s2 holds is not known"},
		{name: "stopped, of two clusters", nodes: []node{stopped("s1", uuidA, 9, true), stopped("s2", uuidB, 3, true)}, refused: "different clusters"},
		{name: "a site with one head and accounting grows", nodes: []node{alone("s1", 1), blank("s2"), blank("s3")}, want: service.Resume, first: "s1", joiners: "s2,s3"},
		{name: "the head with the data is not the first of the file", nodes: []node{blank("s1"), alone("s2", 2)}, want: service.Resume, first: "s2", joiners: "s1"},
		{name: "its MariaDB is stopped", nodes: []node{aloneStopped("s1"), blank("s2")}, want: service.Resume, first: "s1", joiners: "s2"},
		{name: "it grows, told to bootstrap", nodes: []node{alone("s1", 1), blank("s2")}, intent: formed, want: service.Resume, first: "s1", joiners: "s2"},
		{name: "two heads with a MariaDB of their own", nodes: []node{alone("s1", 1), aloneStopped("s2")}, refused: "different clusters"},
		{name: "a MariaDB of its own beside a stopped cluster", nodes: []node{alone("s1", 1), stopped("s2", uuidA, 9, true)}, refused: "different clusters"},
		{name: "one head with data, another not known", nodes: []node{alone("s1", 1), lost("s2")}, refused: "what s2 holds is not known"},
		{name: "told to bootstrap beside a live one", nodes: []node{live("s1", uuidA), blank("s2")}, intent: formed, refused: "would make a second cluster"},
		{name: "told to join and nobody lives", nodes: []node{blank("s1"), blank("s2")}, intent: service.Intent{Mode: service.Join}, refused: "no head is part of a live cluster"},
		{name: "one missed that the cluster began anew", nodes: []node{live("s1", successor(uuidA, 20, "")), stopped("s2", uuidA, 25, false)}, want: service.Joins, joiners: "s2"},
		{name: "one missed that the cluster began anew, and nobody knows how far it goes", nodes: []node{live("s1", successor(uuidA, 20, "")), stopped("s2", uuidA, -1, false)},
			want: service.Joins, joiners: "s2"},
		{name: "one missed that the cluster began anew, and all were stopped since", nodes: []node{stopped("s1", successor(uuidA, 20, ""), 22, true), stopped("s2", uuidA, 25, false)},
			want: service.Resume, first: "s1", joiners: "s2"},
		{name: "it goes by another name", nodes: []node{func() node { n := live("s1", uuidA); n.status.clusterName = "old"; return n }(), blank("s2")}, refused: `is called "old"`},
		{name: "a server that left a cluster and went on alone", nodes: []node{live("s1", uuidA), func() node {
			n := alone("s2", 0)
			n.disk = disk{data: service.Yes, state: saved{uuidA, 5, false}, why: "part of cluster " + uuidA}
			return n
		}()}, refused: "the server on s2"},
		{name: "a server on its own whose disk cannot be read", nodes: []node{func() node { n := alone("s1", 0); n.disk = disk{why: "EIO"}; return n }(), blank("s2")}, refused: "what s1 holds is not known"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, err := stateOf(tt.nodes...).decide(tt.intent)
			checkDecision(t, d, err, tt.joiners, tt.skipped, tt.refused)
			if tt.refused == "" && (d.Verdict != tt.want || d.First != tt.first) {
				t.Errorf("got %+v", d)
			}
		})
	}
}

func checkDecision(t *testing.T, d service.Decision, err error, joiners, skipped, refused string) {
	t.Helper()
	if refused != "" {
		var r *service.Refusal
		if !errors.As(err, &r) || !strings.Contains(r.Reason, refused) || r.Remedy == "" {
			t.Fatalf("got %+v, %v; want a refusal with %q", d, err, refused)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if strings.Join(d.Joiners, ",") != joiners || strings.Join(d.Skipped, ",") != skipped {
		t.Errorf("got %+v", d)
	}
}
