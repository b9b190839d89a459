package syncer_test

import (
	"strings"
	"testing"

	"headway.dev/syncer/wire"
)

// dependsOn[].readyExpr decides instead of the usual conditions, and sees both
// Kustomizations.
func TestReadyExpr(t *testing.T) {
	w := mono(t, map[string]string{
		"cluster/one.yaml": nested("one", "./one", ""),
		"cluster/two.yaml": nested("two", "./two", "  dependsOn: [{name: one, readyExpr: \"dep.metadata.annotations['example.com/go'] == self.spec.path\"}]\n"),
		"cluster/bad.yaml": nested("bad", "./two", "  dependsOn: [{name: one, readyExpr: 'dep.metadata.'}]\n"),
		"one/a.yaml":       configMap("a", "one"),
		"two/b.yaml":       configMap("b", "two"),
	})
	w.eventually("the bad expression is refused", func() bool { return strings.HasPrefix(w.readyOf("bad"), "False InvalidCELExpression") })
	if got := w.readyOf("bad"); !strings.Contains(got, "failed to parse expression") {
		t.Errorf("bad is %q", got)
	}
	w.eventually("one is applied", func() bool { return w.configMap("a") != nil })
	if w.configMap("b") != nil {
		t.Fatal("two did not wait")
	}
	w.write(map[string]string{"cluster/one.yaml": strings.Replace(nested("one", "./one", ""), "namespace: headway-system}", "namespace: headway-system, annotations: {example.com/go: ./no}}", 1)})
	w.push("not yet")
	w.eventually("two waits for the expression", func() bool {
		return w.readyOf("two") == "False DependencyNotReady dependency 'headway-system/one' is not ready according to readyExpr eval"
	})
	w.write(map[string]string{"cluster/one.yaml": strings.Replace(nested("one", "./one", ""), "namespace: headway-system}", "namespace: headway-system, annotations: {example.com/go: ./two}}", 1)})
	w.push("go")
	w.eventually("two follows", func() bool { return w.configMap("b")["key"] == "two" })
}

// healthCheckExprs decide about the health of their kind.
func TestHealthCheckExprs(t *testing.T) {
	exprs := "  wait: true\n  timeout: 1h\n  healthCheckExprs:\n  - apiVersion: v1\n    kind: ConfigMap\n    current: data.key == 'done'\n    failed: data.key == 'broken'\n"
	w := mono(t, map[string]string{
		"cluster/one.yaml": nested("one", "./one", exprs),
		"one/a.yaml":       configMap("a", "busy"),
	})
	w.eventually("a is waited for", func() bool {
		return strings.HasPrefix(w.readyOf("one"), "Unknown Progressing") && w.configMap("a") != nil
	})
	w.write(map[string]string{"one/a.yaml": configMap("a", "broken")})
	w.push("break a")
	w.eventually("the failure is the verdict", func() bool { return strings.HasPrefix(w.readyOf("one"), "False HealthCheckFailed") })
	if got := w.readyOf("one"); !strings.Contains(got, "ConfigMap/default/a status: 'Failed'") {
		t.Errorf("one is %q", got)
	}
	w.write(map[string]string{"one/a.yaml": configMap("a", "done")})
	w.push("mend a")
	w.eventually("one is ready", func() bool { return strings.HasPrefix(w.readyOf("one"), "True ReconciliationSucceeded") })
	w.write(map[string]string{"cluster/one.yaml": nested("one", "./one", strings.Replace(exprs, "data.key == 'done'", "1 + 1", 1))})
	w.push("a number")
	w.eventually("the number is refused", func() bool { return strings.HasPrefix(w.readyOf("one"), "False InvalidCELExpression") })
}

// A plan does not claim to know whether a readyExpr will hold, and their number is
// bounded.
func TestReadyExprsOfAPlan(t *testing.T) {
	w := mono(t, map[string]string{"cluster/one.yaml": nested("one", "./one", "  suspend: true\n"), "one/a.yaml": configMap("a", "x"), "two/b.yaml": configMap("b", "x")})
	w.eventually("one is there", func() bool { return w.readyOf("one") != "gone" })
	w.branch("next", map[string]string{
		"cluster/two.yaml":   nested("two", "./two", "  dependsOn: [{name: one}]\n"),
		"cluster/three.yaml": nested("three", "./two", "  namePrefix: three-\n  dependsOn: [{name: one, readyExpr: 'true'}]\n"),
	})
	for _, one := range w.plan(wire.PlanRequest{Source: "headway-system/cluster", Rev: "next"}).Plans {
		said := ""
		for _, c := range one.Checks {
			if c.Name == "spec.dependsOn" {
				said += c.Message
			}
		}
		want := ""
		if one.Kustomization == "headway-system/two" {
			want = "headway-system/one is suspended: the Kustomization would wait for it"
		}
		if said != want {
			t.Errorf("%s: %q, want %q", one.Kustomization, said, want)
		}
	}
	w.write(map[string]string{"cluster/four.yaml": nested("four", "./two", "  dependsOn:\n"+strings.Repeat("  - {name: one, readyExpr: 'true'}\n", 101))})
	w.push("countless expressions")
	w.eventually("they are refused", func() bool {
		return w.readyOf("four") == "False InvalidCELExpression spec.dependsOn: has 101 entries with a readyExpr, more than 100"
	})
}
