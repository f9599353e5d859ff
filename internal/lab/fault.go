package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
)

// OutsideName names the machine's own end of the bridge where hosts are
// named: what --lab commands and forwarded ports come from.
const OutsideName = "outside"

// Fault is something wrong with the lab's network. Faults add up, and stay
// while hosts go off and on, until Heal.
type Fault struct {
	// Hosts are the side the fault is about: host names or OutsideName.
	Hosts []string `json:"hosts"`
	// From is the other side. Of a Loss it is always everybody.
	From []string `json:"from,omitempty"`
	// OneWay drops only what Hosts say to From; the answers still arrive.
	OneWay bool `json:"one_way,omitempty"`
	// Only limits a cut to some traffic: names of TrafficNames, or such as
	// tcp/3306 and udp/5000-5010. Empty: every frame, ARP too.
	Only []string `json:"only,omitempty"`
	// Loss is the percentage of frames lost to and from Hosts; 0 is a cut.
	Loss float64 `json:"loss,omitempty"`
}

// traffic is what the names that Only knows stand for.
var traffic = map[string][]string{
	"storage": {"tcp/24007-24008", "bricks"},
	"galera":  {"tcp/4567", "udp/4567", "tcp/4568", "tcp/4444"},
	"sql":     {"tcp/3306"},
	"redis":   {"tcp/6379", "tcp/16379", "tcp/26379"},
	"slurm":   {"tcp/6817-6819"},
	"vrrp":    {"proto/112"},
	"ssh":     {"tcp/22"},
	"web":     {"tcp/80", "tcp/443"},
}

// TrafficNames lists the names that Fault.Only knows.
func TrafficNames() []string { return sortedKeys(traffic) }

// String says in words what is wrong.
func (f Fault) String() string {
	who := strings.Join(f.Hosts, ",")
	if f.Loss > 0 {
		return fmt.Sprintf("%s loses %s %% of all frames", who, strconv.FormatFloat(f.Loss, 'g', 4, 64))
	}
	s := who + " cut from " + strings.Join(f.From, ",")
	if f.OneWay {
		s = who + " not heard by " + strings.Join(f.From, ",")
	}
	if len(f.Only) > 0 {
		s += " (" + strings.Join(f.Only, ",") + ")"
	}
	return s
}

// Partition drops what passes between hosts and f.From (all other hosts of
// the lab if empty).
func (l *Lab) Partition(ctx context.Context, f Fault) error {
	if f.Loss != 0 {
		return errors.New("a partition with a loss: use Loss for that")
	}
	return l.addFault(ctx, f)
}

// Loss drops percent of the frames to and from each of the hosts, at random.
func (l *Lab) Loss(ctx context.Context, percent float64, hosts ...string) error {
	return l.addFault(ctx, Fault{Hosts: hosts, Loss: percent})
}

// Heal removes the faults that name any of the hosts, or all faults.
func (l *Lab) Heal(ctx context.Context, hosts ...string) error {
	return l.locked(ctx, func() error {
		all, err := l.Faults()
		if err != nil {
			return err
		}
		var rest []Fault
		for _, f := range all {
			gone := len(hosts) == 0 || slices.ContainsFunc(hosts, func(h string) bool {
				return slices.Contains(f.Hosts, h) || slices.Contains(f.From, h)
			})
			if gone {
				say(l.progress, "", "healed: "+f.String())
			} else {
				rest = append(rest, f)
			}
		}
		return l.setFaults(ctx, rest)
	})
}

// Faults reads what is wrong with the lab's network at present.
func (l *Lab) Faults() ([]Fault, error) {
	data, err := os.ReadFile(l.path("faults.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var faults []Fault
	if err := json.Unmarshal(data, &faults); err != nil {
		return nil, fmt.Errorf("%s: %w", l.path("faults.json"), err)
	}
	return faults, nil
}

func (l *Lab) addFault(ctx context.Context, f Fault) error {
	f, err := f.complete(l.Spec.hosts())
	if err != nil {
		return err
	}
	return l.locked(ctx, func() error {
		all, err := l.Faults()
		if err != nil {
			return err
		}
		say(l.progress, "", f.String())
		return l.setFaults(ctx, append(all, f))
	})
}

// complete fills in the other side and finds every mistake.
func (f Fault) complete(hosts []HostPlan) (Fault, error) {
	names := map[string]bool{OutsideName: true}
	for _, h := range hosts {
		names[h.Name] = true
	}
	var errs []error
	for _, n := range slices.Concat(f.Hosts, f.From) {
		if !names[n] {
			errs = append(errs, fmt.Errorf("no host %q in this lab", n))
		}
	}
	if len(f.Hosts) == 0 {
		errs = append(errs, errors.New("name the hosts that the fault is about"))
	}
	if f.Loss < 0 || f.Loss > 100 {
		errs = append(errs, fmt.Errorf("a loss of %v %%: between 0 and 100", f.Loss))
	}
	if len(f.From) == 0 && f.Loss == 0 {
		for _, h := range hosts {
			if !slices.Contains(f.Hosts, h.Name) {
				f.From = append(f.From, h.Name)
			}
		}
		if len(f.From) == 0 {
			errs = append(errs, errors.New("nobody is left to be cut from"))
		}
	}
	for _, n := range f.Hosts {
		if slices.Contains(f.From, n) {
			errs = append(errs, fmt.Errorf("%s is on both sides", n))
		}
	}
	if _, err := matches(f.Only); err != nil {
		errs = append(errs, err)
	}
	return f, errors.Join(errs...)
}

// setFaults makes the kernel do what the faults say, in one transaction, and
// then records them.
func (l *Lab) setFaults(ctx context.Context, faults []Fault) error {
	if err := l.applyFaults(ctx, faults); err != nil {
		return err
	}
	return writeJSON(l.path("faults.json"), faults)
}

func (l *Lab) applyFaults(ctx context.Context, faults []Fault) error {
	links := map[string]string{}
	for _, h := range l.hosts {
		links[h.Name] = h.link()
	}
	rules, err := renderRules(faults, links)
	if err != nil {
		return err
	}
	return l.InNetwork(func() error {
		cmd := command(ctx, "nft", "-f", "-")
		cmd.Stdin = strings.NewReader(rules)
		_, err := output(cmd)
		return err
	})
}
