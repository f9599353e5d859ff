package host

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// ErrRefused is matched by the error of a Query for a command that is not on
// the list of those that only look, and by every change asked of a host that
// was opened for looking only.
var ErrRefused = errors.New("refused")

// readOnly is the commands that only look, one pattern a line. It guards
// against our own mistakes: a query that changes something would make a dry
// run a lie. It is not a fence against a person, who has root anyway.
//
// Words of a pattern:
//
//	a|b      one of these words
//	*        any one word that is not an option
//	(a|b)*   any number of these words; one may end in =* to take any value
//	~expr    one word that matches the expression as a whole
//	...      anything from here on
//
// Where a command has options that write (ss -K, journalctl --vacuum-size,
// date -s), its pattern lists the harmless ones and nothing else.
var readOnly = []string{
	// systemd
	"systemctl show|is-active|is-enabled|is-failed|is-system-running|cat|status|list-units|list-unit-files|list-timers|list-jobs|list-dependencies|get-default ...",
	"timedatectl show|status|timesync-status|show-timesync|list-timezones ...",
	"timedatectl",
	"hostnamectl", "hostnamectl status|show", "hostnamectl --json=short|--json=pretty",
	"loginctl list-sessions|list-users|show-session|show-user ...",
	`journalctl (-q|-x|-r|-a|-b|-k|--no-pager|--quiet|--utc|--no-hostname|--unit=*|--since=*|--until=*|--lines=*|--output=*|--output-fields=*|--grep=*|--priority=*|--identifier=*|--boot=*|UNIT=*|MESSAGE_ID=*)*`,
	"systemd-detect-virt ...", "systemd-escape ...", "networkctl list|status ...", "resolvectl status|query ...",
	// packages
	"dpkg-query -W|-s|-l|-S|-L|--show|--status|--list ...",
	"dpkg --print-architecture|--print-foreign-architectures|--compare-versions|--audit ...",
	"apt-cache policy|show|madison|depends|rdepends|showpkg|search ...",
	"apt-mark showhold|showmanual|showauto ...", "apt-config dump",
	"rpm -q|-qa|-qf|-ql|-qi|--version|--eval ...",
	"dnf (-q|-C|--cacheonly)* list|info|repolist|repoquery ...",
	// storage
	"gluster (--mode=script|--xml|--log-file=*|--timeout=*)* peer status",
	"gluster (--mode=script|--xml|--log-file=*|--timeout=*)* pool list",
	"gluster (--mode=script|--xml|--log-file=*|--timeout=*)* volume info|status|list|get ...",
	"gluster (--mode=script|--xml|--log-file=*|--timeout=*)* volume heal * info",
	"gluster (--mode=script|--xml|--log-file=*|--timeout=*)* volume heal * info summary|split-brain",
	"gluster (--mode=script|--xml|--log-file=*|--timeout=*)* volume heal * statistics heal-count",
	"gluster (--mode=script|--xml|--log-file=*|--timeout=*)* volume rebalance|remove-brick ... status",
	"gluster (--mode=script|--xml|--log-file=*|--timeout=*)* get-state|--print-logdir|--print-statedumpdir",
	"gluster|glusterd|glusterfs|glusterfsd --version|-V",
	"findmnt ...", "df ...", "du ...", "lsblk ...", "xfs_info *", "getfattr ...", "mountpoint ~-[qdx]+ *", "mountpoint *",
	// slurm
	"scontrol (-o|-d|-a|-Q|-h|--oneliner|--details|--all|--json|--yaml)* ping|show|version ...",
	"sinfo ...", "squeue ...", "sacct ...", "sdiag", "sdiag --json|--all", "sprio ...", "sshare ...", "sstat ...",
	"sacctmgr (-n|-p|-P|-nP|-np|-i|-s|-r|--noheader|--parsable|--parsable2|--json)* show|list|ping|version ...",
	"slurmctld|slurmdbd|slurmd|slurmrestd|sbatch|srun -V|--version",
	"slurmd -C", "slurmd -G",
	"munge -n|--no-input", "munge|munged|unmunge --version|-V", "unmunge", "unmunge -n|--no-output",
	"mungekey --version",
	// databases and caches; everything else is asked through Dial
	"mariadbd|mysqld|mariadb|mysql|mariabackup|mariadb-backup|garbd|redis-server|redis-sentinel|redis-cli|valkey-server --version|-V|-v",
	"my_print_defaults ...",
	// network
	`ip (-j|-json|-4|-6|-o|-d|-s|-br|-p|-n)* addr|address|a|link|l|route|r|neigh|rule`,
	`ip (-j|-json|-4|-6|-o|-d|-s|-br|-p)* addr|address|a|link|l|route|r|neigh|rule show|list|get ...`,
	`ss (-a|-e|-i|-l|-m|-n|-o|-p|-r|-s|-t|-u|-w|-x|-4|-6|-H|-O)*`, "ss ~-[aeilmnoprstuwx46HO]+",
	"ss ~-[aeilmnoprstuwx46HO]+ ~\\(|sport|dport|state|src|dst ...",
	"bridge (-j)* link|fdb|vlan show ...",
	"nft (-j|-n|-nn|-a)* list ...", "iptables|ip6tables -S|-L ...", "firewall-cmd --state|--list-all|--list-ports|--list-all-zones ...",
	"ping (-4|-6|-n|-q)* -c * -W * *", "hostname", "hostname -f|-s|-I|-d",
	"getent ...", "ethtool *",
	// time
	"chronyc (-n|-c|-nc|-N|-a)* tracking|sources|sourcestats|activity|ntpdata|waitsync ...", "ntpq ~-[pn]+", "date ~\\+.*", "date -u ~\\+.*",
	// the daemons' own checks of their files
	"haproxy -c ...", "haproxy -v|-vv", "keepalived -t ...", "keepalived --version|-v", "nginx -v|-V", "promtool check ...",
	"visudo -c ...", "sshd -V",
	// the machine
	"uname ...", "id ...", "nproc ...", "free ...", "uptime ...", "lscpu ...", "lspci ...", "nvidia-smi", "nvidia-smi -L",
	"ps ...", "pgrep ...", "pidof ...", "who ...", "last ...", "sysctl ~-[nNeq]+ ~[^-=][^=]*", "getconf *", "getenforce", "aa-status ...",
	"sha256sum *", "openssl version", "openssl x509 -in * -noout ...", "python3|node|npm --version",
	// our own, which does nothing but read a snapshot
	"multihead backup-work --look",
	"true",
}

// ReadOnly says whether a command is on the list of those that only look.
func ReadOnly(argv []string) bool {
	if len(argv) == 0 {
		return false
	}
	words := slices.Clone(argv)
	// A program named by its path counts as its name only in the system's
	// own directories: /tmp/systemctl could be anything.
	if dir, base := filepath.Split(words[0]); dir != "" {
		if !slices.Contains(strings.Split(Path, ":"), filepath.Clean(dir)) {
			return false
		}
		words[0] = base
	}
	for _, pattern := range readOnly {
		if matchWords(strings.Fields(pattern), words) {
			return true
		}
	}
	return false
}

// refuse is the error for a command that is not on the list.
func refuse(name string, argv []string) error {
	return fmt.Errorf("%s: %s: %w: not on the list of commands that only look", name, Command(argv...), ErrRefused)
}

func matchWords(pattern, words []string) bool {
	if len(pattern) == 0 {
		return len(words) == 0
	}
	p, rest := pattern[0], pattern[1:]
	switch {
	case p == "...":
		for i := 0; i <= len(words); i++ {
			if len(rest) == 0 || matchWords(rest, words[i:]) {
				return true
			}
		}
		return false
	case strings.HasPrefix(p, "(") && strings.HasSuffix(p, ")*"):
		options := strings.Split(p[1:len(p)-2], "|")
		for i := 0; ; i++ {
			if matchWords(rest, words[i:]) {
				return true
			}
			if i == len(words) || !oneOf(options, words[i]) {
				return false
			}
		}
	case len(words) == 0:
		return false
	case p == "*":
		return !strings.HasPrefix(words[0], "-") && matchWords(rest, words[1:])
	case strings.HasPrefix(p, "~"):
		ok, err := regexp.MatchString("^(?:"+p[1:]+")$", words[0])
		return err == nil && ok && matchWords(rest, words[1:])
	}
	return oneOf(strings.Split(p, "|"), words[0]) && matchWords(rest, words[1:])
}

func oneOf(options []string, word string) bool {
	for _, o := range options {
		if stem, ok := strings.CutSuffix(o, "=*"); ok {
			if strings.HasPrefix(word, stem+"=") {
				return true
			}
		} else if o == word {
			return true
		}
	}
	return false
}
