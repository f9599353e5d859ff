package agent

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// addressChanges tells of every change of this machine's addresses, as the kernel
// announces them (rtnetlink(7)), until ctx ends. What comes while nobody listens
// is one change. An error means that the kernel tells nothing here.
func addressChanges(ctx context.Context) (<-chan struct{}, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	groups := uint32(unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("bind", err)
	}
	f := os.NewFile(uintptr(fd), "netlink")
	changes := make(chan struct{}, 1)
	stop := context.AfterFunc(ctx, func() { _ = f.Close() })
	go func() {
		defer stop()
		defer close(changes)
		defer func() { _ = f.Close() }()
		buf := make([]byte, 16<<10)
		for {
			// What is announced does not matter: the addresses are read anew.
			// Announcements that were lost (ENOBUFS) are one as well.
			if _, err := f.Read(buf); err != nil && !errors.Is(err, unix.ENOBUFS) {
				return
			}
			select {
			case changes <- struct{}{}:
			default:
			}
		}
	}()
	return changes, nil
}
