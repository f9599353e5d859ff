package gluster

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"multihead/internal/host"
	"multihead/internal/host/hosttest"
	"multihead/internal/plan"
)

const brickPath = "/data/glusterfs/brick"

// usedBrick is a machine with a brick as glusterd leaves it.
func usedBrick() *hosttest.Machine {
	return hosttest.New("server1").Dir(brickPath+"/.glusterfs/00/00", brickPath+"/.glusterfs/indices/xattrop",
		brickPath+"/"+anonymousDir+"1234", brickPath+"/slurm/state").
		File(brickPath+"/.glusterfs/health_check", "now").File(brickPath+"/"+Marker, volumeID)
}

func clearing(keep *host.Attr) clearBrick {
	return clearBrick{path: brickPath, volume: "shared_data", brick: brickAt("192.0.2.11", brickPath),
		own: []string{Marker, "slurm", "slurm/state"}, keep: keep}
}

func gone(t *testing.T, m *hosttest.Machine, p string) bool {
	t.Helper()
	_, err := m.Stat(context.Background(), p)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return err != nil
}

func TestUnusedBrickIsCleared(t *testing.T) {
	m := usedBrick()
	if _, err := clearing(nil).Do(context.Background(), m); err != nil {
		t.Fatal(err)
	}
	list, err := m.ReadDir(context.Background(), brickPath)
	if err != nil || len(list) != 0 {
		t.Errorf("left: %v %v", list, err)
	}
}

func TestBrickThatWasThereGetsItsAttributesBack(t *testing.T) {
	m := usedBrick()
	before := host.Attr{Mode: 0o700, Owner: "root", Group: "root", ModTime: time.Unix(1e9, 0)}
	if _, err := clearing(&before).Do(context.Background(), m); err != nil {
		t.Fatal(err)
	}
	info, err := m.Stat(context.Background(), brickPath)
	if err != nil || info.Mode.Perm() != 0o700 || !info.ModTime.Equal(before.ModTime) {
		t.Errorf("%+v %v", info, err)
	}
}

func TestBrickWithDataIsNeverRemoved(t *testing.T) {
	for name, file := range map[string]string{
		"a file of a user":                 brickPath + "/uploads/mesh.cas",
		"a file in a directory of ours":    brickPath + "/slurm/state/job_state",
		"a file that looks like our own":   brickPath + "/slurm/" + Marker,
		"a deleted file glusterd has kept": brickPath + "/" + anonymousDir + "1234/abcd",
	} {
		t.Run(name, func(t *testing.T) {
			m := usedBrick().File(file, "precious")
			if _, err := clearing(nil).Do(context.Background(), m); err != nil {
				t.Fatal(err)
			}
			data, err := m.ReadFile(context.Background(), strings.Replace(file, brickPath, brickPath+".undone", 1))
			if err != nil || string(data) != "precious" {
				t.Errorf("not kept aside: %q %v", data, err)
			}
		})
	}
	m := usedBrick().File(brickPath+"/x", "precious").Dir(brickPath + ".undone")
	if _, err := clearing(nil).Do(context.Background(), m); err != nil || gone(t, m, brickPath+".undone-2/x") {
		t.Errorf("the name was taken, and the data is not under the next: %v", err)
	}
}

func TestBrickOfAVolumeStays(t *testing.T) {
	m := usedBrick().File(volsDir+"/shared_data/info", "status=1\nbrick-0=192.0.2.11:-data-glusterfs-brick\n")
	if _, err := clearing(nil).Do(context.Background(), m); err == nil || gone(t, m, brickPath+"/.glusterfs/health_check") {
		t.Errorf("cleared under a volume: %v", err)
	}
}

func TestVolumeWithDataIsNeverDeleted(t *testing.T) {
	m := usedBrick().File(brickPath+"/job.out", "precious").
		File(volsDir+"/shared_data/info", "status=1\nbrick-0=192.0.2.11:-data-glusterfs-brick\n")
	_, err := deleteVolume{name: "shared_data", brick: brickPath, own: []string{Marker, "slurm", "slurm/state"}}.Do(context.Background(), m)
	if err == nil || !strings.Contains(err.Error(), "job.out") {
		t.Errorf("got %v", err)
	}
	for _, c := range m.Changes() {
		t.Errorf("it changed something: %s", c)
	}
}

func TestBooksOfAMemberStay(t *testing.T) {
	for _, p := range []string{peersDir + "/1234", volsDir + "/other/info"} {
		m := hosttest.New("server1").File(idFile, "UUID=1").File(p, "x")
		if _, err := (dropBooks{map[string]bool{}}).Do(context.Background(), m); err == nil || gone(t, m, idFile) {
			t.Errorf("with %s: %v", p, err)
		}
	}
	m := hosttest.New("server1").File(idFile, "UUID=1").File(storeDir+"/groups/virt", "x").Dir(peersDir)
	if _, err := (dropBooks{map[string]bool{storeDir + "/groups": true, storeDir + "/groups/virt": true}}).Do(context.Background(), m); err != nil {
		t.Fatal(err)
	}
	if !gone(t, m, idFile) || !gone(t, m, peersDir) || gone(t, m, storeDir+"/groups/virt") {
		t.Error("what came is not gone, or what was there is")
	}
}

func TestNothingIsWrittenBelowAnUnmountedMountPoint(t *testing.T) {
	m := hosttest.New("server1").Dir("/mnt/gluster").File("/proc/self/mountinfo", "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n")
	a := onVolume{mount: "/mnt/gluster", inner: plan.Dir{Path: "/mnt/gluster/slurm"}}
	if _, err := a.Do(context.Background(), m); err == nil || !gone(t, m, "/mnt/gluster/slurm") {
		t.Errorf("written: %v", err)
	}
	m.Dir("/mnt/gluster/slurm") // left from a day when it was not mounted
	if done, err := a.Done(context.Background(), m); done || err != nil {
		t.Errorf("taken for done: %v %v", done, err)
	}
	m.File("/proc/self/mountinfo", "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:40 / /mnt/gluster rw - fuse.glusterfs x:/shared_data rw\n")
	if done, err := a.Done(context.Background(), m); !done || err != nil {
		t.Errorf("mounted, and not taken for done: %v %v", done, err)
	}
}

func TestHoldersOfAMountAreNamed(t *testing.T) {
	m := hosttest.New("server1").Dir("/proc/12/fd", "/proc/13/fd", "/proc/sys").
		File("/proc/12/comm", "slurmctld\n").File("/proc/13/comm", "bash\n").
		Link("/mnt/gluster/slurm/state/job_state", "/proc/12/fd/5").Link("/", "/proc/12/cwd").
		Link("/mnt/glusterfs", "/proc/13/cwd")
	got, err := holders(context.Background(), m, "/mnt/gluster")
	if err != nil || len(got) != 1 || got[0] != "slurmctld (process 12, of root)" {
		t.Errorf("%q %v", got, err)
	}
}
