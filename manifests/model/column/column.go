// Package column contains the columns and cells that the tables of several
// kinds share, in the words of kubectl get. Its functions are pure.
package column

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"headway.dev/manifests/model/object"
)

// None stands in a cell for nothing, Shown is how many addresses or ports of a
// long list a cell shows.
const (
	None  = "<none>"
	Shown = 3
)

// Define returns columns for these names: a leading + marks one of the wide
// output, a leading # a number, a leading ? yes or no, and Name is the object's name.
func Define(names ...string) []metav1.TableColumnDefinition {
	defs := make([]metav1.TableColumnDefinition, len(names))
	for i, name := range names {
		d := metav1.TableColumnDefinition{Type: "string"}
		if name[0] == '+' {
			d.Priority, name = 1, name[1:]
		}
		switch name[0] {
		case '#':
			d.Type, name = "integer", name[1:]
		case '?':
			d.Type, name = "boolean", name[1:]
		}
		d.Name = name
		switch name {
		case "Name":
			d.Format = "name"
			d.Description = objectMetaDoc["name"]
		case "Age":
			d.Description = objectMetaDoc["creationTimestamp"]
		case "Created At":
			d.Type, d.Description = "date", objectMetaDoc["creationTimestamp"]
		}
		defs[i] = d
	}
	return defs
}

var objectMetaDoc = metav1.ObjectMeta{}.SwaggerDoc()

// Age returns how long an object has existed, in kubectl's short form.
func Age(obj object.Object, now time.Time) string { return Since(obj.GetCreationTimestamp(), now) }

// Since returns how long ago a moment was.
func Since(t metav1.Time, now time.Time) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(now.Sub(t.Time))
}

// SinceMicro is Since.
func SinceMicro(t metav1.MicroTime, now time.Time) string {
	return Since(metav1.Time(t), now)
}

// Or replaces an empty cell.
func Or(s, empty string) string {
	if s == "" {
		return empty
	}
	return s
}

// Ready is the status and the message of the condition Ready.
func Ready(conditions []metav1.Condition) (status, message string) {
	if c := meta.FindStatusCondition(conditions, "Ready"); c != nil {
		return string(c.Status), c.Message
	}
	return "", ""
}

// Containers are the names and the images of containers.
func Containers(containers []corev1.Container) (names, images string) {
	var n, i []string
	for _, c := range containers {
		n, i = append(n, c.Name), append(i, c.Image)
	}
	return strings.Join(n, ","), strings.Join(i, ",")
}
