package redis

import (
	"context"
	"fmt"
	"net/netip"

	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

func (w wanted) anyAddr(s *State) netip.Addr {
	if len(s.heads) == 0 {
		return netip.Addr{}
	}
	return s.heads[0].addr
}

// Files with the password in them: Redis reads them through its group.
func secretFile(path string, data []byte) plan.File {
	return plan.File{Path: path, Data: data, Secret: true, Attr: host.Attr{Mode: 0o640, Owner: "root", Group: "redis"}}
}

// servers makes every server of the heads that may be changed be there and
// run with its settings. The parts that become nodes of a cluster get their
// files only; they are restarted when it is their turn.
func (b *builder) servers() {
	var steps []plan.Step
	for n, h := range b.s.heads {
		var list []part
		for _, p := range b.parts {
			if p.head == n && p.mine && !p.guest {
				list = append(list, p)
			}
		}
		if len(list) == 0 {
			continue
		}
		step := func(id string, a plan.Action) {
			steps = append(steps, plan.Step{ID: id, Host: h.name, Action: a})
		}
		packages := []string{"redis-server", "redis-tools"}
		if b.mode == modeSentinel {
			packages = append(packages, "redis-sentinel")
		}
		step("redis.packages", plan.Packages{Names: packages})
		step("redis.tail", plan.File{Path: tailPath, Data: tailScript, Attr: host.Attr{Mode: 0o755}})
		if list[0].at.Port == defaultPort && !list[0].adopt {
			at, password := list[0].at, b.password()
			step("redis.retire", retire(defaultUnit, func(ctx context.Context, h host.Host) error {
				return mustBeEmpty(ctx, h, at, password)
			}))
		}
		for _, p := range list {
			steps = append(steps, b.server(p)...)
		}
	}
	b.stage("servers", steps...)
}

// server returns the steps of one server.
func (b *builder) server(p part) []plan.Step {
	w, i := b.s.wanted, p.at
	var steps []plan.Step
	step := func(id string, a plan.Action, effect string) {
		steps = append(steps, plan.Step{ID: fmt.Sprintf("redis.%d.%s", i.Port, id), Host: i.Host, Action: a, Effect: effect})
	}
	want := w.settings(i, b.mode, len(b.s.heads))
	step("unit", unitPart{plan.File{Path: i.dropIn(), Data: dropInText(i.dir())}, i.unit()}, "")
	step("settings", settingsStep{File: secretFile(i.settingsFile(), w.settingsText(i, b.mode, len(b.s.heads))),
		at: i, password: b.password(), log: w.conf.AppendOnly, save: setting{Value: w.save()}.plain()}, "")
	if p.become {
		return steps
	}
	if p.adopt {
		step("keep", keepKeys(i, b.password(), w.conf.AppendOnly),
			fmt.Sprintf("redis on %s is away for some seconds, with all its keys", i.Host))
	}
	step("data", dataDir(i), "")
	step("state", stateFile(i, w.conf.AppendOnly), "")
	if p.adopt {
		step("start", adopted{plan.Running(i.unit()), i, b.password()}, "")
	} else {
		step("start", plan.Running(i.unit()), "")
	}
	step("force", inForce(i, want, b.password()), "")
	if b.mode == modeCluster && i.Number == 0 && b.decision.Verdict == service.Form {
		step("epoch", epoch(i, p.head+1, b.password()), "")
	}
	return steps
}
