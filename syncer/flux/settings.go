package flux

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/forge"
)

// Settings are what the annotations of an object say.
type Settings struct {
	// Request is that of a look at once.
	Request              Setting[string]
	AcceptHistory, Retry Setting[Commit]
	Freeze               Setting[Windows]
	// MaxDeletes and MaxRestarts are nil without a bound.
	MaxDeletes, MaxRestarts Setting[*int]
	OnFailure               Setting[string]
	Settle, Probation       Setting[time.Duration]
	GitWrites               Setting[string]
	GitAccounts             Setting[[]string]
	AuthorDomain            Setting[string]
	// Verify reports whether every commit has to be signed.
	Verify                                 Setting[bool]
	WebhookSecret, ForgeSecret, StatusLink Setting[string]
	CommitStatus                           Setting[forge.Kind]
}

// annotations is the table of all annotations on Kustomizations and sources. A new
// one is a row of it and a field of Settings.
var annotations = []annotation{
	row(Request, everywhere, once, func(s *Settings) *Setting[string] { return &s.Request }, "", anyText),
	{name: meta.ForceRequestAnnotation, on: everywhere, marks: once},
	{name: "reconcile.fluxcd.io/resetAt", on: everywhere, marks: once},
	row(Retry, onKustomization, once|attempt, func(s *Settings) *Setting[Commit] { return &s.Retry }, "", anyCommit),
	row(AcceptHistory, everywhere, once, func(s *Settings) *Setting[Commit] { return &s.AcceptHistory }, "", anyCommit),
	row(MaxDeletes, onKustomization, attempt, func(s *Settings) *Setting[*int] { return &s.MaxDeletes }, nil, count),
	row(MaxRestarts, onKustomization, attempt, func(s *Settings) *Setting[*int] { return &s.MaxRestarts }, nil, count),
	row(Freeze, everywhere, attempt, func(s *Settings) *Setting[Windows] { return &s.Freeze }, nil, ParseWindows),
	row(OnFailure, onKustomization, attempt, func(s *Settings) *Setting[string] { return &s.OnFailure }, OnFailureNone, oneOf(OnFailureNone, OnFailureRevert, OnFailureHold)),
	row(GitWrites, onKustomization, attempt, func(s *Settings) *Setting[string] { return &s.GitWrites }, WritesHeal, oneOf(WritesHeal, WritesReject, WritesCommit)),
	row(Settle, onKustomization, attempt, func(s *Settings) *Setting[time.Duration] { return &s.Settle }, 0, duration),
	row(Probation, onKustomization, attempt, func(s *Settings) *Setting[time.Duration] { return &s.Probation }, DefaultProbation, duration),
	row(GitAccounts, onKustomization, 0, func(s *Settings) *Setting[[]string] { return &s.GitAccounts }, nil, list),
	row(AuthorDomain, onKustomization, 0, func(s *Settings) *Setting[string] { return &s.AuthorDomain }, defaultDomain, domain),
	row(Verify, onSource, 0, func(s *Settings) *Setting[bool] { return &s.Verify }, false, everyCommit),
	row(WebhookSecret, onSource, 0, func(s *Settings) *Setting[string] { return &s.WebhookSecret }, "", anyText),
	row(CommitStatus, onSource, 0, func(s *Settings) *Setting[forge.Kind] { return &s.CommitStatus }, "", forge.ParseKind),
	row(ForgeSecret, onSource, 0, func(s *Settings) *Setting[string] { return &s.ForgeSecret }, "", anyText),
	row(StatusLink, onSource, 0, func(s *Settings) *Setting[string] { return &s.StatusLink }, "", anyText),
}

// annotation is a row of the table.
type annotation struct {
	name string
	// on are the kinds on which it has an effect.
	on    []schema.GroupKind
	marks marks
	// read puts what it says into the settings; nil: only its being there counts.
	read func(s *Settings, text string, set bool)
}

var (
	onKustomization = []schema.GroupKind{Kustomization}
	onSource        = []schema.GroupKind{GitRepository}
	everywhere      = []schema.GroupKind{Kustomization, GitRepository}
)

// marks say what is particular about an annotation.
type marks uint8

const (
	// once: people ask by it for something to be done once.
	once marks = 1 << iota
	// attempt: it changes what an attempt to apply something may do.
	attempt
)

// row is the row of an annotation that has a value.
func row[T any](name string, on []schema.GroupKind, m marks, field func(*Settings) *Setting[T], fallback T, parse func(text string) (T, error)) annotation {
	return annotation{name: name, on: on, marks: m, read: func(s *Settings, text string, set bool) {
		to := field(s)
		*to = Setting[T]{Name: name, Text: text, Set: set, Value: fallback}
		if !set {
			return
		}
		value, err := parse(text)
		if err != nil {
			to.fault = err
			return
		}
		to.Value = value
	}}
}

// Of returns what the annotations of a Kustomization or a source say.
func Of(o object.Object) Settings {
	var s Settings
	kind, all := kindOf(o), o.GetAnnotations()
	for _, a := range annotations {
		here := slices.Contains(a.on, kind)
		text, set := "", false
		if here {
			text, set = all[a.name]
		}
		if a.read != nil {
			a.read(&s, text, set)
		}
	}
	return s
}

// kindOf is the kind of an object that can have settings.
func kindOf(o object.Object) schema.GroupKind {
	switch o.(type) {
	case *kustomizev1.Kustomization:
		return Kustomization
	case *sourcev1.GitRepository:
		return GitRepository
	}
	return schema.GroupKind{}
}

// Attempt returns the values, as they are written, of the annotations that change
// what an attempt may do. It reads none of them: transactions compare it.
func Attempt(o object.Object) []string {
	var values []string
	kind, all := kindOf(o), o.GetAnnotations()
	for _, a := range annotations {
		if a.marks&attempt != 0 && slices.Contains(a.on, kind) {
			values = append(values, all[a.name])
		}
	}
	return values
}

// Requests returns the annotations by which people ask for something to be done
// once. They do not belong in Git: they stay in the cluster, and a sync leaves
// them as they are.
func Requests() []string {
	var names []string
	for _, a := range annotations {
		if a.marks&once != 0 {
			names = append(names, a.name)
		}
	}
	return names
}

// OfGate is the annotation that a gate is named after.
func OfGate(gate string) string { return "headway.dev/" + gate }

// Setting is what one annotation of an object says.
type Setting[T any] struct {
	// Name is the annotation's, for messages.
	Name string
	// Text is its value as it is written; empty if the object has none.
	Text string
	// Set reports whether the object has it.
	Set bool
	// Value is what it says: the default if it is not set or not understood.
	Value T
	fault error
}

// Err is why its value is not understood, or nil.
func (s Setting[T]) Err() error {
	if s.fault == nil {
		return nil
	}
	return fmt.Errorf("annotation %s: %w", s.Name, s.fault)
}

// ErrOf is Err where the object is another than the one that the error is told of.
func (s Setting[T]) ErrOf(o object.Object) error {
	if s.fault == nil {
		return nil
	}
	return fmt.Errorf("annotation %s of %s %s/%s: %w", s.Name, kindOf(o).Kind, o.GetNamespace(), o.GetName(), s.fault)
}

// Drop removes the annotation from an object, and reports whether there was one.
func (s Setting[T]) Drop(o object.Object) bool {
	left := maps.Clone(o.GetAnnotations())
	_, there := left[s.Name]
	delete(left, s.Name)
	o.SetAnnotations(left)
	return there
}

// Command is the command that gives an object the annotation.
func (s Setting[T]) Command(o object.Object, value string) string {
	return fmt.Sprintf("kubectl annotate --overwrite -n %s %s/%s %s=%s", o.GetNamespace(), strings.ToLower(kindOf(o).Kind), o.GetName(), s.Name, value)
}
