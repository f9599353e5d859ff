package slurm

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// What a controller that gives way writes meanwhile is a heartbeat to the others.
func TestTheHeartbeatGoesOnWhileControlIsHandedOver(t *testing.T) {
	dir := t.TempDir()
	user := strconv.Itoa(os.Getuid())
	before := time.Now().Truncate(time.Second)
	out, err := exec.Command("sh", "-c", beatScript(dir, user, 3)+"\nbeat && beat").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	data, err := os.ReadFile(filepath.Join(dir, "heartbeat"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := parseHeartbeat(data)
	if err != nil || b.index != 3 || b.at.Before(before) || b.at.After(time.Now()) {
		t.Errorf("%+v, %v, of %d bytes", b, err, len(data))
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
}
