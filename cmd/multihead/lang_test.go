package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// A translation whose English is said nowhere is dead; one whose verbs differ
// would print nonsense.
func TestEveryTranslationIsUsedAndFits(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var code strings.Builder
	for _, f := range files {
		if f == "lang.go" || strings.HasSuffix(f, "_test.go") {
			continue
		}
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		code.Write(data)
	}
	for en, ko := range koreanTexts() {
		if !strings.Contains(code.String(), strconv.Quote(en)) {
			t.Errorf("nobody says %q", en)
		}
		if strings.Count(en, "%") != strings.Count(ko, "%") {
			t.Errorf("%q and %q take different values", en, ko)
		}
	}
}

func TestTheLanguageIsTheFlagsAndThenTheLocales(t *testing.T) {
	for _, tt := range []struct {
		flag, locale string
		korean       bool
	}{
		{"", "ko_KR.UTF-8", true}, {"", "en_US.UTF-8", false}, {"", "C", false},
		{"en", "ko_KR.UTF-8", false}, {"ko", "C", true},
	} {
		t.Setenv("LC_ALL", tt.locale)
		a := newApp()
		a.lang = tt.flag
		if got := a.tr("Nothing was changed.") != "Nothing was changed."; got != tt.korean {
			t.Errorf("--lang %q in %s: Korean is %v", tt.flag, tt.locale, got)
		}
	}
}
