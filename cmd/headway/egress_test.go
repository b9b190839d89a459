package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/cmd/headway/headwaytest"
	"headway.dev/syncer/wire"
)

// A source may not make the cluster ask the machine's metadata service: it says
// why, while one on loopback, where tests and proxies are, is fetched.
func TestSourcesMayNotReachMetadata(t *testing.T) {
	s := newStory(t, map[string]string{"settings.yaml": settingsFile("zero")}, nil)
	s.deployed(s.repo.Git(s.repo.Work, "rev-parse", "HEAD"))
	for name, url := range map[string]string{
		"metadata": "http://169.254.169.254/latest/meta-data.git", "mapped": "http://[::ffff:169.254.169.254]/x.git",
		"local": headwaytest.ServeGit(t, filepath.Dir(s.repo.Bare), nil) + "/repo.git",
	} {
		s.create(&sourcev1.GitRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: sourcev1.GitRepositorySpec{
			URL: url, Interval: metav1.Duration{Duration: time.Hour}, Reference: &sourcev1.GitRepositoryRef{Branch: "main"},
		}})
	}
	source := func(name string) wire.SourceStatus {
		for _, st := range s.sources() {
			if st.Name == name {
				return st
			}
		}
		return wire.SourceStatus{}
	}
	for _, name := range []string{"metadata", "mapped"} {
		s.eventually(name+" is refused", func() bool { return source(name).Ready == "False" })
		if st := source(name); !strings.Contains(st.Message, "the address 169.254.169.254 is not reached: --deny-addresses has link-local") {
			t.Errorf("%s: %s", name, st.Message)
		}
	}
	s.eventually("loopback is fetched", func() bool { return source("local").Ready == "True" })
}
