package redis

import (
	"bytes"
	"context"
	"crypto/sha256" // what the server itself keeps of a password
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
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
	for _, v := range s.allVoters() {
		if v.answer == running {
			return plan.Phase{}, refusal("Leave redis.cluster.password as it was; the other passwords can be rotated without it.",
				"the sentinels' own password cannot be changed while they run, so this release does not rotate that of a Redis with sentinels")
		}
	}
	return s.onEach("accept", func(i instance) plan.Action { return s.accept(i, passwordHash(then)) })
}

// Retire implements service.Rotator.
func (s *State) Retire() (plan.Phase, error) {
	if s.wanted.conf.Password.IsZero() {
		return plan.Phase{}, nil
	}
	return s.onEach("retire", func(i instance) plan.Action { return s.retire(i) })
}

func (s *State) allVoters() []voter {
	out := slices.Clone(s.witnesses)
	for _, h := range s.heads {
		out = append(out, h.voter)
	}
	return out
}

// onEach is a step on every server. One that does not answer would miss it.
func (s *State) onEach(id string, action func(instance) plan.Action) (plan.Phase, error) {
	var ph plan.Phase
	var errs []error
	stage := plan.Stage{Name: "servers"}
	for _, h := range s.heads {
		for _, sv := range h.servers {
			if sv.answer != running {
				why := sv.why
				if why == "" {
					why = "it does not run"
				}
				errs = append(errs, refusal("Bring it back first: multihead status, multihead up.", "%s: %s", sv.at, why))
				continue
			}
			stage.Steps = append(stage.Steps, plan.Step{ID: fmt.Sprintf("redis.%d.%s", sv.at.Port, id), Host: h.name, Action: action(sv.at)})
		}
	}
	ph.Stages = []plan.Stage{stage}
	return ph, errors.Join(errs...)
}

// accept gives the default user one more password.
func (s *State) accept(i instance, hash string) plan.Action {
	password := s.wanted.conf.Password
	return plan.Func{
		What: fmt.Sprintf("port %d accepts the new password beside those in use", i.Port),
		Kind: plan.Change,
		Satisfied: func(ctx context.Context, h host.Reader) (bool, error) {
			return onServer(ctx, h, i, password, func(c *conn) (bool, error) {
				live, err := c.passwords()
				if err != nil {
					return false, err
				}
				kept, err := writtenDown(ctx, h, i)
				return slices.Contains(live, hash) && slices.Contains(kept, hash), err
			})
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			if err := setUser(ctx, h, i, password, "#"+hash); err != nil {
				return nil, err
			}
			return plan.Func{What: fmt.Sprintf("port %d does not accept the new password", i.Port), Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
				return nil, setUser(ctx, h, i, password, "!"+hash)
			}}, nil
		},
	}
}

// retire leaves the default user the file's password alone.
func (s *State) retire(i instance) plan.Action {
	password := s.wanted.conf.Password
	hash := passwordHash(password)
	return plan.Func{
		What: fmt.Sprintf("port %d accepts the password of the file alone", i.Port),
		Kind: plan.Change,
		Satisfied: func(ctx context.Context, h host.Reader) (bool, error) {
			return onServer(ctx, h, i, password, func(c *conn) (bool, error) {
				live, err := c.passwords()
				if err != nil {
					return false, err
				}
				kept, err := writtenDown(ctx, h, i)
				other := func(p string) bool { return p != hash }
				return !slices.ContainsFunc(live, other) && !slices.ContainsFunc(kept, other), err
			})
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			c, err := reach(ctx, h, i, password.Reveal())
			if err != nil {
				return nil, err
			}
			live, err := c.passwords()
			c.close()
			if err != nil {
				return nil, err
			}
			if !slices.Contains(live, hash) {
				return nil, fmt.Errorf("%s does not accept the password of the file: nothing is taken from it", i)
			}
			var back []string
			for _, p := range live {
				back = append(back, "#"+p)
			}
			if err := setUser(ctx, h, i, password, "resetpass", "#"+hash); err != nil {
				return nil, err
			}
			return plan.Func{What: fmt.Sprintf("port %d accepts the passwords before as well", i.Port), Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
				return nil, setUser(ctx, h, i, password, back...)
			}}, nil
		},
	}
}

// setUser changes the default user of a server and has it written down.
func setUser(ctx context.Context, h host.Reader, i instance, password config.Secret, rules ...string) error {
	c, err := reach(ctx, h, i, password.Reveal())
	if err != nil {
		return err
	}
	defer c.close()
	_, err = c.all(askLimit, append([]string{"ACL", "SETUSER", "default"}, rules...), []string{"CONFIG", "REWRITE"})
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
func writtenDown(ctx context.Context, r host.Reader, i instance) ([]string, error) {
	data, err := r.ReadFile(ctx, i.StateFile())
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
