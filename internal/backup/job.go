package backup

import "time"

// Job is what a head is told to do, on standard input: it names no password that
// the head does not have already, except where a field says so.
type Job struct {
	Op   string `json:"op"`
	ID   string `json:"id,omitempty"`
	Root string `json:"root"`

	// For store, and the description of what is stored.
	Meta *Metadata `json:"meta,omitempty"`

	// For begin: bytes that have to be free.
	Need int64 `json:"need,omitempty"`
	// For configs: path on the head → content, and what the file is besides, by head.
	Configs    map[string]map[string][]byte `json:"configs,omitempty"`
	Attributes map[string]map[string]Attr   `json:"attributes,omitempty"`
	// For redis: a server to ask, and the password, which is a secret.
	Redis    string `json:"redis,omitempty"`
	Password string `json:"password,omitempty"`
	// For slurm, and to bring it back: the state directory, whose state it is, and
	// the database of its accounting, empty for none.
	Owner        string `json:"owner,omitempty"` // the account that slurmctld runs as
	State        string `json:"state,omitempty"`
	SlurmCluster string `json:"slurm_cluster,omitempty"`
	Accounting   string `json:"accounting,omitempty"`
	// For extract: these folders of what was collected; empty is all.
	Parts []string `json:"parts,omitempty"`
	// For store, and to bring them back: the volume's mount point where its files
	// are wanted, and what is left out.
	Mount   string   `json:"mount,omitempty"`
	Exclude []string `json:"exclude,omitempty"`
	// For offer: the address to listen on, and who may ask, by the name in
	// their certificates. For pull: whom to ask.
	Address string   `json:"address,omitempty"`
	Allow   []string `json:"allow,omitempty"`
	// For verify: the whole repository is read, not only the snapshot.
	Deep bool `json:"deep,omitempty"`
	// For offsite and import: the other repository.
	Remote *Remote `json:"remote,omitempty"`
	// For forget: the snapshots that go; for configs-keep: the files.
	IDs []string `json:"ids,omitempty"`
	// For the database steps of a restore.
	Database *Database `json:"database,omitempty"`
	Stamp    string    `json:"stamp,omitempty"` // of what is kept aside
	// For swap: views are left to the job views, which comes once all databases and
	// accounts are there. For accounts: rights that cannot be given are left to rights.
	Later bool `json:"later,omitempty"`
}

// Result is what a head answers, on standard output.
type Result struct {
	Databases []Database        `json:"databases,omitempty"`
	Redis     []Keyspace        `json:"redis,omitempty"`
	Software  map[string]string `json:"software,omitempty"`
	Warnings  []string          `json:"warnings,omitempty"`
	Meta      *Metadata         `json:"meta,omitempty"`
	Names     []string          `json:"names,omitempty"`
	Keys      int               `json:"keys,omitempty"`
	NextJob   uint32            `json:"next_job,omitempty"` // the last job number given out
	Configs   []ConfigFile      `json:"configs,omitempty"`
	Queue     *Queue            `json:"queue,omitempty"`
	Compared  []Compared        `json:"compared,omitempty"`
	Seconds   float64           `json:"seconds,omitempty"`
	Need      int64             `json:"need,omitempty"`
	Free      int64             `json:"free,omitempty"`
	At        time.Time         `json:"at"`
}
