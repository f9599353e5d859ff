// Package drill breaks a cluster on purpose and proves that it survives: it
// knows the faults by name, injects them, lets clients work on the cluster
// meanwhile (package work), waits until it is well again by itself, and checks
// what was acknowledged against what is there (package check).
package drill
