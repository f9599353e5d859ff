# Prints, of the output of `go test -v`, what each test that failed said: the last
# lines of it, for the whole has thousands. Tests that run beside each other share
# the output, and go test says whose line comes next.
/^=== (RUN|CONT|NAME|PAUSE) / { now = $3; next }
/^ *--- FAIL: / { if (!($3 in seen)) { seen[$3] = 1; failed[++n] = $3 }; next }
/^ *--- / { next }
/^panic: /, 0 { if (stack++ < 40) print substr($0, 1, 300); next }
now != "" && !/^redis: / { if (length($0) > 400) $0 = substr($0, 1, 400) " ..."; said[now, ++lines[now]] = $0 }
END {
	for (i = 1; i <= n; i++) {
		t = failed[i]
		print "--- " t
		for (l = lines[t] > 15 ? lines[t] - 14 : 1; l <= lines[t]; l++) print said[t, l]
	}
}
