package host

import (
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// apart runs what opens files on a thread with a table of open files of its own.
//
// A command that is started inherits what is open, and the kernel closes it before the
// command begins. To close a file of a network file system is to ask its server (FUSE
// and NFS flush), so while one hangs with a file of it open here, no command of this
// process would begin, whatever it is for; and who asks /proc about that command hangs as
// well. A volume hangs just when commands are needed. Seen over heads that lost their
// power: every third time ss(8) began only after the volume's own timeout.
func apart(f func()) {
	select {
	case t := <-threads:
		t <- f
	default: // all are at work, or hang
		newThread() <- f
	}
}

// kept is how many threads wait for work. What hangs is beside them.
const kept = 4

var threads = make(chan chan<- func(), kept)

// newThread starts a thread with a table of open files of its own, and returns where it
// takes work. Nothing of it may use package os: its files, and those that the package
// keeps for tests, are the process's.
func newThread() chan<- func() {
	work := make(chan func(), 1) // who gives it work waits for nothing
	// The runtime's poller has to be open before, or it would be on this thread alone.
	time.AfterFunc(0, func() {})
	locked := make(chan bool)
	go serve(work, locked)
	<-locked
	return work
}

func serve(work chan func(), locked chan<- bool) {
	runtime.LockOSThread() // for good: the thread ends with the goroutine
	if unix.Gettid() == unix.Getpid() {
		// The first thread has the table that the process is seen with, and cannot end.
		other := make(chan bool)
		go serve(work, other)
		<-other
		runtime.UnlockOSThread()
		locked <- true
		return
	}
	locked <- true
	if unix.Unshare(unix.CLONE_FILES) == nil {
		letGo()
	} // else files are opened as everywhere, which is worse only while a volume hangs
	for f := range work {
		f()
		select {
		case threads <- work:
		default:
			return
		}
	}
}

// letGo closes what the thread took along: connections would stay open here, and files
// locked, when the process closes them. The runtime goes on to use its poller.
func letGo() {
	const own = "/proc/thread-self/fd"
	dir, err := unix.Open(own, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer func() { _ = unix.Close(dir) }()
	var names []string
	for buf := make([]byte, 8<<10); ; {
		n, err := unix.ReadDirent(dir, buf)
		if err != nil || n <= 0 {
			break
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
	// Files come last: to close one of a volume that hangs may take as long.
	to := make([]byte, 32)
	for _, files := range []bool{false, true} {
		for _, name := range names {
			fd, err := strconv.Atoi(name)
			if err != nil || fd <= 2 || fd == dir {
				continue
			}
			n, err := unix.Readlink(own+"/"+name, to)
			if err == nil && !strings.HasPrefix(string(to[:n]), "anon_inode:") && files == (to[0] == '/') {
				_ = unix.Close(fd)
			}
		}
	}
}
