package up

import (
	"context"
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/cmd/headway/member"
	"headway.dev/engine"
	"headway.dev/engine/admission"
	"headway.dev/engine/admission/plugins"
	"headway.dev/engine/api/authz"
	"headway.dev/engine/rbac"
	"headway.dev/engine/scheduler"
	"headway.dev/engine/scheduler/placement"
	"headway.dev/engine/scheduler/placement/profile"
	simulator "headway.dev/engine/scheduler/simulate"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/foresee"
	"headway.dev/syncer/preview/rollout"
	"headway.dev/syncer/rights"
)

// systemUser is who the process is where it acts for nobody else, and superusers
// the group that may do everything.
const (
	systemUser = "system:headway"
	superusers = "system:masters"
)

// foreseen asks admission about plans.
func foreseen(writer *admission.Writer) foresee.Func {
	return func(ctx context.Context, ask foresee.Ask) foresee.Answer {
		answer := writer.Foresee(ctx, admission.Ask(ask))
		return foresee.Answer{Object: answer.Object, Warnings: answer.Warnings, Refused: answer.Refused, Along: answer.Along}
	}
}

// logs reads the end of a container's log, from whichever node it is on.
func (c *Cluster) logs(ctx context.Context, pod *corev1.Pod, container string, previous bool, lines int64) (string, error) {
	client, err := member.NewClient(c.Engine.Client(systemUser, superusers))
	if err != nil {
		return "", err
	}
	limit := int64(64 << 10) // lines may be long
	text, err := client.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{
		Container: container, Previous: previous, TailLines: &lines, LimitBytes: &limit,
	}).DoRaw(ctx)
	return string(text), err
}

// access answers the syncer's questions about rights as the API server answers
// its own. roles are those that the authorizer decides by.
type access struct {
	roles *rbac.Index
	auth  *authz.Authorizer
}

// Allowed implements rights.Access.
func (a access) Allowed(ctx context.Context, user rights.User, verb string, key object.Key) error {
	request := a.roles.About(verb, key)
	switch allowed, reason, err := a.auth.May(ctx, rbac.User(user), request); {
	case allowed:
		return nil
	case err != nil:
		return fmt.Errorf("may %s %s %s: %w: %w", user.Name, verb, key, rights.ErrUnanswered, err)
	default:
		return rbac.Forbidden(rbac.User(user), request, reason)
	}
}

// Escalates implements rights.Access.
func (a access) Escalates(ctx context.Context, user rights.User, planned object.Reader, next, old object.Object) error {
	var unanswered error
	grant := rbac.Grant{
		User: rbac.User(user), Next: next, Old: old, Roles: planned, Name: next.GetName(),
		May: func(r rbac.Request) bool {
			if unanswered != nil {
				return false // the next answer would not come either
			}
			allowed, _, err := a.auth.May(ctx, rbac.User(user), r)
			unanswered = err
			return allowed && err == nil
		},
	}
	err := a.roles.Escalates(grant)
	if err == nil {
		err = rbac.ReadsParameters(grant)
	}
	if err != nil && unanswered != nil {
		return fmt.Errorf("may %s grant %s: %w: %w", user.Name, next.GetName(), rights.ErrUnanswered, unanswered)
	}
	return err
}

// After implements rights.Access.
func (a access) After(changes []object.Event) rights.Access {
	roles := a.roles.After(changes)
	return access{roles, a.auth.After(roles)}
}

// withUser tells the syncer's API who asks: the API server has authenticated
// them.
func withUser(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, ok := engine.RequestUser(r)
		if !ok {
			http.Error(w, "no user present on request", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r.WithContext(rights.WithUser(r.Context(), rights.User(user))))
	})
}

// simulate asks the scheduler's core about the pods of a plan, as things stand
// in the store, with what the plan makes of what is said of pods, of volumes and of
// their classes.
func simulate(stored object.Reader, profiles profile.Profiles) rollout.Simulator {
	return func(ctx context.Context, planned object.Reader, list []rollout.Rollout) []rollout.Placement {
		rollouts := make([]simulator.Rollout, len(list))
		for i, r := range list {
			rollouts[i] = simulator.Rollout(r)
			if r.Pod == nil {
				continue
			}
			if pod, err := plugins.Scheduled(ctx, planned, r.Pod); err == nil { // else its creation fails, and tells why
				rollouts[i].Pod = pod
			}
		}
		placed := make([]rollout.Placement, len(list))
		for i, o := range simulator.Run(profiles, scheduler.Volumes(planned), all[*corev1.Namespace](stored, "Namespace"), all[*corev1.Node](stored, "Node"), all[*corev1.Pod](stored, "Pod"), budgets(stored), rollouts) {
			placed[i] = rollout.Placement{Placed: o.Placed, Late: o.Late, Stuck: o.Stuck, Message: o.Message}
			for _, v := range o.Victims {
				placed[i].Victims = append(placed[i].Victims, rollout.Victim{Pod: v.Pod, Then: string(v.Then)})
			}
		}
		return placed
	}
}

// budgets are what preemption keeps to if it can.
func budgets(stored object.Reader) []placement.Budget {
	var list []placement.Budget
	objs, _ := stored.List(schema.GroupKind{Group: policyv1.GroupName, Kind: "PodDisruptionBudget"}, "")
	for _, o := range objs {
		if b, ok := o.(*policyv1.PodDisruptionBudget); ok {
			list = append(list, scheduler.Budget(b))
		}
	}
	return list
}

// all are the stored objects of a core kind.
func all[T object.Object](stored object.Reader, kind string) []T {
	objs, _ := stored.List(schema.GroupKind{Kind: kind}, "")
	list := make([]T, 0, len(objs))
	for _, o := range objs {
		if one, ok := o.(T); ok {
			list = append(list, one)
		}
	}
	return list
}
