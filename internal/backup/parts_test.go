package backup

import (
	"context"
	endian "encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/host/hosttest"
	"multihead/internal/service"
)

// jobState is a job_state as slurmctld begins it.
func jobState(last uint32) []byte {
	const word = "PROTOCOL_VERSION\x00"
	b := endian.BigEndian.AppendUint32(nil, uint32(len(word)))
	b = append(b, word...)
	b = append(b, 0x26, 0x00)                           // protocol
	b = endian.BigEndian.AppendUint64(b, 1_760_000_000) // time
	b = endian.BigEndian.AppendUint32(b, last)
	return append(b, "jobs"...)
}

func TestJobNumbersGoOn(t *testing.T) {
	for _, tt := range []struct {
		had, least, want uint32
	}{{7, 0, 7}, {7, 7, 7}, {7, 4711, 4711}} {
		file := filepath.Join(t.TempDir(), "job_state")
		if err := os.WriteFile(file, jobState(tt.had), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := raiseJobID(file, tt.least)
		if err != nil || got != tt.want {
			t.Errorf("%d, at least %d: %d %v", tt.had, tt.least, got, err)
		}
		data, err := os.ReadFile(file)
		if err != nil || string(data) != string(jobState(tt.want)) {
			t.Errorf("%d, at least %d: %q %v", tt.had, tt.least, data, err)
		}
	}
	file := filepath.Join(t.TempDir(), "job_state")
	if _, err := raiseJobID(file, 0); err != nil {
		t.Errorf("no job was ever there: %v", err)
	}
	if _, err := raiseJobID(file, 3); err == nil {
		t.Error("jobs are missing, and nobody notices")
	}
	if err := os.WriteFile(file, []byte("something else that is long enough to be read"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := raiseJobID(file, 3); err == nil {
		t.Error("what is no job_state is written into")
	}
}

func FuzzJobSequence(f *testing.F) {
	f.Add(jobState(7))
	f.Add(jobState(7)[:30])
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, at, err := jobSequence(data); err == nil && at+4 > len(data) {
			t.Errorf("it stands at %d of %d", at, len(data))
		}
	})
}

// files writes a tree, and read tells what is in one.
func files(t *testing.T, root string, tree map[string]string) {
	t.Helper()
	for p, text := range tree {
		p = filepath.Join(root, p)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func read(t *testing.T, root string) string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(root, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(p)
		rel, _ := filepath.Rel(root, p)
		out = append(out, rel+"="+string(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func slurmJob(t *testing.T) (Worker, Job) {
	t.Helper()
	dir := t.TempDir()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	j := Job{Owner: me.Username, Root: filepath.Join(dir, "backup"), Stamp: "20260103_020000", State: filepath.Join(dir, "volume/state"), SlurmCluster: "hpc"}
	files(t, j.State, map[string]string{stateMarker: "here", "clustername": "hpc|7", "job_state": string(jobState(20)), "heartbeat": "now", "hash.1/job.11/script": "new"})
	files(t, Layout{j.Root}.Restoring(), map[string]string{"slurm/state/clustername": "hpc|7", "slurm/state/job_state": string(jobState(10)),
		"slurm/state/heartbeat": "then", "slurm/state/.multihead-yield": "x", "slurm/state/hash.1/job.9/script": "old"})
	return Worker{Clock: time.Now}, j
}

func TestSlurmsStateIsSwappedAndComesBack(t *testing.T) {
	w, j := slurmJob(t)
	before := read(t, filepath.Dir(j.State))
	r, err := w.slurmSwap(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	if want := broughtMark(j.Stamp) + "= .multihead-state=here clustername=hpc|7 hash.1/job.9/script=old job_state=" + string(jobState(20)); read(t, j.State) != want {
		t.Errorf("%q, want %q", read(t, j.State), want)
	}
	if r.NextJob != 20 || fmt.Sprint(r.Names) != "["+keptState(j.State, j.Stamp)+"]" {
		t.Errorf("%+v", r)
	}
	for range 2 { // undone twice is undone
		if _, err := w.slurmUnswap(t.Context(), j); err != nil {
			t.Fatal(err)
		}
		if got := read(t, filepath.Dir(j.State)); got != before {
			t.Errorf("%q, want %q", got, before)
		}
	}
}

func TestAStateIsSwappedOnlyWhereItBelongs(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, j *Job){
		"another cluster's": func(_ *testing.T, j *Job) { j.SlurmCluster = "other" },
		"the volume is not mounted": func(t *testing.T, j *Job) {
			if err := os.Remove(filepath.Join(j.State, stateMarker)); err != nil {
				t.Fatal(err)
			}
		},
		"no stamp": func(_ *testing.T, j *Job) { j.Stamp = "../x" },
		"jobs that cannot be read": func(t *testing.T, j *Job) {
			files(t, Layout{j.Root}.Restoring(), map[string]string{"slurm/state/job_state": "damaged"})
		},
	} {
		w, j := slurmJob(t)
		spoil(t, &j)
		before := read(t, filepath.Dir(j.State))
		if _, err := w.slurmSwap(t.Context(), j); err == nil {
			t.Errorf("%s: swapped", name)
		}
		if got := read(t, filepath.Dir(j.State)); got != before {
			t.Errorf("%s: %q, want %q", name, got, before)
		}
	}
}

func TestTheVolumesFilesAreSwappedAndComeBack(t *testing.T) {
	dir := t.TempDir()
	live, fresh, kept, book := dir+"/live", dir+"/live/.multihead-restoring-1/mnt", dir+"/live/.multihead-kept-1", dir+"/book"
	files(t, live, map[string]string{"a": "new", "later": "x", "up/f": "new", "slurm/state/job_state": "runs", "slurm/state.multihead-1/x": "kept", "slurm/log": "new",
		".multihead-volume": "mark", ".trashcan/x": "t"})
	files(t, fresh, map[string]string{"a": "old", "gone": "g", "up/f": "old", "up/g": "old", "slurm/log": "old", ".multihead-volume": "other"})
	before := read(t, live)
	if err := swapFiles(fresh, live, kept, "slurm/state", book); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"a=old", "gone=g", "up/f=old", "up/g=old", "slurm/log=old", "slurm/state/job_state=runs", "slurm/state.multihead-1/x=kept",
		".multihead-volume=mark", ".trashcan/x=t", ".multihead-kept-1/a=new", ".multihead-kept-1/later=x", ".multihead-kept-1/up/f=new", ".multihead-kept-1/slurm/log=new"} {
		if !slices.Contains(strings.Fields(read(t, live)), want) {
			t.Errorf("%s is not so: %s", want, read(t, live))
		}
	}
	for range 2 {
		if err := unswapFiles(kept, book); err != nil {
			t.Fatal(err)
		}
		if got := read(t, live); got != before {
			t.Errorf("%s\nwant %s", got, before)
		}
	}
}

func TestASwapThatWasCutOffComesBack(t *testing.T) {
	dir := t.TempDir()
	live, kept, book := dir+"/live", dir+"/live/.multihead-kept-1", dir+"/book"
	files(t, live, map[string]string{"a": "1", "b": "2"})
	before := read(t, live)
	list, err := swapMoves(dir+"/nothing", live, kept, "")
	if err != nil || len(list) != 2 {
		t.Fatal(list, err)
	}
	f, err := os.Create(book)
	if err != nil {
		t.Fatal(err)
	}
	if err := carry(f, list[0]); err != nil {
		t.Fatal(err)
	}
	// Written down, and not done; then cut off while it was written.
	if _, err := fmt.Fprintf(f, `{"from":%q,"to":%q}`+"\n"+`{"from":"/x`, list[1].From, list[1].To); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := unswapFiles(kept, book); err != nil {
		t.Fatal(err)
	}
	if got := read(t, live); got != before {
		t.Errorf("%s, want %s", got, before)
	}
}

func TestAccountsOfADumpAreMadeOnAMemberOfACluster(t *testing.T) {
	const dump = "SET x;\nCREATE USER IF NOT EXISTS `root`@`localhost` IDENTIFIED VIA unix_socket;\nCREATE USER IF NOT EXISTS `a`@`%` IDENTIFIED BY PASSWORD '*AB';\n" +
		"SELECT COALESCE(CURRENT_ROLE(),'NONE') into @current_role;\nCREATE ROLE IF NOT EXISTS mariadb_dump_import_role;\nGRANT mariadb_dump_import_role TO CURRENT_USER();\nSET ROLE mariadb_dump_import_role;\n" +
		"/*M!100005 CREATE ROLE IF NOT EXISTS 'staff' WITH ADMIN mariadb_dump_import_role */;\n/*M!100005 GRANT 'staff' TO 'root'@'localhost' WITH ADMIN OPTION */;\nGRANT `staff` TO `a`@`%`;\n" +
		"GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` IDENTIFIED VIA unix_socket WITH GRANT OPTION;\nGRANT PROXY ON ''@'%' TO 'root'@'localhost' WITH GRANT OPTION;\n" +
		"GRANT USAGE ON *.* TO `a`@`%` IDENTIFIED BY PASSWORD '*AB' REQUIRE SSL;\nGRANT SELECT ON `d`.* TO `a`@`%`;\n" +
		"GRANT USAGE ON *.* TO `b`@`%` IDENTIFIED VIA mysql_native_password USING '*CD' OR unix_socket WITH GRANT OPTION;\n" +
		"/*M!100005 SET DEFAULT ROLE NONE FOR 'a'@'%' */;\nSET ROLE NONE;\nDROP ROLE mariadb_dump_import_role;\n/*M!100203 EXECUTE IMMEDIATE CONCAT('SET ROLE ', @current_role) */;\n"
	const made = "SET x;\nCREATE USER IF NOT EXISTS `a`@`%` IDENTIFIED BY PASSWORD '*AB';\n/*M!100005 CREATE ROLE IF NOT EXISTS 'staff' WITH ADMIN 'root'@'localhost' */;\n"
	const rights = "GRANT `staff` TO `a`@`%`;\nGRANT USAGE ON *.* TO `a`@`%` REQUIRE SSL;\nGRANT SELECT ON `d`.* TO `a`@`%`;\n" +
		"GRANT USAGE ON *.* TO `b`@`%` WITH GRANT OPTION;\n/*M!100005 SET DEFAULT ROLE NONE FOR 'a'@'%' */;\n"
	m, r := siteAccounts([]byte(dump))
	if m != made || strings.Join(r, "") != rights {
		t.Errorf("%s\nand\n%s\nwant %s\nand\n%s", m, r, made, rights)
	}
}

func TestAccountsThatCameAreDropped(t *testing.T) {
	got := dropAccounts([]string{"'root'@'localhost'", "'a'@'%'"}, []string{"'a'@'%'", "'b'@'10.%'", "'role'", "'root'@'localhost'"})
	if want := "DROP USER IF EXISTS 'b'@'10.%';\nDROP ROLE IF EXISTS 'role';\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// whole is a restore of a snapshot that has everything, on a cluster of three.
func whole(only string) Restore {
	r := restoreOf("a", "slurm_acct_db")
	c := r.Cluster
	c.Info.ClusterName = "hpc-1"
	c.SharedStorage.Type, c.SharedStorage.GlusterFS.MountPoint = config.StorageGlusterFS, "/mnt/g"
	c.Slurm.StateSaveLocation = "/mnt/g/slurm/state"
	c.Slurm.MultiMaster.Enabled = true
	c.Slurm.Accounting.StorageLoc = "slurm_acct_db"
	c.Database.Enabled, c.Redis.Enabled = true, true
	c.Database.MariaDB.Databases = []config.DatabaseSpec{{Name: "slurm_acct_db", User: "slurm"}}
	for i, n := range []string{"s1", "s2", "s3"} {
		h := config.Controller{Priority: 100 - i}
		h.Hostname = n
		h.Services = config.Services{Slurm: true, MariaDB: true, Redis: true, GlusterFS: true}
		c.Nodes.Controllers = append(c.Nodes.Controllers, h)
	}
	r.Only, r.Slurmdbd, r.InCharge = only, []string{"s1", "s2"}, "s2"
	m := &r.Snapshot.Metadata
	m.Databases = append(m.Databases, Database{Name: "slurm_acct_db", Rows: "databases/s.sql", Objects: "databases/s.o"})
	m.Redis, m.Mount, m.Staging = []Keyspace{{}}, "/mnt/g", "/data/b/staging"
	m.Files = []File{{Path: "slurm/state/job_state"}, {Path: "configs/s1/etc/x"}}
	m.Software["slurm"] = "24.11.5"
	return r
}

func TestEveryPartIsBroughtBackInOrder(t *testing.T) {
	for only, want := range map[string]string{
		OnlySlurm: "extract@s2 ctld.stop@s1 ctld.stop@s3 ctld.stop@s2 slurm@s2 state.seen@s1 state.seen@s2 state.seen@s3 ctld.start@s1 ctld.serves@s1 ctld.start@s2 ctld.serves@s2 ctld.start@s3 ctld.serves@s3 tidy@s2",
		OnlyRedis: "extract@s2 redis.keep@s2 redis@s2 tidy@s2",
		// Nothing of what was collected is needed.
		OnlyVolume: "load.volume@s2 volume@s2",
		All: "extract@s2 load.a@s2 load.b@s2 load.slurm_acct_db@s2 load.volume@s2 redis.keep@s2 ctld.stop@s1 ctld.stop@s3 ctld.stop@s2 dbd.stop@s1 dbd.stop@s2 " +
			"swap.a@s2 swap.b@s2 swap.slurm_acct_db@s2 accounts@s2 redis@s2 slurm@s2 volume@s2 " +
			"dbd.start@s1 dbd.start@s2 state.seen@s1 state.seen@s2 state.seen@s3 ctld.start@s1 ctld.serves@s1 ctld.start@s2 ctld.serves@s2 ctld.start@s3 ctld.serves@s3 check@s1 check@s2 tidy@s2",
	} {
		if got := strings.ReplaceAll(stepIDs(t, whole(only)), "restore.", ""); got != want {
			t.Errorf("%s: %s\nwant %s", only, got, want)
		}
		if len(whole(only).Replaces()) == 0 {
			t.Errorf("%s replaces nothing that it says", only)
		}
	}
}

func TestWhatIsNotInASnapshotOrNotKnownIsRefused(t *testing.T) {
	for name, change := range map[string]func() Restore{
		"nothing of Slurm":                 func() Restore { r := whole(OnlySlurm); r.Snapshot.Files = nil; return r },
		"nothing of the volume":            func() Restore { r := whole(OnlyVolume); r.Snapshot.Mount = ""; return r },
		"nothing of the configuration":     func() Restore { r := whole(OnlyConfigs); r.Snapshot.Files = nil; return r },
		"made by a newer Slurm":            func() Restore { r := whole(OnlySlurm); r.Running = map[string]string{"slurm": "22.05.8"}; return r },
		"a controller that may still run":  func() Restore { r := whole(OnlySlurm); r.Silent = []string{"s3"}; return r },
		"the same, with all of the others": func() Restore { r := whole(All); r.Silent = []string{"s3"}; return r },
	} {
		var refusal *service.Refusal
		if _, err := change().Plan(); !errors.As(err, &refusal) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestConfigurationOfTheSiteComesBackAndNoOther(t *testing.T) {
	attrs := `{"/etc/nginx/own.conf":{"mode":416,"owner":"root","group":"www-data"},"/etc/nginx/on/same":{"link":"../own.conf"},
		"/etc/nginx/on/site":{"link":"../own.conf"},"/etc/nginx/on/gone":{"link":"../no.conf"}}`
	list, err := configFiles(map[string][]byte{
		"configs/s1/etc/nginx/own.conf": []byte("then"), "configs/s1/etc/chrony/same": []byte("same"), "configs/s1/etc/slurm/gone.lua": []byte("lua"),
		"configs/s1/etc/hosts": []byte("x"), "configs/s1/etc/munge/munge.key": []byte("k"), "configs/s1/etc/slurm/slurm.conf": []byte("# Managed by multihead\nx"),
		"configs/s1/etc/keepalived/k": []byte("site"), "configs/s1" + attributesSuffix: []byte(attrs), "configs/off/etc/nginx/own.conf": []byte("then"), "slurm/state/x": nil})
	if err != nil {
		t.Fatal(err)
	}
	m := hosttest.New("s1").File("/etc/nginx/own.conf", "now").File("/etc/chrony/same", "same").File("/etc/keepalived/k", "# Managed by multihead").
		Link("../own.conf", "/etc/nginx/on/same").Link("../another.conf", "/etc/nginx/on/site")
	changed, err := Changed(context.Background(), list, map[string]host.Reader{"s1": m})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range changed {
		mode := uint32(0)
		if f.Attr != nil {
			mode = f.Attr.Mode
		}
		got = append(got, fmt.Sprintf("%s:%s %o %v", f.Host, f.Path, mode, f.gone))
	}
	if want := "[s1:/etc/nginx/on/gone 0 true s1:/etc/nginx/on/site 0 false s1:/etc/nginx/own.conf 640 false s1:/etc/slurm/gone.lua 0 true]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
	r := whole(OnlyConfigs)
	r.Configs = changed
	if got, want := strings.ReplaceAll(stepIDs(t, r), "restore.", ""), "configs.keep@s1 config./etc/nginx/on/gone@s1 config./etc/nginx/on/site@s1 config./etc/nginx/own.conf@s1 config./etc/slurm/gone.lua@s1"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	m.Down(errors.New("gone"))
	if _, err := Changed(context.Background(), list, map[string]host.Reader{"s1": m}); err == nil {
		t.Error("what a head has is not known, and is taken for gone")
	}
}

func TestConfigurationThatIsNotReadIsNamed(t *testing.T) {
	m := hosttest.New("s1").File("/etc/nginx/own.conf", "x").File("/etc/nginx/dump", strings.Repeat("x", largeConfig+1)).Link("../own.conf", "/etc/nginx/on/site").
		File("/srv/haproxy/h.cfg", "x").Link("/srv/haproxy", "/etc/haproxy")
	got := tree{files: map[string][]byte{}, attrs: map[string]Attr{}}
	for _, root := range []string{"/etc/nginx", "/etc/haproxy", "/etc/chrony"} {
		if err := got.read(t.Context(), m, root, 0); err != nil {
			t.Fatal(err)
		}
	}
	if len(got.files) != 1 || got.attrs["/etc/nginx/on/site"].Link != "../own.conf" {
		t.Errorf("%v, %+v", len(got.files), got.attrs)
	}
	if said := strings.Join(got.left, "; "); len(got.left) != 2 || !strings.Contains(said, "/etc/nginx/dump, which is larger") || !strings.Contains(said, "/etc/haproxy is a link") {
		t.Error(said)
	}
}

func TestTheServersPasswordIsInNothingThatIsShown(t *testing.T) {
	r := Remote{Repository: "rest:https://b.example:8000/c/", User: "u", Password: "p/ss w"}
	got, err := r.location()
	if err != nil || got != "rest:https://u:p%2Fss%20w@b.example:8000/c/" {
		t.Errorf("%q %v", got, err)
	}
	for _, said := range []string{"Get " + got, "p/ss w"} {
		if e := r.hide(errors.New(said)).Error(); strings.Contains(e, "ss w") || strings.Contains(e, "ss%20w") {
			t.Error(e)
		}
	}
	if got, _ := (Remote{Repository: "/mnt/nas/r", User: "u"}).location(); got != "/mnt/nas/r" {
		t.Error(got)
	}
}

func TestADirectoryOnTheSameDiskIsNotOffsite(t *testing.T) {
	dir := t.TempDir()
	for _, p := range []string{dir + "/there", dir + "/there/new", "/nowhere/at/all"} {
		if err := os.MkdirAll(dir+"/there", 0o700); err != nil {
			t.Fatal(err)
		}
		if err := (Remote{Repository: p}).reachable(dir); err == nil {
			t.Errorf("%s is taken for a disk of its own", p)
		}
	}
	if err := (Remote{Repository: "/dev/shm"}).reachable(dir); err != nil {
		t.Error(err)
	}
	if err := (Remote{Repository: "sftp:b:/x"}).reachable(dir); err != nil {
		t.Error(err)
	}
}

func TestAMountIsOneByWhatTheKernelSays(t *testing.T) {
	if ok, err := isMount("/proc/"); err != nil || !ok {
		t.Errorf("/proc/: %v, %v", ok, err)
	}
	if ok, err := isMount(t.TempDir()); err != nil || ok {
		t.Errorf("a directory: %v, %v", ok, err)
	}
}
