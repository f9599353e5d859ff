// Package clients is what clients do to a cluster while something of it is broken
// on purpose: transfers and appends in SQL, keys in Redis, fsynced lines on the
// shared volume, jobs, and connections to the virtual address. It runs outside
// the heads, as a process of its own that is told what to do over one
// connection and answers with one line of JSON for each operation.
//
// The load is open-loop: an operation is due at a time that does not depend on
// how long the ones before it took, as with clients that do not know of each
// other. What waits for an operation that hangs is therefore seen, and the
// longest time without a success is honest.
package clients
