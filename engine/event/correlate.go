package event

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	"k8s.io/utils/lru"
)

// The bounds of client-go's recorder.
const (
	remembered = 4096
	// An object may have so many events at once, and then one in each interval.
	burst    = 25
	interval = 5 * time.Minute
	// So many that differ in their message only, in so many seconds, become one.
	similar, similarSeconds = 10, 600
)

// correlator folds the events of a source together as client-go's does, with its parts.
// It counts itself: client-go's makes a patch of each repetition, as JSON, for a server
// that is elsewhere.
type correlator struct {
	similar *record.EventAggregator
	spam    *record.EventSourceObjectSpamFilter
	told    *lru.Cache // of keys to the last of their events
}

func newCorrelator(now func() time.Time) *correlator {
	c := passive{now}
	return &correlator{
		similar: record.NewEventAggregator(remembered, record.EventAggregatorByReasonFunc, record.EventAggregatorByReasonMessageFunc, similar, similarSeconds, c),
		spam:    record.NewEventSourceObjectSpamFilter(remembered, burst, float32(1/interval.Seconds()), c, spamKey),
		told:    lru.New(remembered),
	}
}

// told is what is known of the last event of a key.
type told struct {
	name  string
	first metav1.Time
	count int32
}

// fold is what to write for an event: it itself, or the one that it is a repetition of.
// ok is false if there are too many.
func (c *correlator) fold(ev *corev1.Event) (next *corev1.Event, ok bool) {
	ev, key := c.similar.EventAggregate(ev)
	if last, found := c.told.Get(key); found {
		was := last.(told)
		again := *ev
		again.Name, again.FirstTimestamp, again.Count = was.name, was.first, was.count+1
		ev = &again
	}
	c.told.Add(key, told{ev.Name, ev.FirstTimestamp, ev.Count})
	return ev, !c.spam.Filter(ev)
}

// spamKey is what the rate limit counts by: the source and the object, as in
// client-go. About what follows Git it counts each reason by itself: one that is
// told of many commits must not lose what is told seldom.
func spamKey(ev *corev1.Event) string {
	o := ev.InvolvedObject
	parts := []string{ev.Source.Component, ev.Source.Host, o.Kind, o.Namespace, o.Name, string(o.UID), o.APIVersion}
	if strings.Contains(o.APIVersion, ".fluxcd.io/") {
		parts = append(parts, ev.Type, ev.Reason)
	}
	return strings.Join(parts, "\x00")
}

// passive is the clock that client-go's parts ask.
type passive struct{ now func() time.Time }

var _ clock.PassiveClock = passive{}

func (p passive) Now() time.Time                  { return p.now() }
func (p passive) Since(t time.Time) time.Duration { return p.now().Sub(t) }
