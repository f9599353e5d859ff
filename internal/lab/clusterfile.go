package lab

import (
	_ "embed"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"text/template"
)

//go:embed cluster.yaml.tmpl
var clusterTemplate string

// ClusterOptions choose what a cluster file for the lab's hosts says.
type ClusterOptions struct {
	Hosts []string // heads, spares, compute nodes and witnesses by name; empty: all but the spares
}

// WriteClusterFile writes a cluster file for the chosen hosts. It holds the
// lab's passwords, so only root can read it.
func (l *Lab) WriteClusterFile(path string, o ClusterOptions) error {
	if _, err := l.pick(o.Hosts); err != nil {
		return err
	}
	secrets, err := l.Secrets()
	if err != nil {
		return err
	}
	text, err := renderCluster(l.clusterData(o, secrets))
	if err != nil {
		return err
	}
	return writeFile(path, text, 0o600)
}

// ensureClusterFile leaves a file that is there alone: it is the user's to
// edit.
func (l *Lab) ensureClusterFile() error {
	if _, err := os.Stat(l.ClusterFile()); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return l.WriteClusterFile(l.ClusterFile(), ClusterOptions{})
}

type clusterHost struct {
	HostPlan
	User     string
	Priority int
	Owner    bool
}

type clusterData struct {
	Name, Subnet, VIP, Bits, Key string
	Password, Offline            bool
	FenceAgent                   string // empty without fencing
	FenceIP                      string
	FencePort                    int
	Heads, Compute, Witness      []clusterHost
	ComputeNames                 string
	Secrets                      map[string]string
	SecretNames                  []string
}

func (l *Lab) clusterData(o ClusterOptions, secrets map[string]string) clusterData {
	_, bits, _ := strings.Cut(Subnet, "/")
	d := clusterData{
		Name: l.Spec.Name, Subnet: Subnet, VIP: VIP, Bits: bits, Key: l.KeyPath(),
		Offline: strings.HasPrefix(l.Spec.Image, "bare"),
	}
	if l.Spec.FenceTool != "" {
		d.FenceAgent, d.FenceIP, d.FencePort = fenceAgent, Outside, FencePort
	}
	var names []string
	for _, p := range l.Spec.hosts() {
		if len(o.Hosts) == 0 && p.Kind == Spare || len(o.Hosts) > 0 && !slices.Contains(o.Hosts, p.Name) {
			continue
		}
		h := clusterHost{HostPlan: p, User: p.Login.user()}
		d.Password = d.Password || p.Login.needsPassword()
		switch p.Kind {
		case Head, Spare: // a spare that is asked for is asked for as a head
			h.Priority, h.Owner = 100-len(d.Heads), len(d.Heads) == 0
			d.Heads = append(d.Heads, h)
		case Compute:
			names = append(names, p.Name)
			d.Compute = append(d.Compute, h)
		case Witness:
			d.Witness = append(d.Witness, h)
		}
	}
	d.ComputeNames = strings.Join(names, ",")
	d.Secrets = secrets
	for _, n := range sortedKeys(secrets) {
		if (n != "SSH_PASSWORD" || d.Password) && (n != fenceSecret || d.FenceAgent != "") {
			d.SecretNames = append(d.SecretNames, n)
		}
	}
	return d
}

func renderCluster(d clusterData) (string, error) {
	t, err := template.New("cluster").Option("missingkey=error").Parse(clusterTemplate)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	err = t.Execute(&b, d)
	return b.String(), err
}
