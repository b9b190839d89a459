package e2e_test

// nodeVerbs keep pods from the node: they come after everybody else, one after
// the other by their names.
var nodeVerbs = map[string]func(verb){
	"cordon":   verb.cordon,
	"drain":    verb.drain,
	"taint":    verb.taint,
	"uncordon": verb.uncordon,
}

func (v verb) cordon() {
	v.run("cordon node-1", "node/node-1 cordoned")
	v.run("get node node-1", "Ready,SchedulingDisabled")
	v.run("run cordoned --image=headway.dev/test/busybox:1 -- sleep 3600")
	v.run("wait pod/cordoned --for=condition=PodScheduled=False --timeout=60s", "condition met")
	v.run("uncordon node-1", "node/node-1 uncordoned")
	v.run("wait pod/cordoned --for=condition=Ready --timeout=60s", "condition met")
	v.run("delete pod cordoned --now")
}

// drain evicts pods, and those that a controller makes again wait for a node.
func (v verb) drain() {
	v.run("run undrained --image=headway.dev/test/busybox:1 -- sleep 3600")
	v.run("wait pod/undrained --for=condition=Ready --timeout=60s")
	v.refused("drain node-1 --pod-selector=run=undrained --timeout=60s", "cannot delete Pods that declare no controller (use --force to override): verbs/undrained")
	v.run("drain node-1 --pod-selector=app=shared --timeout=60s", "evicting pod verbs/shared-", "node/node-1 drained")
	v.run("wait pods -l app=shared --for=condition=PodScheduled=False --timeout=60s", "condition met")
	v.run("drain node-1 --pod-selector=run=undrained --force --grace-period=0 --timeout=60s", "node/node-1 drained")
	v.run("uncordon node-1", "uncordoned")
	v.run("wait deploy/shared --for=condition=Available --timeout=60s")
}

func (v verb) uncordon() {
	v.run("cordon node-1", "node/node-1 cordoned")
	v.run("uncordon node-1", "node/node-1 uncordoned")
	v.run("uncordon node-1", "node/node-1 already uncordoned")
}

// taint keeps pods away, and evicts those that do not tolerate it.
func (v verb) taint() {
	v.in("apiVersion: v1\nkind: Pod\nmetadata: {name: tainted}\nspec:\n  terminationGracePeriodSeconds: 0\n  containers: [{name: a, image: 'headway.dev/test/busybox:1', command: [sleep, '3600']}]\n", "create -f -")
	v.run("wait pod/tainted --for=condition=Ready --timeout=60s")
	v.run("taint node node-1 away=now:NoExecute", "node/node-1 tainted")
	v.run("wait pod/tainted --for=delete --timeout=60s")
	v.run("taint node node-1 away:NoExecute-", "node/node-1 untainted")
}

// start is kubectl run.
func (v verb) start() {
	v.check(v.c.Run("in\n", v.words("run once -i --rm --restart=Never --quiet --image=headway.dev/test/busybox:1 -- cat")...), 0, "run", []string{"in\n"})
	v.run("run kept --image=headway.dev/test/busybox:1 --labels=app=kept --env=A=1 --command -- sleep 3600", "pod/kept created")
	v.run("wait pod/kept --for=condition=Ready --timeout=60s")
	v.run("delete pod kept --now")
}

// top asks the metrics API, which the server serves itself.
func (v verb) top() {
	v.run("top node", "MEMORY(bytes)", "node-1")
	v.run("top pod -A", "CPU(cores)")
}

// autoscale makes a HorizontalPodAutoscaler.
func (v verb) autoscale() {
	v.run("autoscale deploy/shared --min=1 --max=2 --name=scaled", "horizontalpodautoscaler.autoscaling/scaled autoscaled")
	v.run("get hpa scaled", "Deployment/shared")
	v.run("delete hpa scaled", "deleted")
}
