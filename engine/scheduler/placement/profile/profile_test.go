package profile_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/engine/scheduler/placement/profile"
)

const head = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"

// What has no effect here is refused, with its name and with Kubernetes' words where it
// refuses it, too.
func TestRefused(t *testing.T) {
	one := func(text string) string {
		return head + "profiles:\n- " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ")
	}
	args := func(name, text string) string {
		return one("pluginConfig:\n- name: " + name + "\n  args:\n    " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    "))
	}
	for name, tc := range map[string]struct{ file, want string }{
		"no YAML":           {"a: [", "did not find expected node content"},
		"a key twice":       {head + "parallelism: 1\nparallelism: 2\n", "already set"},
		"another kind":      {"apiVersion: v1\nkind: Pod\n", `it is a "Pod" of "v1", and not a KubeSchedulerConfiguration of kubescheduler.config.k8s.io/v1`},
		"an older version":  {"apiVersion: kubescheduler.config.k8s.io/v1beta3\nkind: KubeSchedulerConfiguration\n", "v1beta3"},
		"an unknown field":  {head + "profile: []\n", `unknown field "profile"`},
		"another case":      {head + "Profiles: []\n", `unknown field "Profiles"`},
		"a wrong type":      {head + "profiles: 3\n", "cannot unmarshal"},
		"parallelism":       {head + "parallelism: 4\n", "parallelism: Forbidden: Headway's scheduler asks one node after the other"},
		"leader election":   {head + "leaderElection: {leaderElect: true}\n", "leaderElection: Forbidden: "},
		"a lease":           {head + "leaderElection: {leaderElect: false, leaseDuration: 3s}\n", "leaderElection: Forbidden: "},
		"a connection":      {head + "clientConnection: {kubeconfig: /x}\n", "clientConnection: Forbidden: "},
		"profiling":         {head + "enableProfiling: true\n", "enableProfiling: Forbidden: "},
		"contention":        {head + "enableContentionProfiling: true\n", "enableContentionProfiling: Forbidden: "},
		"extenders":         {head + "extenders: [{urlPrefix: http://x}]\n", "extenders: Forbidden: "},
		"a delayed cache":   {head + "delayCacheUntilActive: true\n", "delayCacheUntilActive: Forbidden: "},
		"no back-off":       {head + "podInitialBackoffSeconds: 0\n", "podInitialBackoffSeconds: Invalid value: 0: must be greater than 0"},
		"the back-offs":     {head + "podInitialBackoffSeconds: 20\n", "podMaxBackoffSeconds: Invalid value: 10: must be greater than or equal to PodInitialBackoffSeconds"},
		"a percentage":      {head + "percentageOfNodesToScore: 101\n", "percentageOfNodesToScore: Invalid value: 101: not in valid range [0-100]"},
		"one of a profile":  {one("percentageOfNodesToScore: -1"), "profiles[0].percentageOfNodesToScore: Invalid value: -1: not in valid range [0-100]"},
		"a name is missing": {head + "profiles: [{schedulerName: a}, {}]\n", "profiles[1].schedulerName: Required value"},
		"an empty name":     {one(`schedulerName: ""`), "profiles[0].schedulerName: Required value"},
		"a name twice":      {head + "profiles: [{schedulerName: a}, {schedulerName: a}]\n", `profiles[1].schedulerName: Duplicate value: "a"`},

		"another point":               {one("plugins: {bind: {disabled: [{name: '*'}]}}"), "profiles[0].plugins.bind: Forbidden: "},
		"the queue":                   {one("plugins: {queueSort: {enabled: [{name: PrioritySort}]}}"), "profiles[0].plugins.queueSort: Forbidden: "},
		"an unknown plugin":           {one("plugins: {score: {enabled: [{name: Mine}]}}"), `profiles[0].plugins.score.enabled[0].name: Unsupported value: "Mine"`},
		"an unknown one disabled":     {one("plugins: {filter: {disabled: [{name: VolumeZone}]}}"), `profiles[0].plugins.filter.disabled[0].name: Unsupported value: "VolumeZone"`},
		"not at this point":           {one("plugins: {score: {enabled: [{name: NodeName}]}}"), `profiles[0].plugins.score.enabled[0].name: Invalid value: "NodeName": the plugin has no part in this`},
		"enabled twice":               {one("plugins: {score: {enabled: [{name: ImageLocality}, {name: ImageLocality}]}}"), `profiles[0].plugins.score.enabled[1].name: Duplicate value: "ImageLocality"`},
		"the weight of a filter":      {one("plugins: {filter: {enabled: [{name: NodeName, weight: 2}]}}"), "profiles[0].plugins.filter.enabled[0].weight: Forbidden: only scores have weights"},
		"a weight of what scores not": {one("plugins: {multiPoint: {enabled: [{name: NodeName, weight: 2}]}}"), "profiles[0].plugins.multiPoint.enabled[0].weight: Forbidden: only scores have weights"},
		"a weight below nothing":      {one("plugins: {score: {enabled: [{name: ImageLocality, weight: -2}]}}"), "profiles[0].plugins.score.enabled[0].weight: Invalid value: -2: must not be negative"},
		"the weight of what is not":   {one("plugins: {score: {disabled: [{name: ImageLocality, weight: 2}]}}"), "profiles[0].plugins.score.disabled[0].weight: Forbidden: "},
		"no binding":                  {one("plugins: {multiPoint: {disabled: [{name: DefaultBinder}]}}"), "profiles[0].plugins.multiPoint.disabled: Forbidden: DefaultBinder is always there"},
		"nothing at all":              {one("plugins: {multiPoint: {disabled: [{name: '*'}]}}"), "profiles[0].plugins.multiPoint.disabled: Forbidden: PrioritySort is always there"},
		"no volumes":                  {one("plugins: {filter: {disabled: [{name: VolumeBinding}]}}"), "profiles[0].plugins.filter.disabled: Forbidden: VolumeBinding is always there"},
		"half a filter":               {one("plugins: {preFilter: {disabled: [{name: NodePorts}]}}"), "profiles[0].plugins.preFilter.disabled: Forbidden: NodePorts needs it for what it does after: disable that, too"},
		"half a score":                {one("plugins: {preScore: {disabled: [{name: TaintToleration}]}}"), "profiles[0].plugins.preScore.disabled: Forbidden: TaintToleration needs it for what it does after: disable that, too"},

		"arguments of another plugin":   {args("VolumeBinding", "bindTimeoutSeconds: 3"), `profiles[0].pluginConfig[0].name: Unsupported value: "VolumeBinding"`},
		"arguments twice":               {one("pluginConfig: [{name: NodeAffinity}, {name: NodeAffinity}]"), `profiles[0].pluginConfig[1]: Duplicate value: "NodeAffinity"`},
		"arguments of another kind":     {args("NodeAffinity", "kind: InterPodAffinityArgs"), `profiles[0].pluginConfig[0].args.kind: Unsupported value: "InterPodAffinityArgs": supported values: "NodeAffinityArgs"`},
		"arguments of another version":  {args("NodeAffinity", "apiVersion: v1"), `profiles[0].pluginConfig[0].args.apiVersion: Unsupported value: "v1"`},
		"an unknown argument":           {args("NodeAffinity", "added: {}"), `profiles[0].pluginConfig[0].args: Invalid value: unknown field "added"`},
		"an unknown strategy":           {args("NodeResourcesFit", "scoringStrategy: {type: Best}"), `profiles[0].pluginConfig[0].args.scoringStrategy.type: Unsupported value: "Best": supported values: "LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"`},
		"the weight of a resource":      {args("NodeResourcesFit", "scoringStrategy: {type: MostAllocated, resources: [{name: cpu, weight: 101}]}"), "profiles[0].pluginConfig[0].args.scoringStrategy.resources[0].weight: Invalid value: 101: resource weight of cpu not in valid range (0, 100]"},
		"no curve":                      {args("NodeResourcesFit", "scoringStrategy: {type: RequestedToCapacityRatio}"), "args.scoringStrategy.requestedToCapacityRatio: Required value: must be specified when type is RequestedToCapacityRatio"},
		"an empty curve":                {args("NodeResourcesFit", "scoringStrategy: {type: RequestedToCapacityRatio, requestedToCapacityRatio: {}}"), "args.scoringStrategy.requestedToCapacityRatio.shape: Required value: at least one point must be specified"},
		"a curve that goes back":        {args("NodeResourcesFit", "scoringStrategy: {type: RequestedToCapacityRatio, requestedToCapacityRatio: {shape: [{utilization: 5, score: 1}, {utilization: 5, score: 2}]}}"), "shape[1].utilization: Invalid value: 5: values must be sorted in increasing order"},
		"a curve that is too high":      {args("NodeResourcesFit", "scoringStrategy: {type: RequestedToCapacityRatio, requestedToCapacityRatio: {shape: [{utilization: 101, score: 11}]}}"), "[profiles[0].pluginConfig[0].args.scoringStrategy.requestedToCapacityRatio.shape[0].utilization: Invalid value: 101: not in valid range [0, 100], profiles[0].pluginConfig[0].args.scoringStrategy.requestedToCapacityRatio.shape[0].score: Invalid value: 11: not in valid range [0, 10]]"},
		"a curve for another":           {args("NodeResourcesFit", "scoringStrategy: {type: MostAllocated, requestedToCapacityRatio: {shape: [{utilization: 1, score: 1}]}}"), "args.scoringStrategy.requestedToCapacityRatio: Forbidden: must be nil when type is not RequestedToCapacityRatio"},
		"to ignore CPU":                 {args("NodeResourcesFit", "ignoredResources: [cpu]"), `args.ignoredResources[0]: Invalid value: "cpu": only extended resources can be ignored`},
		"to ignore no name":             {args("NodeResourcesFit", "ignoredResources: ['a b']"), `args.ignoredResources[0]: Invalid value: "a b"`},
		"a group with a name":           {args("NodeResourcesFit", "ignoredResourceGroups: [example.com/x]"), `args.ignoredResourceGroups[0]: Invalid value: "example.com/x": resource group name can't contain '/'`},
		"a balance twice":               {args("NodeResourcesBalancedAllocation", "resources: [{name: cpu}, {name: cpu}]"), `args.resources[1].name: Duplicate value: "cpu"`},
		"a balance that weighs":         {args("NodeResourcesBalancedAllocation", "resources: [{name: cpu, weight: 2}]"), "args.resources[0].weight: Invalid value: 2: must be 1"},
		"two defaults":                  {args("PodTopologySpread", "defaultConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}]"), `args.defaultingType: Invalid value: "System": when .defaultConstraints are not empty`},
		"an unknown default":            {args("PodTopologySpread", "defaultingType: Some"), `args.defaultingType: Unsupported value: "Some": supported values: "System", "List"`},
		"a constraint that selects":     {args("PodTopologySpread", "defaultingType: List\ndefaultConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, labelSelector: {}}]"), "args.defaultConstraints[0].labelSelector: Forbidden: constraint must not define a selector, as they deduced for each pod"},
		"a constraint with keys":        {args("PodTopologySpread", "defaultingType: List\ndefaultConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, matchLabelKeys: [a]}]"), "args.defaultConstraints[0].matchLabelKeys: Forbidden: "},
		"a constraint of nothing":       {args("PodTopologySpread", "defaultingType: List\ndefaultConstraints: [{}]"), "[profiles[0].pluginConfig[0].args.defaultConstraints[0].maxSkew: Invalid value: 0: not in valid range (0, inf), profiles[0].pluginConfig[0].args.defaultConstraints[0].topologyKey: Required value: can not be empty, profiles[0].pluginConfig[0].args.defaultConstraints[0].whenUnsatisfiable: Required value: can not be empty]"},
		"a constraint twice":            {args("PodTopologySpread", "defaultingType: List\ndefaultConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}, {maxSkew: 2, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}]"), `args.defaultConstraints[1]: Duplicate value: "{zone, DoNotSchedule}"`},
		"domains that nobody must have": {args("PodTopologySpread", "defaultingType: List\ndefaultConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway, minDomains: 2}]"), "args.defaultConstraints[0].minDomains: Invalid value: 2: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway"},
		"a policy":                      {args("PodTopologySpread", "defaultingType: List\ndefaultConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway, nodeTaintsPolicy: Never}]"), `args.defaultConstraints[0].nodeTaintsPolicy: Unsupported value: "Never": supported values: "Honor", "Ignore"`},
		"an affinity":                   {args("NodeAffinity", "addedAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Is}]}]}}"), "args.addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].operator"},
		"a preference":                  {args("NodeAffinity", "addedAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, preference: {matchExpressions: [{key: a, operator: Is}]}}]}"), "args.addedAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].matchExpressions[0].operator"},
		"the weight of others":          {args("InterPodAffinity", "hardPodAffinityWeight: 101"), "args.hardPodAffinityWeight: Invalid value: 101: not in valid range [0, 100]"},
		"candidates":                    {args("DefaultPreemption", "minCandidateNodesPercentage: 101\nminCandidateNodesAbsolute: -1"), "[profiles[0].pluginConfig[0].args.minCandidateNodesPercentage: Invalid value: 101: not in valid range [0, 100], profiles[0].pluginConfig[0].args.minCandidateNodesAbsolute: Invalid value: -1: not in valid range [0, inf)]"},
		"no candidates":                 {args("DefaultPreemption", "minCandidateNodesPercentage: 0\nminCandidateNodesAbsolute: 0"), "args.minCandidateNodesPercentage: Invalid value: 0: cannot be zero at the same time as minCandidateNodesAbsolute"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := profile.Read([]byte(tc.file))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Read: %v, %v; want an error with %s\n%s", c, err, tc.want, tc.file)
			}
		})
	}
}

// What is said of one point goes before what is said of all, and enabled before disabled.
func TestPlugins(t *testing.T) {
	const every = profile.NodeUnschedulable | profile.NodeName | profile.TaintToleration | profile.NodeAffinity | profile.NodePorts | profile.NodeResourcesFit | profile.PodTopologySpread | profile.InterPodAffinity
	usual := profile.Weights{Fit: 1, Balance: 1, Spread: 2, Between: 2, Preferred: 2, Taints: 3, Images: 1}
	weighs := func(edit func(*profile.Weights)) profile.Weights {
		w := usual
		edit(&w)
		return w
	}
	for name, tc := range map[string]struct {
		plugins  string
		filters  profile.Filter
		weights  profile.Weights
		preempts bool
	}{
		"nothing":                           {"{}", every, usual, true},
		"no scores":                         {"{preScore: {disabled: [{name: '*'}]}, score: {disabled: [{name: '*'}]}}", every, profile.Weights{}, true},
		"one score":                         {"{score: {disabled: [{name: '*'}], enabled: [{name: NodeResourcesFit, weight: 5}]}}", every, profile.Weights{Fit: 5}, true},
		"a weight":                          {"{score: {enabled: [{name: ImageLocality, weight: 7}]}}", every, weighs(func(w *profile.Weights) { w.Images = 7 }), true},
		"disabled and enabled":              {"{score: {disabled: [{name: ImageLocality}], enabled: [{name: ImageLocality, weight: 7}]}}", every, weighs(func(w *profile.Weights) { w.Images = 7 }), true},
		"a weight at every point":           {"{multiPoint: {enabled: [{name: PodTopologySpread, weight: 9}]}}", every, weighs(func(w *profile.Weights) { w.Spread = 9 }), true},
		"without a weight it is one":        {"{multiPoint: {enabled: [{name: TaintToleration}]}}", every, weighs(func(w *profile.Weights) { w.Taints = 1 }), true},
		"one point before all":              {"{multiPoint: {enabled: [{name: TaintToleration, weight: 4}]}, score: {enabled: [{name: TaintToleration, weight: 6}]}}", every, weighs(func(w *profile.Weights) { w.Taints = 6 }), true},
		"without a plugin":                  {"{multiPoint: {disabled: [{name: NodeAffinity}]}}", every &^ profile.NodeAffinity, weighs(func(w *profile.Weights) { w.Preferred = 0 }), true},
		"only its score":                    {"{multiPoint: {disabled: [{name: NodeAffinity}]}, preScore: {enabled: [{name: NodeAffinity}]}, score: {enabled: [{name: NodeAffinity, weight: 3}]}}", every &^ profile.NodeAffinity, weighs(func(w *profile.Weights) { w.Preferred = 3 }), true},
		"only its filter":                   {"{score: {disabled: [{name: TaintToleration}]}}", every, weighs(func(w *profile.Weights) { w.Taints = 0 }), true},
		"without a filter":                  {"{filter: {disabled: [{name: NodeUnschedulable}]}}", every &^ profile.NodeUnschedulable, usual, true},
		"nobody leaves":                     {"{postFilter: {disabled: [{name: DefaultPreemption}]}}", every, usual, false},
		"nobody leaves, at any point":       {"{multiPoint: {disabled: [{name: DefaultPreemption}]}}", every, usual, false},
		"only what has to be, and one more": {"{multiPoint: {disabled: [{name: '*'}], enabled: [{name: SchedulingGates}, {name: PrioritySort}, {name: VolumeRestrictions}, {name: VolumeBinding}, {name: DefaultBinder}, {name: NodeResourcesFit}]}}", profile.NodeResourcesFit, profile.Weights{Fit: 1}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := profile.Read([]byte(head + "profiles: [{schedulerName: mine, plugins: " + tc.plugins + "}]\n"))
			if err != nil {
				t.Fatal(err)
			}
			p := c.Profiles.Of("mine")
			for f := profile.NodeUnschedulable; f <= profile.InterPodAffinity; f <<= 1 {
				if got, want := p.Has(f), tc.filters&f != 0; got != want {
					t.Errorf("filter %b: %v, want %v", f, got, want)
				}
			}
			if p.Weights != tc.weights || p.Preempts != tc.preempts {
				t.Errorf("weights %+v, preempts %v; want %+v, %v", p.Weights, p.Preempts, tc.weights, tc.preempts)
			}
		})
	}
}

// Pods are of the profile of their name, and of no other.
func TestNames(t *testing.T) {
	read := func(text string) profile.Profiles {
		c, err := profile.Read([]byte(head + text))
		if err != nil {
			t.Fatal(err)
		}
		return c.Profiles
	}
	for name, tc := range map[string]struct {
		profiles     profile.Profiles
		serves, not  []string
		want         []string
		isOfDefaults bool
	}{
		"no file":          {nil, []string{"", "default-scheduler"}, []string{"mine"}, []string{"default-scheduler"}, true},
		"no profile":       {read("leaderElection: {leaderElect: false}\nenableProfiling: false\n"), []string{"", "default-scheduler"}, []string{"mine"}, []string{"default-scheduler"}, false},
		"one without name": {read("profiles: [{}]"), []string{"", "default-scheduler"}, []string{"mine"}, []string{"default-scheduler"}, false},
		"others":           {read("profiles: [{schedulerName: mine}, {schedulerName: yours}]"), []string{"mine", "yours"}, []string{"", "default-scheduler"}, []string{"mine", "yours"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			for _, n := range tc.serves {
				if !tc.profiles.Serves(n) {
					t.Errorf("pods of %q are not served", n)
				}
			}
			for _, n := range tc.not {
				if tc.profiles.Serves(n) {
					t.Errorf("pods of %q are served", n)
				}
			}
			if got := tc.profiles.Names(); !slices.Equal(got, tc.want) {
				t.Errorf("names %q, want %q", got, tc.want)
			}
			if got := tc.profiles.Of("").Standard(); got != tc.isOfDefaults {
				t.Errorf("the default profile: %v, want %v", got, tc.isOfDefaults)
			}
		})
	}
}

// Scores are Kubernetes', to the number.
func TestStrategies(t *testing.T) {
	curve := []profile.Point{{Used: 0, Score: 0}, {Used: 50, Score: 100}, {Used: 100, Score: 20}}
	equal := []profile.Resource{{Name: "cpu", Weight: 1}, {Name: "memory", Weight: 1}}
	for name, tc := range map[string]struct {
		strategy profile.Strategy
		amounts  map[corev1.ResourceName][2]int64 // used, there
		want     int64
	}{
		"least, empty":           {profile.Strategy{Resources: equal}, map[corev1.ResourceName][2]int64{"cpu": {0, 4}, "memory": {0, 8}}, 100},
		"least":                  {profile.Strategy{Resources: equal}, map[corev1.ResourceName][2]int64{"cpu": {1, 4}, "memory": {6, 8}}, 50},
		"least, weighed":         {profile.Strategy{Resources: []profile.Resource{{Name: "cpu", Weight: 3}, {Name: "memory", Weight: 1}}}, map[corev1.ResourceName][2]int64{"cpu": {1, 4}, "memory": {6, 8}}, 62},
		"least, more than there": {profile.Strategy{Resources: equal}, map[corev1.ResourceName][2]int64{"cpu": {9, 4}, "memory": {8, 8}}, 0},
		"most":                   {profile.Strategy{Type: profile.MostAllocated, Resources: equal}, map[corev1.ResourceName][2]int64{"cpu": {3, 4}, "memory": {4, 8}}, 62},
		"most, more than there":  {profile.Strategy{Type: profile.MostAllocated, Resources: equal}, map[corev1.ResourceName][2]int64{"cpu": {9, 4}, "memory": {8, 8}}, 100},
		"what is not there":      {profile.Strategy{Type: profile.MostAllocated, Resources: []profile.Resource{{Name: "example.com/gpu", Weight: 10}, {Name: "cpu", Weight: 1}}}, map[corev1.ResourceName][2]int64{"cpu": {1, 4}}, 25},
		"nothing is there":       {profile.Strategy{Resources: equal}, nil, 0},
		"a curve, at a point":    {profile.Strategy{Type: profile.RequestedToCapacityRatio, Resources: equal, Curve: curve}, map[corev1.ResourceName][2]int64{"cpu": {2, 4}, "memory": {4, 8}}, 100},
		"a curve, between":       {profile.Strategy{Type: profile.RequestedToCapacityRatio, Resources: equal, Curve: curve}, map[corev1.ResourceName][2]int64{"cpu": {3, 4}, "memory": {2, 8}}, 55},
		"a curve, without zeros": {profile.Strategy{Type: profile.RequestedToCapacityRatio, Resources: equal, Curve: curve}, map[corev1.ResourceName][2]int64{"cpu": {0, 4}, "memory": {2, 8}}, 50},
		"a curve, full":          {profile.Strategy{Type: profile.RequestedToCapacityRatio, Resources: equal, Curve: curve}, map[corev1.ResourceName][2]int64{"cpu": {9, 4}, "memory": {8, 8}}, 20},
		"a curve, before it":     {profile.Strategy{Type: profile.RequestedToCapacityRatio, Resources: equal, Curve: curve[1:]}, map[corev1.ResourceName][2]int64{"cpu": {0, 4}, "memory": {0, 8}}, 100},
		"a curve, after it":      {profile.Strategy{Type: profile.RequestedToCapacityRatio, Resources: equal, Curve: curve[:2]}, map[corev1.ResourceName][2]int64{"cpu": {4, 4}, "memory": {8, 8}}, 100},
		"amounts of exbibytes":   {profile.Strategy{Type: profile.MostAllocated, Resources: equal}, map[corev1.ResourceName][2]int64{"memory": {1 << 61, 1 << 62}}, 50},
	} {
		t.Run(name, func(t *testing.T) {
			got := tc.strategy.Score(func(name corev1.ResourceName) (used, have int64) { return tc.amounts[name][0], tc.amounts[name][1] })
			if got != tc.want {
				t.Errorf("score %d, want %d", got, tc.want)
			}
		})
	}
	for _, tc := range []struct {
		parts []float64
		want  int64
	}{{nil, 100}, {[]float64{0.3}, 100}, {[]float64{0.25, 0.75}, 75}, {[]float64{0, 0, 1}, 52}} {
		if got := profile.Even(tc.parts); got != tc.want {
			t.Errorf("evenness of %v: %d, want %d", tc.parts, got, tc.want)
		}
	}
}

// A file is read, and its name is told with what is wrong.
func TestLoad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "scheduler.yaml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(head + "profiles: [{schedulerName: mine}]\npodInitialBackoffSeconds: 2\npodMaxBackoffSeconds: 3\n")
	c, err := profile.Load(file)
	if err != nil || !c.Profiles.Serves("mine") || c.FirstBackoff.Seconds() != 2 || c.LastBackoff.Seconds() != 3 {
		t.Errorf("Load: %+v, %v", c, err)
	}
	write(head + "parallelism: 2\n")
	if _, err := profile.Load(file); err == nil || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "parallelism") {
		t.Errorf("Load of what is refused: %v", err)
	}
	for _, path := range []string{filepath.Dir(file), file + ".none"} {
		if _, err := profile.Load(path); err == nil {
			t.Errorf("Load of %s: no error", path)
		}
	}
}
