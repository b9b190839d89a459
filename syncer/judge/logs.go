package judge

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/guard"
)

// The bounds of what an event says of a log.
const (
	lastLines = 10
	lastBytes = 1000
	logWait   = 3 * time.Second
)

// lastWordsReason is the reason of the event with the last lines of a log.
const lastWordsReason = "LastLogLines"

// Logs reads the end of a container's log, at most so many lines; previous is
// that of the instance before.
type Logs func(ctx context.Context, pod *corev1.Pod, container string, previous bool, lines int64) (string, error)

// lastWords records an event with the last lines that crashed containers of a
// failed commit printed, before an answer removes them. It is about what the
// commit applied and in its namespace: who may see events there may usually read
// its logs, too, which is not so of the Kustomization's status and of Git.
func (j *Judge) lastWords(ctx context.Context, v *Trial) {
	if j.Logs == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, logWait)
	defer cancel()
	st := v.standing(j.Env)
	for _, key := range v.open {
		obj := j.Env.Store.Get(key)
		if obj == nil {
			continue
		}
		crash, found := st.Crash(obj)
		if !found {
			continue
		}
		var text string
		err := guard.Call(ctx, "read the log of a crashed container", func() (err error) {
			text, err = j.Logs(ctx, crash.Pod, crash.Container, crash.Previous, lastLines)
			return err
		})
		if err != nil {
			j.Env.Log.Info("the last lines of a crashed container are not known", "pod", crash.Pod.Namespace+"/"+crash.Pod.Name, "container", crash.Container, "err", err)
			continue
		}
		if text = tail(text); text != "" {
			j.Env.Record(obj, corev1.EventTypeWarning, lastWordsReason, fmt.Sprintf("pod %s, container %s printed last:\n%s", crash.Pod.Name, crash.Container, text))
		}
	}
}

// tail is the end of a text: whole lines where they fit.
func tail(text string) string {
	text = strings.TrimSpace(strings.ToValidUTF8(text, "\uFFFD"))
	if len(text) > lastBytes {
		text = strings.ToValidUTF8(text[len(text)-lastBytes:], "")
		if _, whole, found := strings.Cut(text, "\n"); found {
			text = whole
		}
	}
	return text
}
