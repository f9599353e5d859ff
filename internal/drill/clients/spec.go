package clients

import "time"

// Spec is what a worker is told, as the first line of its connection. It holds
// passwords: it is never put into a file or on a command line.
type Spec struct {
	Run   string        `json:"run"`   // names everything that the worker makes
	Limit time.Duration `json:"limit"` // the worker ends after this in any case

	SQL    *SQLSpec    `json:"sql,omitempty"`
	Redis  *RedisSpec  `json:"redis,omitempty"`
	Volume *VolumeSpec `json:"volume,omitempty"`
	Sbatch *SbatchSpec `json:"sbatch,omitempty"`
	VIP    *VIPSpec    `json:"vip,omitempty"`
}

// SQLSpec is how the database is reached, and who as.
type SQLSpec struct {
	Address  string `json:"address"` // host:port
	User     string `json:"user"`
	Password string `json:"password"`
	Schema   string `json:"schema"`
	Accounts int    `json:"accounts"` // of the bank
}

// RedisSpec is how a Redis Cluster is reached: by the addresses of some of its
// members.
type RedisSpec struct {
	Addresses []string `json:"addresses"`
	Password  string   `json:"password"`
}

// VolumeSpec is where lines are appended.
type VolumeSpec struct {
	Dir  string `json:"dir"`  // on the shared volume
	File string `json:"file"` // within it
}

// SbatchSpec is which jobs are submitted.
type SbatchSpec struct {
	Name string `json:"name"` // of the jobs; their number follows
	Long string `json:"long"` // how long the long job sleeps, in seconds
}

// VIPSpec is the virtual address.
type VIPSpec struct {
	Address string            `json:"address"` // host:port; a refusal is an answer
	Heads   map[string]string `json:"heads"`   // the heads' own addresses, by name
}

// The rates. Each is bounded by how many may wait at the same time as well.
const (
	transferEvery = 200 * time.Millisecond
	appendEvery   = 100 * time.Millisecond
	registerEvery = 250 * time.Millisecond
	redisEvery    = 20 * time.Millisecond
	volumeEvery   = 200 * time.Millisecond
	sbatchEvery   = time.Second
	connectEvery  = 50 * time.Millisecond
	arpEvery      = 200 * time.Millisecond
)

// Resolution is how far apart a workload's operations are due, which is how
// exactly a gap of it is known.
func Resolution(workload string) time.Duration {
	switch workload {
	case SQL:
		return appendEvery
	case Redis:
		return 10 * redisEvery // one shard's share of random keys
	case Volume:
		return volumeEvery
	case Sbatch:
		return sbatchEvery
	default:
		return connectEvery
	}
}
