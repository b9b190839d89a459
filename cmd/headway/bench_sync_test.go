package main

import (
	"fmt"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/syncer/wire"
)

func ready(ks *kustomizev1.Kustomization) bool {
	return apimeta.IsStatusConditionTrue(ks.Status.Conditions, "Ready") && ks.Status.ObservedGeneration == ks.Generation
}

// configMapFile is the file of ConfigMap i of many, a hundred to a directory.
func configMapFile(i int, value string) (name, content string) {
	return fmt.Sprintf("many/%02d/c%05d.yaml", i/100, i), fmt.Sprintf(
		"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c%05d\n  namespace: default\ndata:\n  key: %s\n", i, value)
}

// configMapFiles are n ConfigMaps.
func configMapFiles(n int, value string) map[string]string {
	files := map[string]string{}
	for i := range n {
		name, content := configMapFile(i, value)
		files[name] = content
	}
	return files
}

// BenchmarkPushStored measures a change of one line in a repository of many
// manifests, from the start of `git push` until the object is stored.
func BenchmarkPushStored(b *testing.B) {
	for _, n := range []int{10, 1000, 10_000} {
		b.Run(fmt.Sprintf("manifests=%d", n), func(b *testing.B) {
			s := startServer(b, "many")
			s.write(configMapFiles(n, "first"))
			s.commitMany()
			s.push(func() bool { return s.value(fmt.Sprintf("c%05d", n-1)) == "first" })
			for b.Loop() {
				var changes []timing
				for i := range 20 {
					value := fmt.Sprintf("v%d-%d", s.n, i)
					name, content := configMapFile(7, value)
					s.write(map[string]string{name: content})
					s.commit()
					changes = append(changes, s.push(func() bool { return s.value("c00007") == value }))
				}
				s.report(changes)
			}
		})
	}
}

// BenchmarkPushKustomize is BenchmarkPushStored for 50 directories with a
// kustomization of 20 ConfigMaps each.
func BenchmarkPushKustomize(b *testing.B) {
	const n = 1000
	s := startServer(b, "apps")
	file := func(i int, value string) (name, content string) {
		return fmt.Sprintf("apps/%d/c%05d.yaml", i/20, i), fmt.Sprintf(
			"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c%05d, namespace: default}\ndata: {key: %s}\n", i, value)
	}
	files := map[string]string{}
	for i := range n {
		name, content := file(i, "first")
		files[name] = content
		files[fmt.Sprintf("apps/%d/kustomization.yaml", i/20)] += fmt.Sprintf("- c%05d.yaml\n", i)
	}
	for i := range n / 20 {
		name := fmt.Sprintf("apps/%d/kustomization.yaml", i)
		files[name] = "resources:\n" + files[name]
	}
	s.write(files)
	s.commitMany()
	s.push(func() bool { return s.value(fmt.Sprintf("c%05d", n-1)) == "first" })
	for b.Loop() {
		var changes []timing
		for i := range 20 {
			value := fmt.Sprintf("v%d-%d", s.n, i)
			name, content := file(7, value)
			s.write(map[string]string{name: content})
			s.commit()
			changes = append(changes, s.push(func() bool { return s.value("c00007") == value }))
		}
		s.report(changes)
	}
}

// BenchmarkFirstSync measures a commit that brings many ConfigMaps, until all
// are stored.
func BenchmarkFirstSync(b *testing.B) {
	for _, n := range []int{1000, 10_000} {
		b.Run(fmt.Sprintf("objects=%d", n), func(b *testing.B) {
			for b.Loop() {
				s := startServer(b, "many")
				s.write(configMapFiles(n, "first"))
				s.commitMany()
				s.report([]timing{s.push(func() bool { return s.value(fmt.Sprintf("c%05d", n-1)) == "first" })})
			}
		})
	}
}

const deploymentFile = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web-%[1]d, namespace: default}
spec:
  replicas: 0
  selector: {matchLabels: {app: web-%[1]d}}
  template:
    metadata: {labels: {app: web-%[1]d}}
    spec:
      containers:
      - name: web
        image: example.com/web:1.0.0
        ports: [{name: http, containerPort: 8080}]
        env: [{name: MESSAGE, value: hello}]
        readinessProbe: {httpGet: {path: /readyz, port: http}}
        resources: {requests: {cpu: 10m, memory: 16Mi}}
`

// BenchmarkDeployments measures a commit that brings 100 Deployments without
// replicas, until all of them are stored.
func BenchmarkDeployments(b *testing.B) {
	const n = 100
	for b.Loop() {
		s := startServer(b, "apps")
		files := map[string]string{}
		for i := range n {
			files[fmt.Sprintf("apps/web-%d.yaml", i)] = fmt.Sprintf(deploymentFile, i)
		}
		s.write(files)
		s.commit()
		kind := schema.GroupKind{Group: "apps", Kind: "Deployment"}
		s.report([]timing{s.push(func() bool {
			list, _ := s.Engine.Store().List(kind, "default")
			return len(list) == n
		})})
	}
}

const kustomizationFile = `apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: app-%[1]d, namespace: headway-system}
spec:
  interval: 10m
  path: ./apps/%[1]d
  prune: true
  sourceRef: {kind: GitRepository, name: cluster}
`

// BenchmarkKustomizations measures a commit that changes all of the four
// objects of each of 100 Kustomizations, until all are stored.
func BenchmarkKustomizations(b *testing.B) {
	const n, objects = 100, 4
	name := func(i, j int) string { return fmt.Sprintf("a%d-%d", i, j) }
	contents := func(s *server, value string) {
		files := map[string]string{}
		for i := range n {
			files[fmt.Sprintf("clusters/app-%d.yaml", i)] = fmt.Sprintf(kustomizationFile, i)
			for j := range objects {
				files[fmt.Sprintf("apps/%d/%d.yaml", i, j)] = fmt.Sprintf(
					"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: default}\ndata: {key: %s}\n", name(i, j), value)
			}
		}
		s.write(files)
		s.commit()
	}
	stored := func(s *server, value string) func() bool {
		return func() bool {
			for i := range n {
				for j := range objects {
					if s.value(name(i, j)) != value {
						return false
					}
				}
			}
			return true
		}
	}
	s := startServer(b, "clusters")
	contents(s, "first")
	s.push(stored(s, "first"))
	for b.Loop() {
		var changes []timing
		for i := range 3 {
			value := fmt.Sprintf("v%d-%d", s.n, i)
			contents(s, value)
			changes = append(changes, s.push(stored(s, value)))
		}
		s.report(changes)
	}
}

// BenchmarkPlan measures `headway plan` of a branch over 1,000 objects, of
// which it changes one, or each.
func BenchmarkPlan(b *testing.B) {
	const n = 1000
	s := startServer(b, "many")
	s.write(configMapFiles(n, "first"))
	s.commitMany()
	s.push(func() bool { return s.value(fmt.Sprintf("c%05d", n-1)) == "first" })
	branch := func(name string, files map[string]string) {
		s.git("checkout", "-q", "-b", name, "main")
		s.write(files)
		s.commit()
		s.git("push", "-q", "origin", name)
	}
	one, content := configMapFile(7, "second")
	branch("one", map[string]string{one: content})
	branch("all", configMapFiles(n, "second"))
	for _, c := range []struct {
		branch string
		want   int
	}{{"one", 1}, {"all", n}} {
		b.Run("changed="+c.branch, func(b *testing.B) {
			for b.Loop() {
				const times = 5
				before, start := usage(b), time.Now()
				for range times {
					p, err := s.Syncer.Plan(b.Context(), wire.PlanRequest{Rev: c.branch})
					if err != nil || p.Summary.Update != c.want || len(p.Errors) > 0 {
						b.Fatalf("%+v, %v, %v", p.Summary, p.Errors, err)
					}
				}
				b.ReportMetric(float64(time.Since(start).Microseconds())/1000/times, "ms")
				b.ReportMetric((usage(b).self-before.self).Seconds()/times, "cpu-s/op")
				b.ReportMetric(0, "ns/op")
			}
		})
	}
}
