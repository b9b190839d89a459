package source

import (
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/fill"
	"headway.dev/manifests/model/kind"
)

var gitRepository = kind.Define[sourcev1.GitRepository, sourcev1.GitRepositoryList](kind.Definition[*sourcev1.GitRepository]{
	Names: kind.Names{
		GroupVersionKind: sourcev1.GroupVersion.WithKind("GitRepository"),
		Plural:           "gitrepositories", Singular: "gitrepository",
		ShortNames: []string{"gitrepo"}, Namespaced: true,
	},
	Status:  true,
	REST:    kind.REST{VersionRequired: true},
	Default: defaultGitRepository,
	Lifecycle: kind.Lifecycle[*sourcev1.GitRepository]{
		Create: func(r *sourcev1.GitRepository) { r.Status = sourcev1.GitRepositoryStatus{} },
		Update: func(r, old *sourcev1.GitRepository) { r.Status = old.Status },
		UpdateStatus: func(r, old *sourcev1.GitRepository) {
			r.Spec = old.Spec
			kind.KeepMeta(&r.ObjectMeta, &old.ObjectMeta)
		},
		Changed: func(r, old *sourcev1.GitRepository) bool { return kind.Differ(r.Spec, old.Spec) },
	},
	Table: kind.Table[*sourcev1.GitRepository]{
		Columns: column.Define("Name", "URL", "Age", "Ready", "Status"),
		Row:     gitRepositoryRow,
	},
	Suspension: func(r *sourcev1.GitRepository) kind.Suspension {
		return kind.Suspension{Suspend: &r.Spec.Suspend, Conditions: &r.Status.Conditions}
	},
})

func defaultGitRepository(r *sourcev1.GitRepository) {
	fill.Unset(&r.Spec.Timeout, metav1.Duration{Duration: time.Minute})
	if v := r.Spec.Verification; v != nil {
		fill.Zero(&v.Mode, sourcev1.ModeGitHEAD)
	}
}

func gitRepositoryRow(g *sourcev1.GitRepository, now time.Time) []any {
	ready, message := column.Ready(g.Status.Conditions)
	return []any{g.Name, g.Spec.URL, column.Age(g, now), ready, message}
}
