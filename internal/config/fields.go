package config

import (
	"reflect"
	"strconv"
	"strings"
)

// field is one key of a struct, read from its tags.
type field struct {
	key     string
	aliases []string
	index   []int
	doc     string
	enum    []string
	min     *int64
	max     *int64
	later   string
	typ     reflect.Type
}

// structInfo is the keys of one struct in the order of the file.
type structInfo struct {
	fields []field
	byKey  map[string]*field
	rest   []int // index of the field that collects further keys, or nil
}

// fieldTable reads struct tags, each type once.
type fieldTable map[reflect.Type]*structInfo

func (ft fieldTable) of(t reflect.Type) *structInfo {
	if info := ft[t]; info != nil {
		return info
	}
	info := &structInfo{byKey: make(map[string]*field)}
	info.add(t, nil)
	for i := range info.fields {
		f := &info.fields[i]
		info.byKey[f.key] = f
		for _, a := range f.aliases {
			info.byKey[a] = f
		}
	}
	ft[t] = info
	return info
}

func (info *structInfo) add(t reflect.Type, prefix []int) {
	for i := range t.NumField() {
		sf := t.Field(i)
		tag, ok := sf.Tag.Lookup("yaml")
		if !ok {
			continue
		}
		index := append(append([]int(nil), prefix...), i)
		parts := strings.Split(tag, ",")
		f := field{
			key: parts[0], index: index, doc: sf.Tag.Get("doc"), typ: sf.Type,
			min: bound(sf.Tag, "min"), max: bound(sf.Tag, "max"),
			later: sf.Tag.Get("later"),
		}
		if e := sf.Tag.Get("enum"); e != "" {
			f.enum = strings.Split(e, "|")
		}
		inline := false
		for _, opt := range parts[1:] {
			switch {
			case opt == "inline":
				inline = true
				info.add(sf.Type, index)
			case opt == "rest":
				inline = true
				info.rest = index
			case strings.HasPrefix(opt, "alias="):
				f.aliases = append(f.aliases, strings.TrimPrefix(opt, "alias="))
			}
		}
		if !inline {
			info.fields = append(info.fields, f)
		}
	}
}

func bound(tag reflect.StructTag, name string) *int64 {
	n, err := strconv.ParseInt(tag.Get(name), 10, 64)
	if err != nil {
		return nil
	}
	return &n
}
