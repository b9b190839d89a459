package profile

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
	componentbase "k8s.io/component-base/config/v1alpha1"
	v1 "k8s.io/kube-scheduler/config/v1"
	"k8s.io/utils/ptr"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// most bounds a file, in bytes.
const most = 1 << 20

// Load reads a file with Kubernetes' KubeSchedulerConfiguration.
func Load(path string) (Configuration, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Configuration{}, err
	}
	if !info.Mode().IsRegular() || info.Size() > most {
		return Configuration{}, fmt.Errorf("%s: it is no regular file of at most %d bytes", path, most)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return Configuration{}, err
	}
	c, err := Read(data)
	if err != nil {
		return c, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// Read reads a KubeSchedulerConfiguration.
func Read(data []byte) (Configuration, error) {
	text, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return Configuration{}, err
	}
	var from v1.KubeSchedulerConfiguration
	if err := errors.Join(strictly(text, &from)...); err != nil {
		return Configuration{}, err
	}
	if from.Kind != "KubeSchedulerConfiguration" || from.APIVersion != v1.SchemeGroupVersion.String() {
		return Configuration{}, fmt.Errorf("it is a %q of %q, and not a KubeSchedulerConfiguration of %s", from.Kind, from.APIVersion, v1.SchemeGroupVersion)
	}
	faults := unserved(&from)
	c := Configuration{Profiles: Profiles{}}
	c.FirstBackoff, c.LastBackoff = time.Duration(ptr.Deref(from.PodInitialBackoffSeconds, 1))*time.Second, time.Duration(ptr.Deref(from.PodMaxBackoffSeconds, 10))*time.Second
	if c.FirstBackoff <= 0 {
		faults = append(faults, field.Invalid(field.NewPath("podInitialBackoffSeconds"), from.PodInitialBackoffSeconds, "must be greater than 0"))
	}
	if c.LastBackoff < c.FirstBackoff {
		faults = append(faults, field.Invalid(field.NewPath("podMaxBackoffSeconds"), int64(c.LastBackoff/time.Second), "must be greater than or equal to PodInitialBackoffSeconds"))
	}
	faults = append(faults, checkPercent(from.PercentageOfNodesToScore, field.NewPath("percentageOfNodesToScore"))...)
	if len(from.Profiles) == 0 {
		from.Profiles = []v1.KubeSchedulerProfile{{}}
	}
	if len(from.Profiles) == 1 && from.Profiles[0].SchedulerName == nil {
		from.Profiles[0].SchedulerName = ptr.To(corev1.DefaultSchedulerName)
	}
	for i := range from.Profiles {
		path := field.NewPath("profiles").Index(i)
		p, wrong := profileOf(&from.Profiles[i], from.PercentageOfNodesToScore, path)
		faults = append(faults, wrong...)
		switch {
		case p.Name == "":
			faults = append(faults, field.Required(path.Child("schedulerName"), ""))
		case c.Profiles[p.Name] != nil:
			faults = append(faults, field.Duplicate(path.Child("schedulerName"), p.Name))
		}
		c.Profiles[p.Name] = p
	}
	if len(faults) > 0 {
		return Configuration{}, faults.ToAggregate()
	}
	return c, nil
}

// unserved refuses what has no effect here.
func unserved(from *v1.KubeSchedulerConfiguration) (faults field.ErrorList) {
	refuse := func(name, why string, is bool) {
		if is {
			faults = append(faults, field.Forbidden(field.NewPath(name), why))
		}
	}
	refuse("parallelism", "Headway's scheduler asks one node after the other", from.Parallelism != nil)
	elect := from.LeaderElection
	if ptr.Equal(elect.LeaderElect, new(false)) {
		elect.LeaderElect = nil // as it is
	}
	refuse("leaderElection", "Headway has one scheduler, which elects no leader", !apiequality.Semantic.DeepEqual(elect, componentbase.LeaderElectionConfiguration{}))
	refuse("clientConnection", "Headway's scheduler has no connection: it is where the objects are", from.ClientConnection != componentbase.ClientConnectionConfiguration{})
	refuse("enableProfiling", "Headway's scheduler serves no profiles", ptr.Deref(from.EnableProfiling, false))
	refuse("enableContentionProfiling", "Headway's scheduler serves no profiles", ptr.Deref(from.EnableContentionProfiling, false))
	refuse("extenders", "Headway's scheduler asks no other program", len(from.Extenders) > 0)
	refuse("delayCacheUntilActive", "Headway has one scheduler, which is always active", from.DelayCacheUntilActive)
	return faults
}

func checkPercent(percent *int32, path *field.Path) field.ErrorList {
	if percent != nil && (*percent < 0 || *percent > 100) {
		return field.ErrorList{field.Invalid(path, *percent, "not in valid range [0-100]")}
	}
	return nil
}

func profileOf(from *v1.KubeSchedulerProfile, percent *int32, path *field.Path) (p *Profile, faults field.ErrorList) {
	p = newProfile(ptr.Deref(from.SchedulerName, ""))
	faults = checkPercent(from.PercentageOfNodesToScore, path.Child("percentageOfNodesToScore"))
	if from.PercentageOfNodesToScore != nil {
		percent = from.PercentageOfNodesToScore
	}
	p.percent = int(ptr.Deref(percent, 0))
	if from.Plugins != nil {
		faults = append(faults, p.setPlugins(from.Plugins, path.Child("plugins"))...)
	}
	return p, append(faults, p.setArgs(from.PluginConfig, path.Child("pluginConfig"))...)
}

// strictly decodes JSON, and finds what is not known or there twice.
func strictly(data []byte, into any) []error {
	if len(data) == 0 {
		return nil
	}
	faults, err := kjson.UnmarshalStrict(data, into)
	if err != nil {
		return []error{err}
	}
	return faults
}

// lenient decodes what is known.
func lenient(data []byte, into any) error {
	if len(data) == 0 {
		return nil
	}
	return json.Unmarshal(data, into)
}
