package runc

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// escape is a known way out of runc's containers, and the first releases
// without it, one of each line that was mended; later lines never had it.
type escape struct {
	cve   string
	fixed []release
}

type release [3]int

// escapes are those that an image or a pod's owner can use.
func escapes() []escape {
	masks := []release{{1, 2, 8}, {1, 3, 3}}
	return []escape{
		{"CVE-2024-21626", []release{{1, 1, 12}}},
		{"CVE-2025-31133", masks},
		{"CVE-2025-52565", masks},
		{"CVE-2025-52881", masks},
	}
}

// changelog is where Debian's and Ubuntu's packages say what they mended in an
// older release.
const changelog = "/usr/share/doc/runc/changelog.Debian.gz"

// Warning names the known container escapes in the machine's runc, and what to
// do; empty if there are none, or if there is no runc.
func Warning(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "runc", "--version").Output()
	if err != nil {
		return "" // starts will say so
	}
	version, _, _ := strings.Cut(strings.TrimPrefix(string(out), "runc version "), "\n")
	open := openEscapes(version, readChangelog(changelog))
	if len(open) == 0 {
		return ""
	}
	return fmt.Sprintf("runc %s lets containers escape (%s): upgrade the package runc, or install 1.2.8, 1.3.3 or later; until then run no images that you do not trust",
		version, strings.Join(open, ", "))
}

func readChangelog(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	text, err := gzip.NewReader(f)
	if err != nil {
		return ""
	}
	data, err := io.ReadAll(io.LimitReader(text, 4<<20))
	if err != nil {
		return ""
	}
	return string(data)
}

// openEscapes lists the escapes of a version that the package's changelog does
// not name as mended. A version that cannot be read counts as new.
func openEscapes(version, changelog string) []string {
	var have release
	number, _, _ := strings.Cut(version, "+")
	number, pre, isPre := strings.Cut(number, "-")
	for i, part := range strings.SplitN(number, ".", 3) {
		n, err := strconv.Atoi(part)
		if err != nil {
			return nil
		}
		have[i] = n
	}
	var open []string
	for _, e := range escapes() {
		if strings.Contains(changelog, e.cve) || !before(have, isPre && strings.HasPrefix(pre, "rc"), e.fixed) {
			continue
		}
		open = append(open, e.cve)
	}
	return open
}

// before reports whether a release, or what led to it, is older than the fix of
// its own line, or older than all fixes.
func before(have release, candidate bool, fixed []release) bool {
	for _, f := range fixed {
		if have[0] == f[0] && have[1] == f[1] {
			return have[2] < f[2] || candidate && have[2] == f[2]
		}
	}
	return slices.Compare(have[:], fixed[len(fixed)-1][:]) < 0
}
