package clients

import "time"

// Result is what a client knows of an operation once it has ended.
type Result string

// The results. An operation whose answer did not come may have been done.
const (
	OK      Result = "ok"      // acknowledged: it must be there from now on
	Failed  Result = "failed"  // certainly not done
	Unknown Result = "unknown" // it may be there or not
)

// The workloads.
const (
	SQL    = "sql"    // through the virtual address
	Redis  = "redis"  // with a client that knows the cluster
	Volume = "volume" // appends with fsync, on a host that mounts the volume
	Sbatch = "sbatch" // jobs
	VIP    = "vip"    // TCP connections to the virtual address
	ARP    = "arp"    // who answers for the virtual address
	End    = "end"    // the worker's last line
	Note   = "note"   // something to be said to a person
)

// Kinds of SQL operations.
const (
	Transfer = "transfer" // between two accounts; the total stays
	Append   = "append"   // a number into the list
	Write    = "write"    // of the register
	Read     = "read"     // of the register
)

// LongJob is the kind of the job that runs through the whole drill.
const LongJob = "long"

// Op is one operation, as the worker saw it. Times are the worker's clock.
type Op struct {
	Workload string    `json:"w"`
	Kind     string    `json:"k,omitempty"`
	N        int64     `json:"n"`           // number within the workload and kind
	Part     string    `json:"p,omitempty"` // what can be gone while the rest serves: a shard of Redis
	Due      time.Time `json:"due"`
	Begin    time.Time `json:"begin"`
	End      time.Time `json:"end"`
	Result   Result    `json:"r"`
	Value    string    `json:"v,omitempty"` // what was read or returned: a job's number, the answering MAC addresses
	Err      string    `json:"e,omitempty"`
}
