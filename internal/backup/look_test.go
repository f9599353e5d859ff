package backup

import (
	"archive/tar"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"multihead/internal/config"
	"multihead/internal/service"
)

func stored(id string, verified bool, bad string) Stored {
	at, err := time.Parse(IDFormat, id)
	if err != nil {
		panic(err)
	}
	s := Stored{Metadata: Metadata{Version: 1, ID: id, Time: at, Staging: "/data/b/staging"}, Bad: bad}
	if verified {
		s.Verified = &at
	}
	return s
}

func TestASnapshotIsWhereItIsWhole(t *testing.T) {
	list := Merge(map[string]Held{
		"s1": {Stored: []Stored{stored("20260101_020000", true, ""), stored("20260102_020000", true, "")}},
		"s2": {Stored: []Stored{stored("20260101_020000", true, "x is missing"), stored("20260102_020000", false, "")}},
		"s3": {Err: errors.New("gone")},
	})
	if len(list) != 2 || list[0].ID != "20260101_020000" {
		t.Fatalf("%+v", list)
	}
	if got := fmt.Sprint(list[0].On, list[0].Bad, list[0].Verified.IsZero()); got != "[s1] map[s2:x is missing] false" {
		t.Error(got)
	}
	if got := fmt.Sprint(list[1].On, list[1].Bad, list[1].Verified.IsZero()); got != "[s1 s2] map[] true" {
		t.Error(got, "a copy that was never read counts as verified")
	}
}

func TestPickTakesTheNewestThatIsWholeSomewhere(t *testing.T) {
	list := Merge(map[string]Held{"s1": {Stored: []Stored{stored("20260101_020000", true, ""), stored("20260102_020000", true, "damaged")}}})
	if s, err := Pick(list, ""); err != nil || s.ID != "20260101_020000" {
		t.Error(s.ID, err)
	}
	for _, id := range []string{"20260102_020000", "20250101_000000"} {
		var r *service.Refusal
		if _, err := Pick(list, id); !errors.As(err, &r) {
			t.Errorf("%s: %v", id, err)
		}
	}
	if _, err := Pick(nil, ""); err == nil {
		t.Error("nothing is picked of nothing")
	}
}

func TestADamagedCopyTakesNothingsPlace(t *testing.T) {
	held := map[string]Held{"s1": {Stored: []Stored{
		stored("20260101_020000", true, ""), stored("20260102_020000", true, ""), stored("20260102_140000", true, "damaged"), stored("20260103_020000", false, "")}}}
	got := Excess(held, config.BackupRetention{Daily: 1}, time.UTC)
	if want := map[string][]string{"s1": {"20260101_020000"}}; !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func restoreOf(existing ...string) Restore {
	c := &config.Cluster{}
	c.SharedStorage.Backup.Path = "/data/b"
	return Restore{Cluster: c, Head: "s2", Stamp: "20260103_020000", Existing: existing, Heads: []string{"s1", "s2"},
		Snapshot: Snapshot{Metadata: Metadata{ID: "20260102_020000", Software: map[string]string{"mariadb": "11.8.6"},
			Databases: []Database{{Name: "a", Rows: "databases/a.sql", Objects: "databases/a.o"}, {Name: "b", Rows: "databases/b.sql", Objects: "databases/b.o"}}}}}
}

func stepIDs(t *testing.T, r Restore) string {
	t.Helper()
	p, err := r.Plan()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, s := range p.Steps {
		out = append(out, strings.TrimPrefix(s.ID, "backup.")+"@"+s.Host)
	}
	return strings.Join(out, " ")
}

func TestWhatIsRestored(t *testing.T) {
	r := restoreOf("a")
	if got, want := stepIDs(t, r), "extract@s2 load.b@s2 swap.b@s2 check@s1 check@s2 tidy@s2"; got != want {
		t.Errorf("what is missing: %s", got)
	}
	if len(r.Replaces()) != 0 || fmt.Sprint(r.Left()) != "[a]" {
		t.Error(r.Replaces(), r.Left())
	}
	r.Only = OnlyDatabase
	if got, want := stepIDs(t, r), "extract@s2 load.a@s2 load.b@s2 swap.a@s2 swap.b@s2 check@s1 check@s2 tidy@s2"; got != want {
		t.Errorf("everything: %s", got)
	}
	if fmt.Sprint(r.Replaces()) != "[a]" {
		t.Error(r.Replaces())
	}
	r.Snapshot.Databases[1].Views = []string{"v"}
	if got, want := stepIDs(t, r), "extract@s2 load.a@s2 load.b@s2 swap.a@s2 swap.b@s2 views@s2 check@s1 check@s2 tidy@s2"; got != want {
		t.Errorf("one has views: %s", got)
	}
	r.Named = []string{"a"}
	if got, want := stepIDs(t, r), "extract@s2 load.a@s2 swap.a@s2 check@s1 check@s2 tidy@s2"; got != want {
		t.Errorf("one: %s", got)
	}
	if got := stepIDs(t, restoreOf("a", "b")); got != "" {
		t.Errorf("nothing is missing, and there is to do: %s", got)
	}
}

func TestWhatIsNotRestored(t *testing.T) {
	newer := restoreOf()
	newer.Running = map[string]string{"mariadb": "10.11.14"}
	unknown := restoreOf()
	unknown.Named = []string{"c"}
	half := restoreOf("a", "mh_new_a")
	for name, r := range map[string]Restore{"one that a restore which was cut off has brought back by halves": half, "made by a newer server": newer, "a database that it does not have": unknown} {
		var refusal *service.Refusal
		if _, err := r.Plan(); !errors.As(err, &refusal) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := half.Plan(); err == nil || !strings.Contains(err.Error(), "--database a,b") {
		t.Errorf("it does not say that both come back together: %v", err)
	}
	half.Named = []string{"b"}
	if _, err := half.Plan(); err != nil {
		t.Errorf("another one than that by halves: %v", err)
	}
	half.Only, half.Named = OnlyDatabase, []string{"a"}
	if got := stepIDs(t, half); !strings.Contains(got, "swap.a") {
		t.Errorf("the one by halves, by its name: %s", got)
	}
	same := restoreOf()
	same.Running = map[string]string{"mariadb": "11.8.2"}
	if _, err := same.Plan(); err != nil {
		t.Error(err)
	}
}

func TestMetadataThatLeadsElsewhereIsRefused(t *testing.T) {
	good := stored("20260101_020000", true, "")
	for name, spoil := range map[string]func(*Stored){
		"another version": func(s *Stored) { s.Version = 2 },
		"no id":           func(s *Stored) { s.ID = "../../etc" },
		"a path upwards":  func(s *Stored) { s.Files = []File{{Path: "../x"}} },
		"an absolute one": func(s *Stored) { s.Files = []File{{Path: "/etc/passwd"}} },
		"no staging":      func(s *Stored) { s.Staging = "" },
	} {
		s := good
		spoil(&s)
		data, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseStored(data, good.ID); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func FuzzParseStored(f *testing.F) {
	f.Add([]byte(`{"version":1,"id":"20260101_020000","staging":"/s","files":[{"path":"a"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := parseStored(data, "20260101_020000")
		for _, file := range s.Files {
			if err == nil && !strings.HasPrefix(filepath.Join("/r", file.Path), "/r/") {
				t.Errorf("%q leads elsewhere", file.Path)
			}
		}
	})
}

func TestATarThatLeadsElsewhereIsRefused(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, n := range []string{"data/b/staging/x", "data/b/staging/../../../etc/passwd"} {
		if err := w.WriteHeader(&tar.Header{Name: n, Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	err := eachFile(&b, "/data/b/staging", func(rel string, _ io.Reader) error { got = append(got, rel); return nil })
	if err == nil || fmt.Sprint(got) != "[x]" {
		t.Errorf("%v %v", got, err)
	}
}

// asked is one request to an offered repository.
func asked(t *testing.T, h http.Handler, method, path, who string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, path, nil)
	if who != "" {
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Subject: pkix.Name{CommonName: who}}}}
	}
	rw := httptest.NewRecorder()
	h.ServeHTTP(rw, r)
	return rw
}

func TestAnOfferIsReadByHeadsAndWrittenByNobody(t *testing.T) {
	dir := t.TempDir()
	n := strings.Repeat("ab", 32)
	for p, text := range map[string]string{"config": "c", "data/ab/" + n: "0123456789", "keys/" + n: "k", "secret": "s"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, p)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, p), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h := repositoryHandler(dir, []string{"s2"})
	for _, tt := range []struct {
		method, path, who string
		code              int
		body              string
	}{
		{"GET", "/config", "s2", 200, "c"},
		{"GET", "/data/" + n, "s2", 200, "0123456789"},
		{"GET", "/data/", "s2", 200, `[{"name":"` + n + `","size":10}]` + "\n"},
		{"GET", "/config", "witness", 403, ""},
		{"GET", "/config", "", 403, ""},
		{"GET", "/secret", "s2", 307, ""},
		{"GET", "/data/ab", "s2", 404, ""},
		{"GET", "/data/..%2f..%2fsecret", "s2", 404, ""},
		{"POST", "/data/" + n, "s2", 405, ""},
		{"DELETE", "/keys/" + n, "s2", 405, ""},
	} {
		rw := asked(t, h, tt.method, tt.path, tt.who)
		if rw.Code != tt.code || tt.body != "" && rw.Body.String() != tt.body {
			t.Errorf("%s %s by %q: %d %q, want %d %q", tt.method, tt.path, tt.who, rw.Code, rw.Body, tt.code, tt.body)
		}
	}
}

func TestWhatNeedsEachOtherIsMadeRoundByRound(t *testing.T) {
	list := []Database{{Name: "a"}, {Name: "b"}, {Name: "c"}}
	needs := map[string]string{"a": "b", "b": "c"}
	made := map[string]bool{}
	do := func(d Database) error {
		if n := needs[d.Name]; n != "" && !made[n] {
			return errors.New(d.Name + " needs " + n)
		}
		made[d.Name] = true
		return nil
	}
	if err := untilAll(list, do); err != nil || len(made) != 3 {
		t.Errorf("%v, %v", made, err)
	}
	made, needs["c"] = map[string]bool{}, "gone"
	if err := untilAll(list, do); err == nil || len(made) != 0 || !strings.Contains(err.Error(), "c needs gone") {
		t.Errorf("%v, %v", made, err)
	}
}
