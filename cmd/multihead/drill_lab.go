package main

import (
	"context"

	"multihead/internal/drill"
	"multihead/internal/lab"
)

// labOutside lets drills reach around a lab's hosts.
type labOutside struct{ l *lab.Lab }

var _ drill.Outside = labOutside{}

func (o labOutside) PowerOff(ctx context.Context, hosts ...string) error {
	return o.l.PowerOff(ctx, hosts...)
}

func (o labOutside) PowerOn(ctx context.Context, hosts ...string) error {
	return o.l.PowerOn(ctx, hosts...)
}

func (o labOutside) Freeze(ctx context.Context, hosts ...string) error {
	return o.l.Freeze(ctx, hosts...)
}

func (o labOutside) Thaw(ctx context.Context, hosts ...string) error { return o.l.Thaw(ctx, hosts...) }

func (o labOutside) Partition(ctx context.Context, hosts, others []string, oneWay bool, only string) error {
	f := lab.Fault{Hosts: hosts, From: others, OneWay: oneWay}
	if only != "" {
		f.Only = []string{only}
	}
	return o.l.Partition(ctx, f)
}

func (o labOutside) Heal(ctx context.Context) error { return o.l.Heal(ctx) }

func (o labOutside) Disk(ctx context.Context, what, host, disk string) error {
	h, err := o.l.Host(host)
	if err != nil {
		return err
	}
	return diskFault(ctx, h, what, lab.Disk(disk), 0)
}
