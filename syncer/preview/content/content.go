package content

import (
	"encoding/json"
	"reflect"
	"regexp"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/diff"
	"headway.dev/manifests/yaml/load"
	"headway.dev/syncer/history"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/wire"
)

// maxContent bounds what a plan shows of new objects, in bytes of JSON.
const maxContent = 4 << 20

// generatedName is a name that ends in kustomize's hash of the content: ten
// hexadecimal digits, of which those are replaced that could form words.
var generatedName = regexp.MustCompile(`^(.+)-[2456789bcdfghkmt]{10}$`)

// Describe says of new objects what they hold, and of generated ones that
// get another name with their content what changes. before and after are the
// objects of both sides, declared those of the files. It returns how many get
// another name.
func Describe(actions []wire.Action, before, after, declared map[object.Key]object.Object) int {
	gone := map[object.Key][]int{} // deletions by what their names begin with
	for i, a := range actions {
		if base, ok := generatedBase(a); ok && a.Action == string(plan.Delete) {
			gone[base] = append(gone[base], i)
		}
	}
	come := map[object.Key]int{}
	for _, a := range actions {
		if base, ok := generatedBase(a); ok && a.Action == string(plan.Create) {
			come[base]++
		}
	}
	replaced, room := 0, maxContent
	for i := range actions {
		a := &actions[i]
		if a.Action != string(plan.Create) {
			continue
		}
		if base, ok := generatedBase(*a); ok && come[base] == 1 && len(gone[base]) == 1 {
			was := &actions[gone[base][0]]
			if old, next := before[keyOfAction(*was)], after[keyOfAction(*a)]; old != nil && next != nil {
				a.Replaces, was.ReplacedBy = was.Name, a.Name
				a.Fields = contentFields(old, next)
				replaced++
				continue
			}
		}
		if obj := declared[keyOfAction(*a)]; obj != nil && room > 0 {
			var size int
			a.Object, size = contentOf(obj)
			room -= size
		}
	}
	return replaced
}

// generatedBase is what identifies a generated object whatever it holds.
func generatedBase(a wire.Action) (object.Key, bool) {
	key := keyOfAction(a)
	match := generatedName.FindStringSubmatch(a.Name)
	if match == nil || key.Group != "" || key.Kind != "ConfigMap" && key.Kind != "Secret" {
		return key, false
	}
	key.Name = match[1]
	return key, true
}

func keyOfAction(a wire.Action) object.Key {
	key := object.Key{Namespace: a.Namespace, Name: a.Name}
	key.Group, key.Kind = a.Group, a.Kind
	return key
}

// contentFields are the differences but for the name.
func contentFields(old, next object.Object) []wire.Field {
	var fields []wire.Field
	for _, f := range diff.Objects(old, next) {
		if f.Path != "metadata.name" {
			fields = append(fields, wire.Field{Path: f.Path, Old: f.Old, New: f.New})
		}
	}
	return fields
}

// contentOf is an object as its files say it, without secret values and without
// what no file says, and its size.
func contentOf(obj object.Object) (map[string]any, int) {
	m, err := history.WithoutSecrets(obj)
	if err != nil {
		return nil, 0 // what it is, is shown anyhow
	}
	if status, ok := m["status"].(map[string]any); ok && isEmpty(status) {
		delete(m, "status")
	}
	prune(m)
	dropUnsaid(m, reflect.ValueOf(obj))
	raw, err := json.Marshal(m)
	if err != nil {
		return nil, 0
	}
	return m, len(raw)
}

// prune drops the nulls that Go's types write where a file says nothing.
func prune(m map[string]any) {
	for k, v := range m {
		switch v := v.(type) {
		case nil:
			delete(m, k)
		case map[string]any:
			prune(v)
		case []any:
			for _, item := range v {
				if child, ok := item.(map[string]any); ok {
					prune(child)
				}
			}
		}
	}
}

// dropUnsaid drops what Go's types write where a file says nothing, as resources: {} of
// containers and targetPort: 0 of Services: there is no difference between it and none. An
// empty selector stays: people read it as all.
func dropUnsaid(m map[string]any, v reflect.Value) {
	if v = reflect.Indirect(v); v.Kind() != reflect.Struct {
		return // a custom resource is what its file says
	}
	for i := range v.NumField() {
		f, value := v.Type().Field(i), v.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" || strings.Contains(options, "inline") {
			dropUnsaid(m, value)
			continue
		}
		unsaid := value.Kind() == reflect.Struct && value.IsZero() && f.Type != selector
		switch child := m[name].(type) {
		case map[string]any:
			dropUnsaid(child, value)
			if unsaid && (len(child) == 0 || name == "status") {
				delete(m, name)
			}
		case []any:
			for i, item := range child {
				if item, ok := item.(map[string]any); ok && value.Kind() == reflect.Slice && i < value.Len() {
					dropUnsaid(item, value.Index(i))
				}
			}
		default:
			if unsaid && strings.Contains(options, "omitempty") {
				delete(m, name)
			}
		}
	}
}

var selector = reflect.TypeFor[metav1.LabelSelector]()

func isEmpty(m map[string]any) bool {
	for _, v := range m {
		if child, ok := v.(map[string]any); !ok || !isEmpty(child) {
			return false
		}
	}
	return true
}

// Sides are the objects that a plan deletes, and those that it creates.
func Sides(res plan.Result) (before, after map[object.Key]object.Object) {
	before, after = map[object.Key]object.Object{}, map[object.Key]object.Object{}
	for _, a := range res.Actions {
		switch {
		case a.Type == plan.Delete && a.Live != nil:
			before[a.Key] = a.Live
		case a.Type == plan.Create && a.Object != nil:
			after[a.Key] = a.Object
		}
	}
	return before, after
}

// Declared are the objects of items by key.
func Declared(items []load.Item) map[object.Key]object.Object {
	m := make(map[object.Key]object.Object, len(items))
	for _, it := range items {
		if key, err := plan.KeyOf(it.Object); err == nil {
			m[key] = it.Object
		}
	}
	return m
}
