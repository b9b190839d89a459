package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes"
	kube "k8s.io/component-base/version"

	"headway.dev/cmd/headway/cli"
	"headway.dev/cmd/headway/report"
	"headway.dev/manifests/guard"
	"headway.dev/nodes/hollow"
)

// hollowOptions are the flags of `headway hollow`.
type hollowOptions struct {
	nodes, pods                         int
	server, prefix, cpu, memory, labels string
	taints                              []string
	runFor                              time.Duration
	keep, ownWatches                    bool
}

func newHollow(opts *cli.Options) *cobra.Command {
	var flags hollowOptions
	cmd := &cobra.Command{
		Use:   "hollow --nodes N",
		Short: "Run nodes that pretend to run pods, to try a cluster at scale",
		Long: `Hollow runs many nodes in this process, in the foreground. To the API they are
nodes like others: they register, renew their leases, and report the pods that are
bound to them as running and ready. They start no containers, mount nothing and have
no network: a pod costs a few kilobytes. So a machine can show what a thousand nodes
would do, and what a plan comes to at scale.

The nodes have the label headway.dev/hollow=true, and a taint of that name, so that
no pod lands there that does not tolerate it; --taint '' removes it, and then every
pod may. Containers run until they are stopped; those of pods with restartPolicy
Never or OnFailure exit with 0 after --run-for, init containers at once. Probes
succeed; logs, exec and port-forward are not served, no events are written for
containers, and volumes and images are not looked at. All nodes share one connection
and two watches, which take a server and this process less than agents do that have
their own; with --own-watches each node has.

Ctrl-C removes the nodes from the API, and 40 seconds later the server deletes the
pods that were on them, as with every node that is gone; with --keep the nodes stay,
and become NotReady.

Exit code 0: it was interrupted. 1: something failed.`,
		Example: `  headway hollow --nodes 100
  headway hollow --nodes 1000 --cpu 32 --memory 128Gi --pods 110 --taint ''
  headway hollow --nodes 10 --prefix gpu- --labels pool=gpu --taint dedicated=gpu:NoSchedule`,
		Args: cli.Takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return flags.run(cmd.Context(), opts) },
	}
	f := cmd.Flags()
	f.IntVar(&flags.nodes, "nodes", 0, "how many nodes")
	f.StringVarP(&flags.server, "server", "s", "", "URL of the API (default: that of the kubeconfig)")
	f.StringVar(&flags.prefix, "prefix", "hollow-", "what the names of the nodes begin with; a number follows")
	f.StringVar(&flags.cpu, "cpu", "8", "CPUs of each node")
	f.StringVar(&flags.memory, "memory", "32Gi", "memory of each node")
	f.IntVar(&flags.pods, "pods", 110, "how many pods a node takes")
	f.StringVar(&flags.labels, "labels", "", "labels of the nodes, as key=value,...")
	f.StringSliceVar(&flags.taints, "taint", []string{hollow.Label + "=true:NoSchedule"}, "taint of the nodes, as key[=value]:effect (repeatable); empty for none")
	f.DurationVar(&flags.runFor, "run-for", time.Second, "how long containers run that are not always restarted")
	f.BoolVar(&flags.ownWatches, "own-watches", false, "watch each node and its pods apart, as agents of machines do, instead of all by two watches")
	f.BoolVar(&flags.keep, "keep", false, "leave the nodes in the API at the end")
	return cmd
}

// config checks the flags.
func (o *hollowOptions) config(opts *cli.Options) (hollow.Config, error) {
	cfg := hollow.Config{
		Nodes: o.nodes, Prefix: o.prefix, RunFor: o.runFor, OwnWatches: o.ownWatches, Version: kube.Get().GitVersion,
		Log: slog.New(slog.NewTextHandler(opts.Err, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	switch {
	case o.nodes < 1:
		return cfg, errors.New("--nodes: name how many, 1 at least")
	case o.nodes > hollow.MaxNodes:
		return cfg, fmt.Errorf("--nodes: %d are too many: from 1 to %d can be run", o.nodes, hollow.MaxNodes)
	}
	if why := validation.IsDNS1123Subdomain(o.prefix + "0"); len(why) > 0 {
		return cfg, fmt.Errorf("--prefix: %q is no beginning of a node's name: %s", o.prefix, strings.Join(why, "; "))
	}
	if o.runFor < 0 {
		return cfg, fmt.Errorf("--run-for: %s is less than nothing", o.runFor)
	}
	if o.pods < 1 {
		return cfg, errors.New("--pods: a node takes 1 at least")
	}
	cfg.Capacity = corev1.ResourceList{
		corev1.ResourcePods: *resource.NewQuantity(int64(o.pods), resource.DecimalSI), corev1.ResourceEphemeralStorage: resource.MustParse("1Ti"),
	}
	for name, flag := range map[corev1.ResourceName]string{corev1.ResourceCPU: o.cpu, corev1.ResourceMemory: o.memory} {
		q, err := resource.ParseQuantity(flag)
		if err != nil || q.Sign() <= 0 {
			return cfg, fmt.Errorf("--%s: %q is no amount: give one like 8, 500m or 32Gi", name, flag)
		}
		cfg.Capacity[name] = q
	}
	set, err := labels.ConvertSelectorToLabelsMap(o.labels)
	if err != nil {
		return cfg, fmt.Errorf("--labels: %w", err)
	}
	cfg.Labels = set
	for _, flag := range o.taints {
		if flag == "" {
			continue
		}
		taint, err := parseTaint(flag)
		if err != nil {
			return cfg, fmt.Errorf("--taint: %w", err)
		}
		cfg.Taints = append(cfg.Taints, taint)
	}
	rest, err := opts.Config()
	if err != nil {
		return cfg, err
	}
	if o.server != "" {
		rest.Host = o.server
	}
	// A thousand nodes are not slowed down as if they were one client, and speak the
	// form that costs them and the server least: compressed, each event of a watch is
	// flushed by itself, which saves little of the network.
	rest.QPS, rest.DisableCompression = -1, true
	rest.ContentType, rest.AcceptContentTypes = runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf+","+runtime.ContentTypeJSON
	cfg.Client, err = kubernetes.NewForConfig(rest)
	return cfg, err
}

// parseTaint reads key[=value]:effect.
func parseTaint(text string) (corev1.Taint, error) {
	key, effect, ok := strings.Cut(text, ":")
	key, value, _ := strings.Cut(key, "=")
	taint := corev1.Taint{Key: key, Value: value, Effect: corev1.TaintEffect(effect)}
	switch taint.Effect {
	case corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute:
	default:
		ok = false
	}
	if !ok || len(validation.IsQualifiedName(key)) > 0 || len(validation.IsValidLabelValue(value)) > 0 {
		return taint, fmt.Errorf("%q is no taint: give key[=value]:effect, with effect NoSchedule, PreferNoSchedule or NoExecute", text)
	}
	return taint, nil
}

// leaving bounds the removal of the nodes at the end.
const leaving = 30 * time.Second

func (o *hollowOptions) run(ctx context.Context, opts *cli.Options) error {
	cfg, err := o.config(opts)
	if err != nil {
		return err
	}
	if err := reachable(ctx, cfg.Client); err != nil {
		return err
	}
	start, says := time.Now(), &hollowProgress{out: opts.Out, live: report.TerminalWidth(opts.Out) > 0}
	cfg.Registered = func(_ string, count int) {
		switch {
		case count == cfg.Nodes:
			says.line(fmt.Sprintf("%d hollow nodes are ready after %s; Ctrl-C %s", count, time.Since(start).Round(100*time.Millisecond), o.atTheEnd()))
		case count < cfg.Nodes:
			says.passing(fmt.Sprintf("%d of %d nodes are registered", count, cfg.Nodes))
		}
	}
	fleet, err := hollow.New(cfg)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	wg.Go(func() { guard.Do(ctx, "print what hollow nodes run", func() { says.pods(ctx, fleet) }) })
	err = fleet.Run(ctx)
	cancel()
	wg.Wait()
	if err != nil || o.keep {
		return err
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaving)
	defer cancel()
	if err := fleet.Remove(last); err != nil {
		return fmt.Errorf("%w; remove them with `headway kubectl delete nodes -l %s=true`", err, hollow.Label)
	}
	says.line(fmt.Sprintf("%d hollow nodes are removed", cfg.Nodes))
	return nil
}

func (o *hollowOptions) atTheEnd() string {
	if o.keep {
		return "ends them, and leaves them in the API"
	}
	return "removes them"
}

// reachable fails if the API does not answer, or lets nobody register nodes: the nodes
// themselves would try for ever.
func reachable(ctx context.Context, client kubernetes.Interface) error {
	_, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{Limit: 1})
	switch {
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		return fmt.Errorf("hollow nodes need the rights of an administrator: %w", err)
	case err != nil:
		return fmt.Errorf("reach the API: %w", err)
	}
	return nil
}

// hollowProgress prints how far it is. What passes is printed on terminals only.
type hollowProgress struct {
	mu   sync.Mutex
	out  io.Writer
	live bool
	open bool // the last line may be overwritten
}

func (p *hollowProgress) line(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
	fmt.Fprintln(p.out, text)
}

func (p *hollowProgress) passing(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.live {
		return
	}
	p.erase()
	fmt.Fprint(p.out, text)
	p.open = true
}

func (p *hollowProgress) erase() {
	if p.open {
		fmt.Fprint(p.out, "\r\x1b[K")
		p.open = false
	}
}

// pods prints, when that has changed, how many pods run.
func (p *hollowProgress) pods(ctx context.Context, fleet *hollow.Fleet) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	last := ""
	for {
		select {
		case <-ctx.Done():
			p.mu.Lock()
			p.erase()
			p.mu.Unlock()
			return
		case <-tick.C:
		}
		running, all := fleet.Running()
		if text := fmt.Sprintf("%d of %d pods run", running, all); all > 0 && text != last {
			p.passing(text)
			last = text
		}
	}
}
