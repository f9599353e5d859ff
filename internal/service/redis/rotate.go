package redis

import (
	"bytes"
	"context"
	"crypto/sha256" // what the server itself keeps of a password
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

var _ service.Rotator = (*State)(nil)

// passwordHash is what the server keeps of a password: it is given and shown as
// that, so that no command has the password itself.
func passwordHash(password config.Secret) string {
	sum := sha256.Sum256([]byte(password.Reveal()))
	return hex.EncodeToString(sum[:])
}

// Accept implements service.Rotator: the default user may have several passwords
// (Redis 6 and later). Every server is told, and writes it down, so that one that
// starts anew meanwhile takes both as well.
func (s *State) Accept(next *config.Cluster) (plan.Phase, error) {
	now, then := s.wanted.conf.Password, next.Redis.Cluster.Password
	if now == then {
		return plan.Phase{}, nil
	}
	if now.IsZero() || then.IsZero() {
		return plan.Phase{}, refusal("Leave redis.cluster.password as it was.",
			"a password where there was none, or none where there was one, is no rotation: all clients would have to change in the same moment")
	}
	return s.onEach("accept", func(t taker) plan.Action { return s.accept(t, passwordHash(then)) })
}

// Retire implements service.Rotator.
func (s *State) Retire() (plan.Phase, error) {
	if s.wanted.conf.Password.IsZero() {
		return plan.Phase{}, nil
	}
	return s.onEach("retire", s.retire)
}

// taker is a server or a sentinel: both know users, and write down what they know.
type taker struct {
	what  string // "port 6379"
	file  string // where it writes it down
	write []string
	reach func(ctx context.Context, r host.Reader, password string) (*conn, error)
}

func serverTaker(i instance) taker {
	return taker{fmt.Sprintf("port %d", i.Port), i.StateFile(), []string{"CONFIG", "REWRITE"},
		func(ctx context.Context, r host.Reader, password string) (*conn, error) {
			return reach(ctx, r, i, password)
		}}
}

func sentinelTaker(port int) taker {
	at := net.JoinHostPort("127.0.0.1", strconv.Itoa(sentinelPort(port)))
	return taker{"the sentinel", sentinelFile(sentinelPort(port)), []string{"SENTINEL", "FLUSHCONFIG"},
		func(ctx context.Context, r host.Reader, password string) (*conn, error) {
			return connect(ctx, r, at, password)
		}}
}

// onEach is a step on every server, and on every sentinel where there are any. One
// that does not answer would miss it.
func (s *State) onEach(id string, action func(taker) plan.Action) (plan.Phase, error) {
	var ph plan.Phase
	var errs []error
	stage := plan.Stage{Name: "servers"}
	away := func(who, why string) {
		if why == "" {
			why = "it does not run"
		}
		errs = append(errs, refusal("Bring it back first: multihead status, multihead up.", "%s: %s", who, why))
	}
	for _, h := range s.heads {
		for _, sv := range h.servers {
			if sv.answer == absent && !sv.managed {
				continue // a group with sentinels has one server on a head
			}
			if sv.answer != running {
				away(sv.at.String(), sv.why)
				continue
			}
			stage.Steps = append(stage.Steps, plan.Step{ID: fmt.Sprintf("redis.%d.%s", sv.at.Port, id), Host: h.name, Action: action(serverTaker(sv.at))})
		}
	}
	if voters := s.allVoters(); slices.ContainsFunc(voters, func(v voter) bool { return v.answer == running }) {
		for _, v := range voters {
			if v.answer != running {
				away("the sentinel on "+v.name, v.why)
				continue
			}
			stage.Steps = append(stage.Steps, plan.Step{ID: "redis.sentinel." + id, Host: v.name, Action: action(sentinelTaker(s.wanted.port))})
		}
	}
	ph.Stages = []plan.Stage{stage}
	return ph, errors.Join(errs...)
}

func (s *State) allVoters() []voter {
	var out []voter
	for _, h := range s.heads {
		out = append(out, h.voter)
	}
	return append(out, s.witnesses...)
}

// accept gives the default user one more password.
func (s *State) accept(t taker, hash string) plan.Action {
	password := s.wanted.conf.Password
	return plan.Func{
		What:      t.what + " accepts the new password beside those in use",
		Kind:      plan.Change,
		Satisfied: t.has(password, func(hashes []string) bool { return slices.Contains(hashes, hash) }),
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			if err := t.setUser(ctx, h, password, "#"+hash); err != nil {
				return nil, err
			}
			return plan.Func{What: t.what + " does not accept the new password", Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
				return nil, t.setUser(ctx, h, password, "!"+hash)
			}}, nil
		},
	}
}

// retire leaves the default user the file's password alone.
func (s *State) retire(t taker) plan.Action {
	password := s.wanted.conf.Password
	hash := passwordHash(password)
	return plan.Func{
		What: t.what + " accepts the password of the file alone",
		Kind: plan.Change,
		Satisfied: t.has(password, func(hashes []string) bool {
			return !slices.ContainsFunc(hashes, func(p string) bool { return p != hash })
		}),
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			c, err := t.reach(ctx, h, password.Reveal())
			if err != nil {
				return nil, err
			}
			live, err := c.passwords()
			c.close()
			if err != nil {
				return nil, err
			}
			if !slices.Contains(live, hash) {
				return nil, fmt.Errorf("%s: %s does not accept the password of the file: nothing is taken from it", h.Name(), t.what)
			}
			var back []string
			for _, p := range live {
				back = append(back, "#"+p)
			}
			if err := t.setUser(ctx, h, password, "resetpass", "#"+hash); err != nil {
				return nil, err
			}
			return plan.Func{What: t.what + " accepts the passwords before as well", Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
				return nil, t.setUser(ctx, h, password, back...)
			}}, nil
		},
	}
}

// has asks whether the passwords are so: those in use, and those that its file has.
func (t taker) has(password config.Secret, so func(hashes []string) bool) func(context.Context, host.Reader) (bool, error) {
	return func(ctx context.Context, h host.Reader) (bool, error) {
		return t.ask(ctx, h, password, func(c *conn) (bool, error) {
			live, err := c.passwords()
			if err != nil {
				return false, err
			}
			kept, err := t.writtenDown(ctx, h)
			return so(live) && so(kept), err
		})
	}
}

// ask asks one that runs.
func (t taker) ask(ctx context.Context, r host.Reader, password config.Secret, ask func(*conn) (bool, error)) (bool, error) {
	c, err := t.reach(ctx, r, password.Reveal())
	if err != nil {
		return false, err
	}
	defer c.close()
	return ask(c)
}

// setUser changes the default user of a server and has it written down.
func (t taker) setUser(ctx context.Context, h host.Reader, password config.Secret, rules ...string) error {
	c, err := t.reach(ctx, h, password.Reveal())
	if err != nil {
		return err
	}
	defer c.close()
	_, err = c.all(askLimit, append([]string{"ACL", "SETUSER", "default"}, rules...), t.write)
	return err
}

// passwords asks for the hashes of those that the default user may use.
func (c *conn) passwords() ([]string, error) {
	v, err := c.do("ACL", "GETUSER", "default")
	if err != nil {
		return nil, err
	}
	list, _ := v.([]any)
	for k := 0; k+1 < len(list); k += 2 {
		if name, err := text(list[k]); err == nil && name == "passwords" {
			return words(list[k+1])
		}
	}
	return nil, fmt.Errorf("redis at %s: ACL GETUSER: %w", c.addr, errProtocol)
}

var hashWord = regexp.MustCompile(`#([0-9a-f]{64})\b`)

// writtenDown are the hashes that a server's own file gives the default user; they
// outweigh requirepass when it starts.
func (t taker) writtenDown(ctx context.Context, r host.Reader) ([]string, error) {
	data, err := r.ReadFile(ctx, t.file)
	if err != nil {
		return nil, err
	}
	return hashesIn(data), nil
}

func hashesIn(file []byte) []string {
	var out []string
	for line := range bytes.Lines(file) {
		if f := strings.Fields(string(line)); len(f) < 2 || f[0] != "user" || f[1] != "default" {
			continue
		}
		for _, m := range hashWord.FindAllSubmatch(line, -1) {
			out = append(out, string(m[1]))
		}
	}
	return out
}

// setAll puts settings in force. Setting requirepass takes every other password from
// the default user: where the new one is accepted already, beside others, a rotation
// is under way, and clients may still use those; so both are done in one go.
func (c *conn) setAll(set []string, requirepass *config.Secret) error {
	if requirepass != nil {
		if live, err := c.passwords(); err == nil && len(live) > 1 && slices.Contains(live, passwordHash(*requirepass)) {
			keep := []string{"ACL", "SETUSER", "default"}
			for _, p := range live {
				keep = append(keep, "#"+p)
			}
			out, err := c.all(askLimit, []string{"MULTI"}, set, keep, []string{"EXEC"})
			if err != nil {
				return err
			}
			answers, ok := out[3].([]any)
			if !ok {
				return fmt.Errorf("redis at %s: EXEC: %w", c.addr, errProtocol)
			}
			for _, a := range answers {
				if e, ok := a.(serverError); ok {
					return fmt.Errorf("redis at %s: CONFIG SET: %w", c.addr, e)
				}
			}
			return nil
		}
	}
	_, err := c.do(set...)
	return err
}

// sentinelPasswords makes a running sentinel prove itself to the servers, and to the
// other sentinels, by the file's password. What it does so by cannot be asked of it
// and stands in its file.
func sentinelPasswords(w wanted) plan.Action {
	t := sentinelTaker(w.port)
	password := w.conf.Password
	return plan.Func{
		What: "have the sentinel use the password of the file",
		Kind: plan.Change,
		Satisfied: func(ctx context.Context, r host.Reader) (bool, error) {
			if password.IsZero() {
				return true, nil
			}
			data, err := r.ReadFile(ctx, t.file)
			if errors.Is(err, fs.ErrNotExist) {
				return false, nil
			}
			return usesPassword(data, password), err
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			c, err := t.reach(ctx, h, password.Reveal())
			if err != nil {
				return nil, err
			}
			defer c.close()
			data, err := h.ReadFile(ctx, t.file)
			if err != nil || usesPassword(data, password) { // one that was made a moment ago
				return nil, err
			}
			_, err = c.all(askLimit, []string{"SENTINEL", "CONFIG", "SET", "sentinel-pass", password.Reveal()},
				[]string{"SENTINEL", "SET", sentinelGroup, "auth-pass", password.Reveal()}, t.write)
			return nil, err
		},
	}
}

// usesPassword says whether a sentinel's file has it prove itself by a password. Ours
// quote it; what the sentinel writes does not.
func usesPassword(file []byte, password config.Secret) bool {
	found := 0
	for line := range strings.Lines(string(file)) {
		line = strings.TrimSpace(line)
		for _, key := range []string{"sentinel sentinel-pass ", "sentinel auth-pass " + sentinelGroup + " "} {
			word, ok := strings.CutPrefix(line, key)
			if !ok {
				continue
			}
			if plain, err := strconv.Unquote(word); err == nil {
				word = plain
			}
			if word != password.Reveal() {
				return false
			}
			found++
		}
	}
	return found == 2
}
