package galera

import (
	"errors"
	"strings"
	"testing"

	"multihead/internal/host/hosttest"
	"multihead/internal/service"
)

// packaged is a data directory as the package makes it.
func packaged(m *hosttest.Machine) *hosttest.Machine {
	return m.Dir("/var/lib/mysql/mysql", "/var/lib/mysql/performance_schema", "/var/lib/mysql/sys").
		File("/var/lib/mysql/ibdata1", "x").File("/var/lib/mysql/debian-11.8.flag", "").
		File("/var/lib/mysql/mysql/global_priv.MAD", "x")
}

func state(uuid, seqno, safe string) string {
	return "uuid: " + uuid + "\nseqno: " + seqno + "\nsafe_to_bootstrap: " + safe + "\n"
}

func TestLookDisk(t *testing.T) {
	tests := []struct {
		name string
		make func(m *hosttest.Machine)
		want service.Answer
		why  string
	}{
		{"the package is not there", func(*hosttest.Machine) {}, service.No, "is not there"},
		{"as the package makes it", func(m *hosttest.Machine) { packaged(m) }, service.No, "no database"},
		{"an empty database test, as other distributions make it", func(m *hosttest.Machine) {
			packaged(m).File("/var/lib/mysql/test/db.opt", "x")
		}, service.No, "no database"},
		{"a table in the database test", func(m *hosttest.Machine) {
			packaged(m).File("/var/lib/mysql/test/t.frm", "x")
		}, service.Yes, "databases test"},
		{"a server on its own with accounting", func(m *hosttest.Machine) {
			packaged(m).File("/var/lib/mysql/slurm_acct_db/assoc.ibd", "x")
		}, service.Yes, "databases slurm_acct_db"},
		{"an empty database of somebody's", func(m *hosttest.Machine) {
			packaged(m).Dir("/var/lib/mysql/portal")
		}, service.Yes, "databases portal"},
		{"part of a cluster", func(m *hosttest.Machine) {
			packaged(m).File("/var/lib/mysql/grastate.dat", state(someUUID, "7", "0"))
		}, service.Yes, "part of cluster " + someUUID},
		{"started once and never let in", func(m *hosttest.Machine) {
			packaged(m).File("/var/lib/mysql/grastate.dat", state(noUUID, "-1", "0"))
		}, service.No, "no database"},
		{"switched off in the middle of a state transfer", func(m *hosttest.Machine) {
			m.Dir("/var/lib/mysql/.sst", "/var/lib/mysql/slurm_acct_db").File("/var/lib/mysql/sst_in_progress", "").
				File("/var/lib/mysql/grastate.dat", state(noUUID, "-1", "0"))
		}, service.No, "cut off"},
		{"killed after a state transfer, before it was written down", func(m *hosttest.Machine) {
			packaged(m).Dir("/var/lib/mysql/slurm_acct_db").File("/var/lib/mysql/grastate.dat", state(noUUID, "-1", "0")).
				File("/var/lib/mysql/mariadb_backup_galera_info_SST", "x")
		}, service.No, "cut off"},
		{"a server of its own that was once restored from a backup", func(m *hosttest.Machine) {
			packaged(m).Dir("/var/lib/mysql/slurm_acct_db").File("/var/lib/mysql/xtrabackup_galera_info", "x")
		}, service.Yes, "databases slurm_acct_db"},
		{"grastate.dat is torn", func(m *hosttest.Machine) {
			packaged(m).File("/var/lib/mysql/grastate.dat", "uuid: 9af")
		}, service.Unsure, "uuid"},
		{"the disk does not answer", func(m *hosttest.Machine) {
			packaged(m).Down(errors.New("input/output error"))
		}, service.Unsure, "input/output error"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := hosttest.New("s1")
			tt.make(m)
			d := lookDisk(t.Context(), m, "/var/lib/mysql")
			if d.data != tt.want || !strings.Contains(d.why, tt.why) {
				t.Errorf("got %s (%s), want %s (%s)", d.data, d.why, tt.want, tt.why)
			}
		})
	}
}
