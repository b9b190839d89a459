package history

import (
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

func template(image string) *corev1.PodTemplateSpec {
	return &corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: image}}},
	}
}

func look(t *testing.T, image string, collisions *int32, revisions ...*appsv1.ControllerRevision) History {
	t.Helper()
	owner := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", Annotations: map[string]string{"kubernetes.io/change-cause": image}}}
	h, err := Look(Input{Owner: owner, Template: template(image), Revisions: revisions, Label: "hash", Collisions: collisions})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestLook follows a template through its changes.
func TestLook(t *testing.T) {
	first := look(t, "web:1", nil)
	one := first.Current
	if first.Changed != Create || one.Revision != 1 || one.Namespace != "shop" || one.Name != "web-"+one.Labels["hash"] || one.Labels["app"] != "web" || one.Annotations["kubernetes.io/change-cause"] != "web:1" {
		t.Fatalf("the first look: %d, %+v", first.Changed, one)
	}
	if h := look(t, "web:1", nil, one); h.Changed != None || h.Current != one || len(h.Old) != 0 {
		t.Errorf("a second look: %+v", h)
	}
	second := look(t, "web:2", nil, one)
	two := second.Current
	if second.Changed != Create || two.Revision != 2 || two.Name == one.Name || !slices.Equal(second.Old, []*appsv1.ControllerRevision{one}) {
		t.Errorf("another template: %+v", second)
	}
	back := look(t, "web:1", nil, two, one)
	if back.Changed != Renumber || back.Current.Revision != 3 || back.Current.Name != one.Name || one.Revision != 1 || !slices.Equal(back.Old, []*appsv1.ControllerRevision{two}) {
		t.Errorf("the first template again: %+v", back)
	}
	if h := look(t, "web:1", new(int32(1))); h.Current.Name == one.Name {
		t.Errorf("after a collision the name is %s again", h.Current.Name)
	}
	twin := one.DeepCopy()
	twin.Name, twin.Revision, twin.Data.Raw = "twin", 5, []byte(strings.Replace(string(twin.Data.Raw), `{"spec"`, `{ "spec"`, 1))
	if h := look(t, "web:1", nil, twin, one, two); h.Changed != None || h.Current != twin || len(h.Same) != 2 || len(h.Old) != 1 {
		t.Errorf("two revisions of one template: %+v", h)
	}
}

// TestNamesOfRevisions: wherever an owner's name is cut off, the names are valid.
func TestNamesOfRevisions(t *testing.T) {
	for from := range 4 {
		name := (strings.Repeat("x", from) + strings.Repeat("a.b-", 100))[:validation.DNS1123SubdomainMaxLength]
		owner := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: strings.TrimRight(name, ".-")}}
		h, err := Look(Input{Owner: owner, Template: template("web:1"), Label: "hash"})
		if err != nil {
			t.Fatal(err)
		}
		if wrong := validation.IsDNS1123Subdomain(h.Current.Name); len(wrong) > 0 {
			t.Errorf("the revision of %s is %s: %v", owner.Name, h.Current.Name, wrong)
		}
	}
}

// TestTemplate: what is kept is the template, as kubectl rollout undo patches it in.
func TestTemplate(t *testing.T) {
	r := look(t, "web:1", nil).Current
	got, err := Template(r)
	if err != nil || got.Spec.Containers[0].Image != "web:1" || got.Labels["app"] != "web" {
		t.Errorf("Template = %+v, %v", got, err)
	}
	const want = `{"spec":{"template":{"$patch":"replace","metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"image":"web:1","name":"main","resources":{}}]}}}}`
	if string(r.Data.Raw) != want {
		t.Errorf("data = %s, want %s", r.Data.Raw, want)
	}
}

func TestSurplus(t *testing.T) {
	var all []*appsv1.ControllerRevision
	for i, name := range strings.Fields("a b c d e") {
		all = append(all, &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Name: name}, Revision: int64(i)})
	}
	slices.Reverse(all)
	used := func(names string) func(*appsv1.ControllerRevision) bool {
		return func(r *appsv1.ControllerRevision) bool { return strings.Contains(names, r.Name) }
	}
	for _, tc := range []struct {
		limit      int
		used, want string
	}{{-1, "", ""}, {10, "", ""}, {5, "", ""}, {2, "", "a b c"}, {0, "", "a b c d e"}, {1, "ac", "b d"}, {0, "abcde", ""}} {
		var names []string
		for _, r := range Surplus(all, tc.limit, used(tc.used)) {
			names = append(names, r.Name)
		}
		if got := strings.Join(names, " "); got != tc.want {
			t.Errorf("with %q in use, beyond %d: %q, want %q", tc.used, tc.limit, got, tc.want)
		}
	}
	if len(all) != 5 || all[0].Name != "e" {
		t.Error("the list was changed")
	}
}
