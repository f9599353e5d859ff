package lab

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ioctlPath opens a directory or device and issues one ioctl on it.
func ioctlPath(path string, request uintptr, arg *uint32) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(arg)))
	if errno != 0 {
		return &os.PathError{Op: "ioctl", Path: path, Err: errno}
	}
	return nil
}
