package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"multihead/internal/config"
)

// clusterFiles is where the cluster file is looked for when -f is not given.
func clusterFiles() []string {
	return []string{"./my_multihead_cluster.yaml", "/etc/multihead/my_multihead_cluster.yaml"}
}

// loadCluster reads the cluster file: the one of -f, or the first that exists
// of clusterFiles. Warnings go to stderr unless -q. Its error carries exit
// code 78 and lists everything that is wrong with the file.
func (a *app) loadCluster() (*config.Cluster, error) {
	path, err := a.findClusterFile()
	if err != nil {
		return nil, err
	}
	c, problems, err := config.Load(path)
	if err != nil {
		return nil, configError(path, err)
	}
	if !a.quiet {
		a.printProblems(problems)
	}
	return c, nil
}

func (a *app) findClusterFile() (string, error) {
	if a.configPath != "" {
		return a.configPath, nil
	}
	for _, path := range clusterFiles() {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", &exitError{exitConfig, fmt.Errorf("cluster file: %w", err)}
		}
	}
	return "", &exitError{exitConfig, fmt.Errorf("there is no cluster file: looked for %s\nname it with -f FILE, or write a new one with: multihead init",
		strings.Join(clusterFiles(), ", "))}
}

// configError turns what config.Load says into what the person reads.
func configError(path string, err error) error {
	var invalid *config.InvalidError
	if !errors.As(err, &invalid) {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w\nname another with -f FILE, or write a new one with: multihead init", err)
		}
		return &exitError{exitConfig, err}
	}
	n := len(invalid.Problems.Errors())
	return &exitError{exitConfig, fmt.Errorf("%s cannot be used\n%s\n%s", path, invalid.Problems, counted(n, "error"))}
}

func (a *app) printProblems(problems config.Problems) {
	for _, p := range problems {
		fmt.Fprintln(a.stderr, p)
	}
}

// counted is "1 error", "2 errors".
func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
