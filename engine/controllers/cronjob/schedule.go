package cronjob

import (
	"time"
	_ "time/tzdata" // a machine need not have the zones' rules

	"github.com/robfig/cron/v3"
	batchv1 "k8s.io/api/batch/v1"

	"headway.dev/manifests/loop"
)

// manyMissed is how many times may be missed without a word.
const manyMissed = 100

func parse(c *batchv1.CronJob) (cron.Schedule, error) {
	text := c.Spec.Schedule
	if c.Spec.TimeZone != nil {
		text = "TZ=" + *c.Spec.TimeZone + " " + text
	}
	return cron.ParseStandard(text)
}

// origin is the last time that had its job, or that of the CronJob's creation.
func origin(c *batchv1.CronJob) time.Time {
	if c.Status.LastScheduleTime != nil {
		return c.Status.LastScheduleTime.Time
	}
	return c.CreationTimestamp.Time
}

// following is the first time after now, zero if there is none.
func following(c *batchv1.CronJob, times cron.Schedule, now time.Time) time.Time {
	if every, ok := times.(cron.ConstantDelaySchedule); ok {
		return every.Next(counted(every, origin(c), now))
	}
	return times.Next(now)
}

// counted is the last time of "@every", which has none of its own: they are counted from
// one.
func counted(every cron.ConstantDelaySchedule, from, now time.Time) time.Time {
	return from.Add(max(0, now.Sub(from)).Truncate(every.Delay))
}

// since is the time after which the CronJob may have missed one.
func since(c *batchv1.CronJob, now time.Time) time.Time {
	from := origin(c)
	if d := c.Spec.StartingDeadlineSeconds; d != nil {
		if earliest := now.Add(-loop.Seconds(*d)); earliest.After(from) {
			from = earliest
		}
	}
	return from
}

// recent is the last time after from and not after now, zero if there is none, and
// whether there are too many.
func recent(times cron.Schedule, from, now time.Time) (last time.Time, many bool) {
	for missed := 0; ; missed++ {
		next := times.Next(from)
		if next.IsZero() || next.After(now) {
			return last, false
		}
		if missed == manyMissed {
			break
		}
		last, from = next, next
	}
	if every, ok := times.(cron.ConstantDelaySchedule); ok {
		return counted(every, from, now), true
	}
	// From the last of them on, which is not far back.
	for back := time.Minute; ; back *= 2 {
		next := times.Next(now.Add(-back))
		if next.After(now) {
			continue
		}
		for !next.IsZero() && !next.After(now) {
			last, next = next, times.Next(next)
		}
		return last, true
	}
}
