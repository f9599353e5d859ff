package agentd

// Fence is what an agent says of fencing.
type Fence struct {
	Alarm string            `json:"alarm,omitempty"` // why silent heads are not proven off, and nobody takes over
	Doing string            `json:"doing,omitempty"` // what is under way
	Off   map[string]string `json:"off,omitempty"`   // heads that are proven off, and how
}
