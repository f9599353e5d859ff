package galera

import (
	"crypto/sha1" // what the server's own method uses
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
)

// methodPassword is the way of proving a password that every client knows;
// slurmdbd's library of Debian 12 comes without newer ones.
const methodPassword = "mysql_native_password"

// nativeHash is what the server keeps of a password. Accounts are made with
// it, so that no statement and no log of statements has the password itself.
func nativeHash(password string) string {
	once := sha1.Sum([]byte(password))
	twice := sha1.Sum(once[:])
	return "*" + strings.ToUpper(hex.EncodeToString(twice[:]))
}

// method is one way in which an account may prove who it is.
type method struct{ Plugin, Secret string }

// parseMethods reads how an account proves itself out of the server's own
// record (mysql.global_priv.Priv).
func parseMethods(record []byte) ([]method, error) {
	type entry struct {
		Plugin string `json:"plugin"`
		Secret string `json:"authentication_string"`
	}
	var r struct {
		entry
		Or []entry `json:"auth_or"`
	}
	if err := json.Unmarshal(record, &r); err != nil {
		return nil, err
	}
	top := method{r.Plugin, r.Secret}
	if len(r.Or) == 0 {
		return []method{top}, nil
	}
	out := make([]method, 0, len(r.Or))
	for _, e := range r.Or {
		if e == (entry{}) { // stands for the one outside the list
			out = append(out, top)
		} else {
			out = append(out, method(e))
		}
	}
	return out, nil
}

// hasMethods says whether an account has all methods that it should have.
func hasMethods(have, want []method) bool {
	for _, w := range want {
		if !slices.Contains(have, w) {
			return false
		}
	}
	return true
}
