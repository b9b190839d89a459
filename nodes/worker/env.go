package worker

import (
	"context"
	"log/slog"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"

	"headway.dev/nodes/dns/resolv"
	"headway.dev/nodes/machine"
	"headway.dev/nodes/objects"
	"headway.dev/nodes/pod"
	"headway.dev/nodes/probe"
	"headway.dev/nodes/pull"
	"headway.dev/nodes/registration"
	"headway.dev/nodes/runtime"
	"headway.dev/nodes/slot"
	"headway.dev/nodes/status"
	"headway.dev/nodes/volume"
)

// Env is what workers work with.
type Env struct {
	Runtime runtime.Interface
	Volumes *volume.Manager
	Probes  *probe.Manager
	// Statuses writes statuses of pods to the API, and Node knows the API's
	// state of the node.
	Statuses *status.Writer
	Node     *registration.Node
	// Objects, Tokens and Services are the sources of containers' contents and
	// variables.
	Objects  *objects.Cache
	Tokens   *objects.Tokens
	Services *objects.Services
	Images   *pull.Puller
	Machine  machine.Machine
	// Slots limit how many pods are started in parallel.
	Slots  *slot.Slots
	Events record.EventRecorder
	Log    *slog.Logger
	// NodeIP is the address of the node, ClusterDNS are the name servers of pods,
	// ClusterDomain is their domain.
	NodeIP string
	// NodeIP6 is the node's address of IPv6, empty if it has none.
	NodeIP6       string
	ClusterDNS    []string
	ClusterDomain string
	// Policies has NetworkPolicies kept to; nil: nobody does.
	Policies Policies
	// ResolvConf is the file of the node's own name servers, or resolv.Own.
	ResolvConf string
	// PodPidsLimit is the largest number of processes and threads in a pod;
	// negative is no limit.
	PodPidsLimit int64
}

// Policies has the kernel keep to NetworkPolicies.
type Policies interface {
	// InForce waits until those of a pod with addresses are in force.
	InForce(ctx context.Context, uid types.UID, ips []string) error
}

// isolated waits until policies about a pod are in force, before anything of it runs.
func (a *Env) isolated(ctx context.Context, p *corev1.Pod, observed runtime.Pod) error {
	if a.Policies == nil || p.Spec.HostNetwork || observed.Sandbox == nil {
		return nil
	}
	return a.Policies.InForce(ctx, p.UID, observed.Sandbox.IPs)
}

// hostIPs are the addresses of the node, of both families if it has both.
func (a *Env) hostIPs() []string {
	if a.NodeIP6 == "" {
		return []string{a.NodeIP}
	}
	return []string{a.NodeIP, a.NodeIP6}
}

// facts is what the pod's environment and files are made from right now.
func (a *Env) facts(ctx context.Context, p *corev1.Pod, observed runtime.Pod) pod.Facts {
	facts := pod.Facts{
		HostIPs: a.hostIPs(), Allocatable: a.Machine.Allocatable,
		ConfigMap: func(name string) (*corev1.ConfigMap, error) {
			return a.Objects.ConfigMap(ctx, p.UID, p.Namespace, name)
		},
		Secret: func(name string) (*corev1.Secret, error) { return a.Objects.Secret(ctx, p.UID, p.Namespace, name) },
		Volume: func(claim string) (*corev1.PersistentVolume, error) { return a.Objects.Volume(ctx, p, claim) },
		Token: func(audience string, seconds int64) (string, error) {
			return a.Tokens.Get(ctx, p, audience, seconds)
		},
	}
	switch {
	case p.Spec.HostNetwork:
		facts.PodIPs = facts.HostIPs
	case observed.Sandbox != nil:
		facts.PodIPs = observed.Sandbox.IPs
	}
	return facts
}

// sandboxConfig is what the runtime is to make of a pod, and what users have to be told
// of that.
func (a *Env) sandboxConfig(p *corev1.Pod) (cfg runtime.SandboxConfig, warnings []string, err error) {
	conf, warnings := resolv.Conf(p, resolv.Node{Servers: a.ClusterDNS, Domain: a.ClusterDomain, ResolvConf: machine.ReadSmall(resolv.File(a.ResolvConf))})
	cfg = pod.SandboxConfig(p, conf)
	cfg.Resources.PidsLimit = max(a.PodPidsLimit, 0)
	cfg.Hostname, err = pod.KernelHostname(p, a.ClusterDomain)
	return cfg, warnings, err
}

// containerConfig puts together what a container needs: environment, mounts
// and its termination log.
func (a *Env) containerConfig(ctx context.Context, p *corev1.Pod, s pod.Start, observed runtime.Pod, dir podDir) (runtime.ContainerConfig, error) {
	c := &s.Container
	var none runtime.ContainerConfig
	facts := a.facts(ctx, p, observed)
	var err error
	if facts.Services, err = a.Services.List(ctx); err != nil {
		return none, err
	}
	env, err := pod.Environment(p, c, facts)
	if err != nil {
		return none, err
	}
	values := map[string]string{}
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		values[name] = value
	}
	mounts, err := a.Volumes.Mounts(p, c, func(s string) string {
		return pod.Expand(s, func(name string) (string, bool) { v, ok := values[name]; return v, ok })
	})
	if err != nil {
		return none, err
	}
	if !volume.MountsPath(c, "/etc/hosts") {
		// Here, not with the sandbox: an agent that is killed right after it made
		// the sandbox finds that done, and would start containers without the file.
		hosts := pod.Hosts(p, facts.PodIPs, a.ClusterDomain, machine.ReadSmall("/etc/hosts"))
		if err := writeHosts(dir.hosts(), hosts); err != nil {
			return none, err
		}
		mounts = append(mounts, runtime.Mount{HostPath: dir.hosts(), ContainerPath: "/etc/hosts"})
	}
	log, err := dir.terminationLog(c.Name, s.Attempt)
	if err != nil {
		return none, err
	}
	mounts = append(mounts, runtime.Mount{HostPath: log, ContainerPath: terminationPath(c)})
	return pod.ContainerConfig(p, s, env, mounts, a.Machine.Memory)
}
