package journal

import (
	"slices"
	"strings"

	"headway.dev/manifests/model/kind"
	"headway.dev/syncer/wire"
)

// Log lists the commits that changed an object (or all of them, for the empty
// selector), newest first, with what came of each: those from before an entry's
// sequence number, if before is not negative.
func (j *Journal) Log(kind, namespace, name string, before int64, limit int) ([]wire.LogEntry, error) {
	kind = kindName(kind, j.Kinds.Kinds())
	fits := func(e wire.Entry) bool { return concerns(e, kind, namespace, name) }
	if list, ok, err := j.find(kind, name, before, limit, fits); ok || err != nil {
		return list, err
	}
	return j.scanLog(fits, before, limit)
}

// scanLog reads the journal backwards.
func (j *Journal) scanLog(fits func(wire.Entry) bool, before int64, limit int) ([]wire.LogEntry, error) {
	verdicts := map[string]wire.Entry{} // the newest of each applied revision
	var list []wire.LogEntry
	err := j.Backwards(func(e wire.Entry) bool {
		at := e.Kustomization + " " + e.Revision
		if e.Type == wire.EntryVerdict {
			if _, newer := verdicts[at]; !newer {
				verdicts[at] = e
			}
			return true
		}
		v, judged := verdicts[at]
		if e.Type == wire.EntryApplied {
			// An earlier application of the same revision has its own verdict.
			delete(verdicts, at)
		}
		if before >= 0 && e.Seq >= before || !fits(e) {
			return true
		}
		l := wire.LogEntry{Entry: e}
		if judged && e.Type == wire.EntryApplied {
			l.Verdict, l.Reason, l.VerdictTime = v.Verdict, v.Reason, v.Time
		}
		list = append(list, l)
		return len(list) < limit
	})
	return list, err
}

// kindName resolves what kubectl takes for a kind: deploy, deployments, ….
func kindName(name string, kinds []*kind.Kind) string {
	name, _, _ = strings.Cut(name, ".")
	for _, k := range kinds {
		if strings.EqualFold(name, k.Kind) || strings.EqualFold(name, k.Plural) || slices.Contains(k.ShortNames, strings.ToLower(name)) {
			return k.Kind
		}
	}
	return name
}

func concerns(e wire.Entry, kind, namespace, name string) bool {
	if kind == "" && name == "" {
		return true
	}
	for _, o := range e.Objects {
		if strings.EqualFold(o.Kind, kind) && o.Name == name && (namespace == "" || o.Namespace == namespace) {
			return true
		}
	}
	return false
}
