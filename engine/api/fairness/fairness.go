package fairness

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	genericfilters "k8s.io/apiserver/pkg/server/filters"
	"k8s.io/apiserver/pkg/server/mux"
	"k8s.io/apiserver/pkg/util/flowcontrol"
	"k8s.io/apiserver/pkg/util/flowcontrol/request"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"

	"headway.dev/engine/api/limits"
	"headway.dev/engine/store"
	"headway.dev/manifests/guard"
	"headway.dev/manifests/model/scheme"
)

// seats are shared by the levels that are limited, as with kube-apiserver's
// defaults of --max-requests-inflight and --max-mutating-requests-inflight.
const seats = 600

// interval is how often the configuration that every cluster has is compared
// with what there is.
const interval = time.Minute

// Control classifies requests and lets them wait.
type Control struct {
	flow      flowcontrol.Interface
	informers informers.SharedInformerFactory
	store     Store
	log       *slog.Logger
	estimate  request.WorkEstimatorFunc
}

// New makes the control of a server whose clients are configured by client.
func New(client *restclient.Config, s *store.Store, kinds *scheme.Registry, log *slog.Logger) (*Control, error) {
	set, err := kubernetes.NewForConfig(client)
	if err != nil {
		return nil, fmt.Errorf("client of the flow control: %w", err)
	}
	factory := informers.NewSharedInformerFactory(set, 0)
	flow := flowcontrol.New(factory, set.FlowcontrolV1(), seats)
	return &Control{
		flow: flow, informers: factory, store: s, log: log,
		estimate: request.NewWorkEstimator(stats(s, kinds), flow.GetInterestedWatchCount, request.DefaultWorkEstimatorConfig(), flow.GetMaxSeats),
	}, nil
}

// Filter lets requests wait for their turn, for at most wait. What the process
// itself asks never waits.
func (c *Control) Filter(next http.Handler, long genericapirequest.LongRunningRequestCheck, wait time.Duration) http.Handler {
	fair := genericfilters.WithPriorityAndFairness(next, long, c.flow, c.estimate, wait)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, inside := limits.Inside(r.Context()); inside {
			next.ServeHTTP(w, r)
			return
		}
		fair.ServeHTTP(w, r)
	})
}

// Install serves the state of the queues below /debug/api_priority_and_fairness/.
func (c *Control) Install(m *mux.PathRecorderMux) { c.flow.Install(m) }

// Run follows the configuration until ctx ends, and returns when all that it
// started has.
func (c *Control) Run(ctx context.Context) {
	var group sync.WaitGroup
	defer group.Wait()
	c.informers.Start(ctx.Done())
	defer c.informers.Shutdown()
	group.Go(func() {
		// It returns an error only if ctx ends before the informers have begun.
		guard.Do(ctx, "follow the flow control's configuration", func() { _ = c.flow.Run(ctx.Done()) })
	})
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if err := Reconcile(ctx, c.store, time.Now()); err != nil && ctx.Err() == nil {
				c.log.Warn("the configuration of the flow control was not compared with what every cluster has", "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}
