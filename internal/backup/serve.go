package backup

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// offerUnit runs while a head offers its repository.
const offerUnit = "multihead-backup-offer.service"

// offerLimit ends an offer that nobody ended.
const offerLimit = 12 * time.Hour

// offer starts a unit that lets the other heads read this head's repository.
func (w Worker) offer(ctx context.Context, j Job) (Result, error) {
	if _, err := w.drop(ctx, j); err != nil { // one that was left
		return Result{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return Result{}, err
	}
	cmd := exec.CommandContext(ctx, "systemd-run", "--quiet", "--collect", "--unit="+offerUnit, "--service-type=notify",
		"--property=RuntimeMaxSec="+strconv.Itoa(int(offerLimit.Seconds())), "--property=Nice=10", "--property=MemoryMax=256M",
		"--property=ProtectSystem=strict", "--property=ProtectHome=yes", "--property=NoNewPrivileges=yes",
		self, "backup-work", "--offer", j.Root, "--address", j.Address, "--allow", strings.Join(j.Allow, ","))
	cmd.Env = environment()
	_, err = output(cmd)
	return Result{}, err
}

// drop ends an offer.
func (w Worker) drop(ctx context.Context, _ Job) (Result, error) {
	cmd := exec.CommandContext(ctx, "systemctl", "stop", offerUnit)
	cmd.Env = environment()
	if _, err := output(cmd); err != nil && !strings.Contains(err.Error(), "not loaded") {
		return Result{}, err
	}
	return Result{}, nil
}

// pull copies a snapshot from the head that made it into this head's repository.
func (w Worker) pull(ctx context.Context, j Job) (Result, error) {
	if j.Meta == nil {
		return Result{}, errors.New("the job does not say what the snapshot is")
	}
	l := Layout{j.Root}
	r := w.restic(j)
	for _, d := range []string{l.Root, filepath.Dir(l.Snapshot(j.ID))} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return Result{}, err
		}
	}
	from := []string{"--from-repo", "rest:https://" + j.Address + "/", "--from-password-file", w.Key,
		"--cacert", w.PKI[1], "--tls-client-cert", w.PKI[0]}
	if err := w.initRepository(ctx, r, append([]string{"--copy-chunker-params"}, from...)...); err != nil {
		return Result{}, err
	}
	if err := r.unlock(ctx); err != nil {
		return Result{}, err
	}
	if _, err := r.run(ctx, append(append([]string{"copy", "--no-lock"}, from...), "--tag", tagPrefix+j.ID)...); err != nil {
		return Result{}, err
	}
	if err := w.describe(ctx, j, *j.Meta); err != nil {
		return Result{}, err
	}
	return w.verify(ctx, j)
}

// Offer serves a repository to the heads that are allowed, to be read and no
// more, until ctx is done. ready is called once it listens.
func Offer(ctx context.Context, repository, address string, allow []string, conf *tls.Config, ready func()) error {
	conf = conf.Clone()
	conf.NextProtos = []string{"http/1.1"}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: repositoryHandler(repository, allow), ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	ready()
	if err := srv.Serve(tls.NewListener(ln, conf)); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// ServerTLS is how a head is known to the others: by what agents know each other
// by.
func ServerTLS(pair, authority string) (*tls.Config, error) {
	own, err := tls.LoadX509KeyPair(pair, pair)
	if err != nil {
		return nil, fmt.Errorf("this head's certificate: %w", err)
	}
	ca, err := os.ReadFile(authority)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("%s has no certificate in it", authority)
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{own}, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert}, nil
}

// What a repository consists of, and how restic names its files.
var (
	repositoryTypes = []string{"data", "index", "keys", "locks", "snapshots"}
	repositoryName  = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// restV2 is what restic's REST protocol calls a list with sizes.
const restV2 = "application/vnd.x.restic.rest.v2"

// repositoryHandler answers restic's REST protocol as far as it reads.
func repositoryHandler(dir string, allow []string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /config", func(rw http.ResponseWriter, r *http.Request) { sendFile(rw, r, filepath.Join(dir, "config")) })
	mux.HandleFunc("GET /{type}/{$}", func(rw http.ResponseWriter, r *http.Request) {
		if !slices.Contains(repositoryTypes, r.PathValue("type")) {
			http.NotFound(rw, r)
			return
		}
		list, err := listFiles(filepath.Join(dir, r.PathValue("type")))
		if err != nil {
			http.Error(rw, "cannot be listed", http.StatusInternalServerError)
			return
		}
		rw.Header().Set("Content-Type", restV2)
		_ = json.NewEncoder(rw).Encode(list) // the asker may have gone
	})
	mux.HandleFunc("GET /{type}/{name}", func(rw http.ResponseWriter, r *http.Request) {
		kind, n := r.PathValue("type"), r.PathValue("name")
		if !slices.Contains(repositoryTypes, kind) || !repositoryName.MatchString(n) {
			http.NotFound(rw, r)
			return
		}
		file := filepath.Join(dir, kind, n)
		if kind == "data" {
			file = filepath.Join(dir, kind, n[:2], n)
		}
		sendFile(rw, r, file)
	})
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 || !slices.Contains(allow, r.TLS.PeerCertificates[0].Subject.CommonName) {
			http.Error(rw, "heads of this cluster only", http.StatusForbidden)
			return
		}
		mux.ServeHTTP(rw, r)
	})
}

func sendFile(rw http.ResponseWriter, r *http.Request, file string) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		http.NotFound(rw, r)
		return
	}
	if err != nil {
		http.Error(rw, "cannot be read", http.StatusInternalServerError)
		return
	}
	defer f.Close()
	rw.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(rw, r, "", time.Time{}, f)
}

type listed struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
}

func listFiles(dir string) ([]listed, error) {
	out := []listed{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.Type().IsRegular() && repositoryName.MatchString(d.Name()) {
			info, err := d.Info()
			if err != nil {
				return err
			}
			out = append(out, listed{d.Name(), info.Size()})
		}
		return nil
	})
	return out, err
}

// addressOf is what the other heads call a head's offer.
func addressOf(ip string) string {
	return (&url.URL{Host: net.JoinHostPort(ip, strconv.Itoa(Port))}).Host
}
