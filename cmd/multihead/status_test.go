package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"multihead/internal/cluster"
	"multihead/internal/config"
	"multihead/internal/service"
)

// screen is the status of a cluster of two, as the test wants it.
func screen(state, head2 service.Word) cluster.Status {
	s := cluster.Status{Name: "hpc", State: state, Size: 2, VIP: "10.0.0.10",
		Survives: cluster.Survival{AtOnce: 1, InTurn: 1, Weakest: []string{"redis"}, Services: []service.Survival{{Service: "redis", AtOnce: 1, InTurn: 1}}},
		Heads: []cluster.HeadStatus{
			{Hostname: "server1", State: service.Up, Load: 0.5, Uptime: time.Hour},
			{Hostname: "server2", State: head2},
		}}
	if head2 == service.Up {
		s.VIPOwner = "server2"
	}
	return s
}

func TestStatusPromisesOnlyWhatHoldsNow(t *testing.T) {
	for name, tt := range map[string]struct {
		status   cluster.Status
		lang     string
		has, not string
	}{
		"all is up":             {screen(service.Up, service.Up), "en", "\nCan lose 1 head at once", "With all heads up"},
		"all is up, in Korean":  {screen(service.Up, service.Up), "ko", "\n동시에 헤드 1대, 차례로 1대를 잃어도 됩니다\n", "지금"},
		"a head is broken":      {screen(service.Degraded, service.Degraded), "en", "With all heads up it can lose 1 head at once, 1 head one after another.\nNow it is not that: server2 DEGRADED\n", "\nCan lose"},
		"a head is silent":      {screen(service.Degraded, service.Unknown), "en", "What it can lose now is not known: server2 UNKNOWN\n", "\nCan lose"},
		"silent, in Korean":     {screen(service.Degraded, service.Unknown), "ko", "지금 얼마나 잃어도 되는지는 알 수 없습니다: server2 UNKNOWN", ""},
		"who holds the address": {screen(service.Up, service.Up), "en", "VIP 10.0.0.10 on server2", "not known"},
		"nobody does":           {screen(service.Degraded, service.Degraded), "en", "VIP 10.0.0.10 on no head", "not known"},
		"it cannot be known":    {screen(service.Degraded, service.Unknown), "en", "VIP 10.0.0.10 not known where", "0.00"},
		"nobody, in Korean":     {screen(service.Degraded, service.Degraded), "ko", "VIP 10.0.0.10 보유 헤드 없음", "nobody"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			a := newApp()
			a.stdout, a.lang = &out, tt.lang
			a.printStatus(tt.status, false)
			if !strings.Contains(out.String(), tt.has) {
				t.Errorf("%q is not in\n%s", tt.has, &out)
			}
			if tt.not != "" && strings.Contains(out.String(), tt.not) {
				t.Errorf("%q is in\n%s", tt.not, &out)
			}
		})
	}
}

// writes counts what is written at once.
type writes []string

func (w *writes) Write(p []byte) (int, error) {
	*w = append(*w, string(p))
	return len(p), nil
}

func TestAScreenOfWatchIsOneWriteAndJSONHasNoEscapes(t *testing.T) {
	var w writes
	a := newApp()
	a.stdout = &w
	if err := a.drawStatus(screen(service.Up, service.Up), "table"); err != nil || len(w) != 1 || !strings.HasPrefix(w[0], clearScreen) {
		t.Errorf("%v %q", err, w)
	}
	w = nil
	if err := a.drawStatus(screen(service.Up, service.Up), "json"); err != nil || len(w) != 1 || strings.Contains(w[0], "\x1b") || strings.Count(w[0], "\n") != 1 {
		t.Errorf("%v %q", err, w)
	}
}

func TestReportIsOneDocumentWhateverHappens(t *testing.T) {
	for name, fails := range map[string]error{"well": nil, "badly": errors.New("a host is gone")} {
		var out, errOut bytes.Buffer
		a := newApp()
		a.stdout, a.stderr = &out, &errOut
		err := a.reported("json", func(a *app, r *upReport) error {
			a.sayNothingChanged()
			r.Outcome = outcomeDone
			return fails
		})
		if !errors.Is(err, fails) {
			t.Errorf("%s: %v", name, err)
		}
		if !strings.HasPrefix(out.String(), "{\n") || strings.Count(out.String(), "\n}\n") != 1 || strings.Contains(out.String(), "Nothing was changed.") {
			t.Errorf("%s: %s", name, &out)
		}
		if got := strings.Contains(out.String(), `"error": "a host is gone"`); got != (fails != nil) {
			t.Errorf("%s: %s", name, &out)
		}
		if !strings.Contains(errOut.String(), "Nothing was changed.") {
			t.Errorf("%s: standard error has %q", name, &errOut)
		}
	}
}

func TestWordsThatAreNoneAreToldBeforeAnythingIsAsked(t *testing.T) {
	for args, want := range map[string]string{
		"up -o xml":          "write table or json",
		"plan -o yaml":       "write table or json",
		"down -o xml":        "write table or json",
		"status -o xml":      "write table, wide or json",
		"discover -o wide":   "write table or json",
		"doctor -o xml":      "write table, wide or json",
		"status --lang fr":   "write en or ko",
		"status --color red": "write auto, always or never",
		"lab pu":             "did you mean: multihead lab up",
		"lab bogus":          `lab has no command "bogus"`,
		"completion foo":     `completion has no command "foo"`,
		"docs":               "multihead docs dist/man",
		"up --phase bogus":   "there are prepare, glusterfs",
	} {
		got := tell(t, site(t), strings.Fields(args)...)
		if got.code != exitUsage || !strings.Contains(got.errOut, want) || got.out != "" {
			t.Errorf("%s: exit %d\n%s\n%s\nwant %q", args, got.code, got.out, got.errOut, want)
		}
	}
}

func TestNothingToDoIsSaidOnlyOfHostsThatAnswered(t *testing.T) {
	c := &config.Cluster{}
	for _, name := range []string{"server1", "server2"} {
		h := config.Controller{}
		h.Hostname = name
		c.Nodes.Controllers = append(c.Nodes.Controllers, h)
	}
	silent := map[string]error{"server2": errors.New("timed out")}
	for name, tt := range map[string]struct {
		errs map[string]error
		aim  aim
		want string
	}{
		"up, all answered":     {nil, aimUp, "No changes: the cluster is as the file says.\n"},
		"up, one is silent":    {silent, aimUp, "No changes on the hosts that answered; not reached: server2.\n"},
		"down, all answered":   {nil, aimStop, "No changes: it is stopped already.\n"},
		"down, one is silent ": {silent, aimStop, "Nothing to stop on the hosts that answered; what still runs on server2 is not known.\n"},
		"recover":              {nil, aimRecover, "Nothing to recover: what exists on the hosts that answered serves, or was stopped by a person.\n"},
	} {
		var out bytes.Buffer
		a := newApp()
		a.stdout, a.lang = &out, "en"
		a.sayNoChanges(&upRun{aim: tt.aim, sess: &session{view: &cluster.View{Cluster: c, Errs: tt.errs}}})
		if out.String() != tt.want {
			t.Errorf("%s: %q", name, &out)
		}
	}
}

func TestThePhasesHaveOneNameAndTheirOlderOnes(t *testing.T) {
	got, err := phaseNames([]string{"prepare", "base", "0", "mariadb"})
	if err != nil || strings.Join(got, " ") != "prepare prepare glusterfs mariadb" {
		t.Errorf("%v, %v", got, err)
	}
}

func TestNoHeadToLoseIsSaidInWords(t *testing.T) {
	s := cluster.Survival{Services: []service.Survival{{Service: "redis"}}, Weakest: []string{"redis"}}
	for lang, want := range map[string]string{"en": "can lose no head at once, no head one after another", "ko": "헤드를 한 대도 잃으면 안 됩니다"} {
		a := newApp()
		a.lang = lang
		if got := a.sentence(s); got != want {
			t.Errorf("%s: %s", lang, got)
		}
	}
}

func TestInitIsQuietWhenItIsTold(t *testing.T) {
	dir := t.TempDir()
	if got := tell(t, dir, "init", "-q"); got.code != 0 || got.out+got.errOut != "" {
		t.Errorf("%+v", got)
	}
}
