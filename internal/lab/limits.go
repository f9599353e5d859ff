package lab

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// inotifyInstances is how many inotify instances root may have. Every host's
// systemd, dbus and log-ins take about ten, and the kernel's usual 128 are
// counted over the whole machine: at the twelfth host systemd would not start.
const inotifyInstances = 2048

const inotifyLimit = "/proc/sys/fs/inotify/max_user_instances"

// raiseLimits raises what is too low on the machine for many hosts, until
// the machine next starts. It never lowers anything.
func raiseLimits(progress func(Event)) error {
	data, err := os.ReadFile(inotifyLimit)
	if err != nil {
		return err
	}
	have, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return fmt.Errorf("%s: %w", inotifyLimit, err)
	}
	if have >= inotifyInstances {
		return nil
	}
	say(progress, "", fmt.Sprintf("raising fs.inotify.max_user_instances from %d to %d: every host needs some", have, inotifyInstances))
	return os.WriteFile(inotifyLimit, []byte(strconv.Itoa(inotifyInstances)), 0)
}
