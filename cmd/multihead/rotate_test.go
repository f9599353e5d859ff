package main

import (
	"testing"

	"multihead/internal/config"
)

// What the cluster uses is the file with the agents' passwords, and nothing else of
// theirs: a port that was changed in the file stays the file's.
func TestThePasswordsInUseComeFromTheAgents(t *testing.T) {
	file, agents := &config.Cluster{}, &config.Cluster{}
	for c, p := range map[*config.Cluster]string{file: "new", agents: "old"} {
		c.Database.MariaDB.RootPassword = config.NewSecret("root-" + p)
		c.Database.MariaDB.Databases = []config.DatabaseSpec{{Name: "a", User: "u", Password: config.NewSecret("a-" + p)}}
		c.Redis.Cluster.Password = config.NewSecret("redis-" + p)
		c.Redis.Cluster.Port = len(p)
	}
	agents.Redis.Cluster.Port = 1
	file.Database.MariaDB.Databases = append(file.Database.MariaDB.Databases, config.DatabaseSpec{Name: "b", User: "u", Password: config.NewSecret("b-new")})
	got := withPasswordsOf(file, agents)
	dbs := got.Database.MariaDB.Databases
	if samePasswords(file, got) || got.Redis.Cluster.Port != 3 || got.Redis.Cluster.Password.Reveal() != "redis-old" || len(dbs) != 2 ||
		dbs[0].Password.Reveal() != "a-old" || dbs[1].Password.Reveal() != "b-new" || got.Database.MariaDB.RootPassword.Reveal() != "root-old" {
		t.Error("not what the agents have")
	}
	if file.Database.MariaDB.Databases[0].Password.Reveal() != "a-new" {
		t.Error("the file was changed")
	}
	if !samePasswords(file, withPasswordsOf(file, file)) {
		t.Error("a file differs from itself")
	}
}
