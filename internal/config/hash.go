package config

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
)

// Hash returns a hash of everything the cluster says, as hexadecimal digits.
// Two files with the same hash ask for the same cluster, however they are
// written. Passwords are not in it, so it may be logged and shown; a changed
// password is seen by SecretsHash.
func (c *Cluster) Hash() string {
	var b bytes.Buffer
	writeJSON(&b, c.Show(false).root)
	sum := sha256.Sum256(b.Bytes())
	return hex.EncodeToString(sum[:])
}

// SecretsHash returns a keyed hash of everything the cluster says, passwords
// included, so that hosts can compare them without telling. key is a secret
// that all of them have, such as the munge key; without it the hash is of no
// use for guessing passwords.
func (c *Cluster) SecretsHash(key []byte) string {
	mac := hmac.New(sha256.New, key)
	var b bytes.Buffer
	writeJSON(&b, c.Show(true).root)
	mac.Write(b.Bytes())
	return hex.EncodeToString(mac.Sum(nil))
}
