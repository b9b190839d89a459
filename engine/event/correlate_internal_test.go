package event

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	"pgregory.net/rapid"
)

// TestFold: whatever is told, it is folded together as client-go's recorder does.
func TestFold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		clock := func() time.Time { return now }
		ours, theirs := newCorrelator(clock), record.NewEventCorrelatorWithOptions(record.CorrelatorOptions{Clock: passive{clock}, SpamKeyFunc: spamKey})
		for i := range rapid.IntRange(1, 200).Draw(t, "events") {
			now = now.Add(time.Duration(rapid.SampledFrom([]int{0, 1, 30, 400, 700}).Draw(t, "seconds")) * time.Second)
			ev := &corev1.Event{
				ObjectMeta:     metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprintf("web.%d", i)},
				InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "pod")},
				Reason:         rapid.SampledFrom([]string{"Failed", "Pulled"}).Draw(t, "reason"), Message: fmt.Sprint(rapid.IntRange(0, 15).Draw(t, "message")),
				Type: corev1.EventTypeNormal, FirstTimestamp: metav1.NewTime(now), LastTimestamp: metav1.NewTime(now), Count: 1,
			}
			want, err := theirs.EventCorrelate(ev.DeepCopy())
			if err != nil {
				t.Fatal(err)
			}
			got, ok := ours.fold(ev)
			if ok == want.Skip {
				t.Fatalf("event %d is written: %t, want %t", i, ok, !want.Skip)
			}
			if d := cmp.Diff(want.Event, got); ok && d != "" {
				t.Fatalf("event %d (-want +got):\n%s", i, d)
			}
		}
	})
}
