package gluster

import (
	"bytes"
	_ "embed"
	"fmt"
	"strings"
	"text/template"

	"multihead/internal/plan"
)

const (
	unitDir   = "/etc/systemd/system/"
	retryUnit = "multihead-mount.service"
)

// mountUnit is the name that systemd requires of the unit that mounts path:
// the path with a minus for each slash, and everything else that is not a
// letter, a digit, a colon, an underscore or a dot as \xHH.
func mountUnit(path string) string {
	parts := strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
	if len(parts) == 0 {
		return "-.mount"
	}
	var b strings.Builder
	for i, part := range parts {
		if i > 0 {
			b.WriteByte('-')
		}
		for j := range len(part) {
			c := part[j]
			plain := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == ':' || c == '_' || c == '.'
			if !plain || (c == '.' && i == 0 && j == 0) {
				fmt.Fprintf(&b, `\x%02x`, c)
				continue
			}
			b.WriteByte(c)
		}
	}
	return b.String() + ".mount"
}

//go:embed mount.tmpl
var mountText string

type mountConf struct {
	What, Where, Type, Options, Description, After string
}

//go:embed retry.tmpl
var retryText string

func renderMount(c mountConf) ([]byte, error) { return render(mountText, c) }

// renderRetry is the unit that tries the mount again at boot.
func renderRetry(where string) ([]byte, error) {
	return render(retryText, struct{ Where, Unit string }{where, mountUnit(where)})
}

func render(text string, data any) ([]byte, error) {
	t, err := template.New("unit").Option("missingkey=error").Parse(text)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, data); err != nil {
		return nil, fmt.Errorf("unit file: %w", err)
	}
	return b.Bytes(), nil
}

// mountFiles makes the mount point and the units that mount it, now and at
// every boot.
func mountFiles(hostname string, c mountConf) ([]plan.Step, error) {
	mount, err := renderMount(c)
	if err != nil {
		return nil, err
	}
	retry, err := renderRetry(c.Where)
	if err != nil {
		return nil, err
	}
	file, retryFile := unitDir+mountUnit(c.Where), unitDir+retryUnit
	step := func(id string, a plan.Action) plan.Step {
		return plan.Step{ID: "glusterfs." + id, Host: hostname, Action: a}
	}
	yes := true
	return []plan.Step{
		step("mountpoint", mountPoint{plan.Dir{Path: c.Where}}),
		step("mount-unit", plan.File{Path: file, Data: mount, Attr: root}),
		step("mount-retry-unit", plan.File{Path: retryFile, Data: retry, Attr: root}),
		step("mount-reload", reload{unit: mountUnit(c.Where), files: []string{file, retryFile}}),
		step("mount-retry", plan.Unit{Name: retryUnit, Enabled: &yes}),
	}, nil
}

// glusterMount is the mount of the volume on one head. It asks the head's own
// glusterd for the volume's layout first, where it has one, and any other
// brick's after that; the data itself then comes from all bricks.
func glusterMount(volume, where string, own string, servers []string) mountConf {
	first, others := "", []string{}
	for _, s := range servers {
		if s == own {
			first = s
		} else {
			others = append(others, s)
		}
	}
	if first == "" && len(others) > 0 {
		first, others = others[0], others[1:]
	}
	options := []string{"_netdev", "log-level=WARNING"}
	if len(others) > 0 {
		options = append(options, "backup-volfile-servers="+strings.Join(others, ":"))
	}
	return mountConf{What: first + ":/" + volume, Where: where, Type: "glusterfs", Options: strings.Join(options, ","),
		Description: "Shared volume " + volume, After: "glusterd.service"}
}
