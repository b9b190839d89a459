package controllers_test

import (
	"fmt"
	"maps"
	"strconv"
	"sync/atomic"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"

	"headway.dev/engine/controllers"
	"headway.dev/engine/controllers/control"
	"headway.dev/engine/controllers/job"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// act is something that a user does.
type act = func(c *cluster, t *rapid.T)

// stories are told under faults, one for each controller that makes or counts something.
// Another controller needs an entry: what there is, what users do, and what is in the end.
func stories() map[string]story {
	return map[string]story{
		"Deployment":            deploymentStory(),
		"ReplicationController": controllerStory(),
		"StatefulSet":           statefulSetStory(),
		"DaemonSet":             daemonSetStory(),
		"volumes":               volumesStory(),
		"Job":                   jobStory(),
		"CronJob":               cronJobStory(),
		"PodDisruptionBudget":   budgetStory(),
		"autoscaler":            autoscalerStory(),
		"endpoints":             endpointsStory(),
		"ResourceQuota":         quotaStory(),
		"garbage":               garbageStory(),
		"Namespace":             namespaceStory(),
	}
}

func create(objs ...object.Object) act {
	return func(c *cluster, _ *rapid.T) {
		var changes []change.Change
		for _, obj := range objs {
			changes = append(changes, change.Create(obj.DeepCopyObject().(object.Object), time.Now()))
		}
		c.commit(changes...)
	}
}

// edit changes an object, if there is one.
func edit[T object.Object](c *cluster, key object.Key, edit func(T)) {
	c.commit(control.Present(change.Patch(key, func(obj object.Object) bool { edit(obj.(T)); return true })))
}

func scaleWeb(c *cluster, t *rapid.T) {
	n := rapid.Int32Range(0, 4).Draw(t, "replicas")
	edit(c, deploymentKey("web"), func(d *appsv1.Deployment) { d.Spec.Replicas = &n })
}

func rollWeb(c *cluster, t *rapid.T) {
	image := "example/web:" + strconv.Itoa(rapid.IntRange(1, 3).Draw(t, "image"))
	edit(c, deploymentKey("web"), func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = image })
}

// deletePod deletes one of the pods with the label app: web.
func deletePod(c *cluster, t *rapid.T) {
	if pods := c.pods(); len(pods) > 0 {
		pod := pods[rapid.IntRange(0, 9).Draw(t, "pod")%len(pods)]
		c.commit(control.Present(change.Delete(object.KeyOf(control.Pod, pod), metav1.DeleteOptions{}, time.Now())))
	}
}

// webRolledOut: the pods of the Deployment web are as many as it asks for, of its
// template, and those of one set; no set was made twice.
func webRolledOut(c *cluster) error {
	d := c.deployment("web")
	if !c.rolledOut("web") {
		return fmt.Errorf("web has the status %+v", d.Status)
	}
	if d.Status.CollisionCount != nil {
		return fmt.Errorf("collisionCount is %d", *d.Status.CollisionCount)
	}
	images := map[string]string{}
	pods := 0
	for _, rs := range ownedBy[*appsv1.ReplicaSet](c, control.ReplicaSet, d.UID) {
		image := rs.Spec.Template.Spec.Containers[0].Image
		if other := images[image]; other != "" {
			return fmt.Errorf("%s and %s have the same template", other, rs.Name)
		}
		images[image] = rs.Name
		own := len(ownedBy[*corev1.Pod](c, control.Pod, rs.UID))
		if image != d.Spec.Template.Spec.Containers[0].Image && own > 0 {
			return fmt.Errorf("%s has %d pods of another template", rs.Name, own)
		}
		pods += own
	}
	if want := int(*d.Spec.Replicas); pods != want || len(c.pods()) != want {
		return fmt.Errorf("web has %d pods, and there are %d; want %d", pods, len(c.pods()), want)
	}
	return nil
}

func deploymentStory() story {
	return story{
		begin: create(newDeployment("web", 3)),
		acts:  map[string]act{"scale": scaleWeb, "roll": rollWeb, "delete a pod": deletePod},
		always: func(c *cluster) error {
			// Four, and a quarter of them more while it rolls.
			const most = 5
			all := int32(0)
			for _, rs := range ownedBy[*appsv1.ReplicaSet](c, control.ReplicaSet, c.deployment("web").UID) {
				all += *rs.Spec.Replicas
				active := 0
				for _, pod := range ownedBy[*corev1.Pod](c, control.Pod, rs.UID) {
					if control.Active(pod) {
						active++
					}
				}
				if active > most {
					return fmt.Errorf("%s has %d pods, never were more than %d asked for", rs.Name, active, most)
				}
			}
			if all > most {
				return fmt.Errorf("the sets ask for %d pods, want at most %d", all, most)
			}
			return nil
		},
		settled: webRolledOut,
	}
}

func controllerStory() story {
	made := 0
	return story{
		begin: create(newController("web", 3)),
		acts: map[string]act{
			"scale": func(c *cluster, t *rapid.T) {
				n := rapid.Int32Range(0, 4).Draw(t, "replicas")
				edit(c, webController, func(rc *corev1.ReplicationController) { rc.Spec.Replicas = &n })
			},
			"delete a pod": deletePod,
			"release a pod": func(c *cluster, _ *rapid.T) {
				if pods := c.pods(); len(pods) > 0 {
					edit(c, object.KeyOf(control.Pod, pods[0]), func(p *corev1.Pod) { p.Labels = map[string]string{"app": "free"} })
				}
			},
			"add a pod": func(c *cluster, t *rapid.T) {
				made++
				pod := &corev1.Pod{Spec: newDeployment("web", 1).Spec.Template.Spec}
				pod.Namespace, pod.Name, pod.Labels = "default", fmt.Sprint("orphan-", made), map[string]string{"app": "web"}
				create(pod)(c, t)
			},
		},
		settled: func(c *cluster) error {
			rc := control.Get[corev1.ReplicationController](c.store, webController)
			n, s := *rc.Spec.Replicas, rc.Status
			if s.Replicas != n || s.ReadyReplicas != n || s.AvailableReplicas != n || s.ObservedGeneration != rc.Generation {
				return fmt.Errorf("web asks for %d and has the status %+v", n, s)
			}
			if own, all := len(ownedBy[*corev1.Pod](c, control.Pod, rc.UID)), len(c.pods()); own != int(n) || all != int(n) {
				return fmt.Errorf("web has %d pods, and there are %d; want %d", own, all, n)
			}
			return nil
		},
	}
}

func jobStory() story {
	finishSome := func(c *cluster) {
		for _, pod := range c.jobPods("exact") {
			if pod.Status.Phase == corev1.PodRunning {
				c.finish(pod, corev1.PodSucceeded)
			}
		}
	}
	suspend := func(to bool) act {
		return func(c *cluster, _ *rapid.T) {
			edit(c, jobKey("exact"), func(j *batchv1.Job) {
				if job.Finished(j) == nil {
					j.Spec.Suspend = &to
				}
			})
		}
	}
	return story{
		begin: func(c *cluster, t *rapid.T) {
			create(newJob("exact", 3, 8, func(s *batchv1.JobSpec) {
				if s.BackoffLimit = new(int32(1000)); rapid.Bool().Draw(t, "indexed") {
					s.CompletionMode = new(batchv1.IndexedCompletion)
				}
			}))(c, t)
		},
		acts: map[string]act{"suspend": suspend(true), "resume": suspend(false), "finish": func(c *cluster, _ *rapid.T) { finishSome(c) }},
		always: func(c *cluster) error {
			active := 0
			for _, pod := range c.jobPods("exact") {
				if control.Active(pod) {
					active++
				}
			}
			if active > 3 {
				return fmt.Errorf("%d pods run, want at most 3", active)
			}
			return nil
		},
		settled: func(c *cluster) error {
			if *c.job("exact").Spec.Suspend {
				suspend(false)(c, nil)
			}
			finishSome(c)
			succeeded, indexes := 0, map[string]int{}
			for _, pod := range c.jobPods("exact") {
				if pod.Status.Phase == corev1.PodSucceeded {
					succeeded++
					indexes[pod.Labels[batchv1.JobCompletionIndexAnnotation]]++
				}
			}
			j := c.job("exact")
			if end := job.Finished(j); end == nil || end.Type != batchv1.JobComplete || j.Status.Succeeded != 8 || j.Status.Failed != 0 || j.Status.Active != 0 || succeeded != 8 {
				return fmt.Errorf("%d pods succeeded, the status is %+v", succeeded, j.Status)
			}
			if *j.Spec.CompletionMode == batchv1.IndexedCompletion && (len(indexes) != 8 || j.Status.CompletedIndexes != "0-7") {
				return fmt.Errorf("indexes succeeded so often: %v, the status is %+v", indexes, j.Status)
			}
			return nil
		},
	}
}

func cronJobStory() story {
	key := object.Key{GroupKind: control.CronJob, Namespace: "default", Name: "tick"}
	var later atomic.Int64
	jobs := func(c *cluster) (running, ended []*batchv1.Job) {
		for _, j := range ownedBy[*batchv1.Job](c, control.Job, c.store.Get(key).GetUID()) {
			if job.Finished(j) == nil {
				running = append(running, j)
			} else {
				ended = append(ended, j)
			}
		}
		return running, ended
	}
	finish := func(c *cluster, _ *rapid.T) {
		running, _ := jobs(c)
		for _, j := range running {
			for _, pod := range c.jobPods(j.Name) {
				if pod.Status.Phase == corev1.PodRunning {
					c.finish(pod, corev1.PodSucceeded)
				}
			}
		}
	}
	suspend := func(to bool) act {
		return func(c *cluster, _ *rapid.T) {
			edit(c, key, func(cj *batchv1.CronJob) { cj.Spec.Suspend = &to })
		}
	}
	return story{
		edit: func(cfg *controllers.Config) {
			later.Store(int64(time.Minute))
			cfg.NodeGrace = 24 * time.Hour
			cfg.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
		},
		begin: create(&batchv1.CronJob{
			ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name},
			Spec: batchv1.CronJobSpec{
				Schedule: "* * * * *", ConcurrencyPolicy: batchv1.ForbidConcurrent, SuccessfulJobsHistoryLimit: new(int32(2)),
				JobTemplate: batchv1.JobTemplateSpec{Spec: newJob("", 1, 1).Spec},
			},
		}),
		acts: map[string]act{
			"a minute": func(c *cluster, _ *rapid.T) {
				now := later.Add(int64(time.Minute))
				edit(c, key, func(cj *batchv1.CronJob) { cj.SetLabels(map[string]string{"look": fmt.Sprint(now)}) })
			},
			"finish": finish, "suspend": suspend(true), "resume": suspend(false),
		},
		always: func(c *cluster) error {
			if running, _ := jobs(c); len(running) > 1 {
				return fmt.Errorf("%d jobs run at once", len(running))
			}
			return nil
		},
		settled: func(c *cluster) error {
			if !*control.Get[batchv1.CronJob](c.store, key).Spec.Suspend {
				suspend(true)(c, nil)
			}
			finish(c, nil)
			running, ended := jobs(c)
			s := control.Get[batchv1.CronJob](c.store, key).Status
			if len(running) > 0 || len(ended) > 2 || len(s.Active) > 0 {
				return fmt.Errorf("%d jobs run, %d have ended, the status is %+v", len(running), len(ended), s)
			}
			for _, j := range ended {
				if len(c.jobPods(j.Name)) != 1 || j.Status.Succeeded != 1 {
					return fmt.Errorf("job %s has %d pods and the status %+v", j.Name, len(c.jobPods(j.Name)), j.Status)
				}
				if s.LastScheduleTime == nil || s.LastSuccessfulTime == nil {
					return fmt.Errorf("the status is %+v", s)
				}
			}
			return nil
		},
	}
}

func budgetStory() story {
	return story{
		begin: create(newDeployment("web", 3), newBudget("few", "web", func(s *policyv1.PodDisruptionBudgetSpec) { s.MaxUnavailable = new(intstr.FromInt32(1)) })),
		acts: map[string]act{
			"scale": scaleWeb, "delete a pod": deletePod,
			"edit": func(c *cluster, t *rapid.T) {
				n := intstr.FromInt32(rapid.Int32Range(0, 3).Draw(t, "unavailable"))
				edit(c, budgetKey("few"), func(b *policyv1.PodDisruptionBudget) { b.Spec.MaxUnavailable = &n })
			},
			"take from it": func(c *cluster, _ *rapid.T) {
				c.commit(change.PatchStatus(budgetKey("few"), func(obj object.Object) bool {
					s := &obj.(*policyv1.PodDisruptionBudget).Status
					s.DisruptionsAllowed = max(0, s.DisruptionsAllowed-1)
					return true
				}))
			},
		},
		settled: func(c *cluster) error {
			if err := webRolledOut(c); err != nil {
				return err
			}
			b := control.Get[policyv1.PodDisruptionBudget](c.store, budgetKey("few"))
			n, most := *c.deployment("web").Spec.Replicas, b.Spec.MaxUnavailable.IntVal
			want := [4]int32{min(most, n), n, max(0, n-most), n}
			if s := b.Status; s.ObservedGeneration != b.Generation || [4]int32{s.DisruptionsAllowed, s.CurrentHealthy, s.DesiredHealthy, s.ExpectedPods} != want {
				return fmt.Errorf("the budget says %+v, want %v", s, want)
			}
			return nil
		},
	}
}

// autoscalerStory: a queue of three asks for three pods, unless somebody asks for none.
func autoscalerStory() story {
	key := object.Key{GroupKind: control.HorizontalPodAutoscaler, Namespace: "default", Name: "web"}
	return story{
		edit: func(cfg *controllers.Config) {
			cfg.Metrics, cfg.AutoscalerSync = &load{cpu: -1, queue: 3000}, 20*time.Millisecond
		},
		begin: create(newDeployment("web", 1), autoscalerOf("Deployment", "apps/v1", "web", queueMetric())),
		acts: map[string]act{
			"scale": scaleWeb, "delete a pod": deletePod,
			"bound": func(c *cluster, t *rapid.T) {
				n := rapid.Int32Range(1, 4).Draw(t, "most")
				edit(c, key, func(a *autoscalingv2.HorizontalPodAutoscaler) { a.Spec.MaxReplicas = n })
			},
		},
		settled: func(c *cluster) error {
			if err := webRolledOut(c); err != nil {
				return err
			}
			a, n := c.autoscaler("web"), *c.deployment("web").Spec.Replicas
			if want := min(3, a.Spec.MaxReplicas); n != want && n != 0 || a.Status.DesiredReplicas != n || a.Status.CurrentReplicas != n || a.Status.ObservedGeneration == nil || *a.Status.ObservedGeneration != a.Generation {
				return fmt.Errorf("web has %d replicas, want %d or none; the autoscaler says %+v", n, want, a.Status)
			}
			return nil
		},
	}
}

func endpointsStory() story {
	svc := &corev1.Service{Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromString("http")}}}}
	svc.Namespace, svc.Name = "default", "web"
	key := object.KeyOf(control.Service, svc)
	return story{
		begin: create(newDeployment("web", 3), svc),
		acts: map[string]act{
			"scale": scaleWeb, "delete a pod": deletePod,
			"select nothing": func(c *cluster, _ *rapid.T) {
				edit(c, key, func(s *corev1.Service) { s.Spec.Selector = map[string]string{"app": "none"} })
			},
			"make it anew": func(c *cluster, t *rapid.T) {
				c.commit(control.Present(change.Delete(key, metav1.DeleteOptions{}, time.Now())))
				create(svc)(c, t)
			},
		},
		settled: func(c *cluster) error {
			if err := webRolledOut(c); err != nil {
				return err
			}
			stored := control.Get[corev1.Service](c.store, key)
			want := map[string]bool{}
			if stored.Spec.Selector["app"] == "web" {
				for _, pod := range c.pods() {
					want[pod.Status.PodIP] = true
				}
			}
			got, times := map[string]bool{}, 0
			objs, _ := c.store.List(control.EndpointSlice, "default")
			for _, obj := range objs {
				slice := obj.(*discoveryv1.EndpointSlice)
				if slice.Labels[discoveryv1.LabelServiceName] != "web" {
					continue
				}
				if !metav1.IsControlledBy(slice, stored) {
					return fmt.Errorf("slice %s is not the Service's", slice.Name)
				}
				for _, e := range slice.Endpoints {
					got[e.Addresses[0]] = true
					times++
				}
			}
			if !maps.Equal(got, want) || times != len(want) {
				return fmt.Errorf("the slices have %v (%d), want %v", got, times, want)
			}
			addresses := 0
			if ep := control.Get[corev1.Endpoints](c.store, object.Key{GroupKind: control.Endpoints, Namespace: "default", Name: "web"}); ep != nil {
				for _, s := range ep.Subsets {
					addresses += len(s.Addresses)
				}
			}
			if addresses != len(want) {
				return fmt.Errorf("the Endpoints have %d addresses, want %d", addresses, len(want))
			}
			return nil
		},
	}
}

func quotaStory() story {
	return story{
		begin: create(newQuota(map[corev1.ResourceName]string{"pods": "3", "count/pods": "9"}), newDeployment("web", 5)),
		acts: map[string]act{
			"scale": scaleWeb, "delete a pod": deletePod,
			"edit": func(c *cluster, t *rapid.T) {
				n := *resource.NewQuantity(rapid.Int64Range(0, 5).Draw(t, "pods"), resource.DecimalSI)
				edit(c, quotaKey, func(q *corev1.ResourceQuota) { q.Spec.Hard["pods"] = n })
			},
			"write something else": func(c *cluster, _ *rapid.T) {
				c.commit(change.PatchStatus(quotaKey, func(obj object.Object) bool {
					obj.(*corev1.ResourceQuota).Status.Used = corev1.ResourceList{"pods": resource.MustParse("7")}
					return true
				}))
			},
		},
		settled: func(c *cluster) error {
			q := control.Get[corev1.ResourceQuota](c.store, quotaKey)
			hard := q.Spec.Hard["pods"]
			n := len(c.pods())
			if want := fmt.Sprint(n); c.used("pods") != want || c.used("count/pods") != want || hard.Cmp(q.Status.Hard["pods"]) != 0 {
				return fmt.Errorf("there are %d pods, the quota says %+v", n, q.Status)
			}
			// A quota that sinks removes nothing.
			if want := int(*c.deployment("web").Spec.Replicas); n > want || n < min(want, int(hard.Value())) {
				return fmt.Errorf("there are %d pods of %d, %s may be", n, want, hard.String())
			}
			return nil
		},
	}
}

func garbageStory() story {
	key := func(name string) object.Key {
		return object.Key{GroupKind: control.ConfigMap, Namespace: "default", Name: name}
	}
	configMap := func(name string, owners ...object.Object) *corev1.ConfigMap {
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
		for _, o := range owners {
			cm.OwnerReferences = append(cm.OwnerReferences, metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: o.GetName(), UID: o.GetUID(), BlockOwnerDeletion: new(true)})
		}
		return cm
	}
	made := 0
	return story{
		begin: create(configMap("a"), configMap("b")),
		acts: map[string]act{
			"make one of some": func(c *cluster, t *rapid.T) {
				var owners []object.Object
				objs, _ := c.store.List(control.ConfigMap, "default")
				for _, obj := range objs {
					if obj.GetName() != "kube-root-ca.crt" && rapid.Bool().Draw(t, "owner") {
						owners = append(owners, obj)
					}
				}
				made++
				create(configMap(fmt.Sprint("made-", made), owners...))(c, t)
			},
			"delete": func(c *cluster, t *rapid.T) {
				policy := rapid.SampledFrom([]metav1.DeletionPropagation{metav1.DeletePropagationBackground, metav1.DeletePropagationForeground, metav1.DeletePropagationOrphan}).Draw(t, "policy")
				name := rapid.SampledFrom([]string{"a", "b", "made-1", "made-2"}).Draw(t, "name")
				c.commit(control.Present(change.Delete(key(name), metav1.DeleteOptions{PropagationPolicy: &policy}, time.Now())))
			},
			"make anew": func(c *cluster, t *rapid.T) {
				if c.store.Get(key("a")) == nil {
					create(configMap("a"))(c, t)
				}
			},
		},
		settled: func(c *cluster) error {
			objs, _ := c.store.List(control.ConfigMap, "default")
			for _, obj := range objs {
				if len(obj.GetFinalizers()) > 0 {
					return fmt.Errorf("%s is held by %v", obj.GetName(), obj.GetFinalizers())
				}
				for _, ref := range obj.GetOwnerReferences() {
					if owner := c.store.Get(key(ref.Name)); owner == nil || owner.GetUID() != ref.UID {
						return fmt.Errorf("%s still names the owner %s", obj.GetName(), ref.Name)
					}
				}
			}
			return nil
		},
	}
}

func namespaceStory() story {
	key := object.Key{GroupKind: control.Namespace, Name: "team"}
	in := func(obj object.Object) object.Object {
		obj.SetNamespace("team")
		return obj
	}
	made := 0
	return story{
		begin: create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team"}}),
		acts: map[string]act{
			"fill it": func(c *cluster, _ *rapid.T) {
				made++
				// It is refused once the namespace goes, and until it has its account.
				_, _ = c.user.Commit(c.ctx, change.Tx{Changes: []change.Change{
					change.Create(in(newDeployment(fmt.Sprint("web-", made), 2)), time.Now()),
					change.Create(in(newJob(fmt.Sprint("job-", made), 1, 1)), time.Now()),
					change.Create(in(newBudget(fmt.Sprint("few-", made), "web", func(s *policyv1.PodDisruptionBudgetSpec) { s.MinAvailable = new(intstr.FromInt32(1)) })), time.Now()),
				}})
			},
			"delete it": func(c *cluster, _ *rapid.T) {
				c.commit(control.Present(change.Delete(key, metav1.DeleteOptions{}, time.Now())))
			},
			"make it anew": func(c *cluster, t *rapid.T) {
				if c.store.Get(key) == nil {
					create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team"}})(c, t)
				}
			},
		},
		settled: func(c *cluster) error {
			if ns := c.store.Get(key); ns != nil {
				if ns.GetDeletionTimestamp() == nil {
					c.commit(control.Present(change.Delete(key, metav1.DeleteOptions{}, time.Now())))
				}
				return fmt.Errorf("the namespace is there: %+v", ns.(*corev1.Namespace).Status)
			}
			for _, kind := range []schema.GroupKind{control.Deployment, control.ReplicaSet, control.Pod, control.Job, control.PodDisruptionBudget, control.ConfigMap, control.ServiceAccount, control.Event} {
				if objs, _ := c.store.List(kind, "team"); len(objs) > 0 {
					return fmt.Errorf("%d %s are left", len(objs), kind.Kind)
				}
			}
			return nil
		},
	}
}
