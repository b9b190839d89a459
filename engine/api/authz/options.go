package authz

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/load"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	authorizationcel "k8s.io/apiserver/pkg/authorization/cel"

	"headway.dev/engine/api/configfile"
)

// The modes of authorization. Kubernetes' ABAC is not built.
const (
	modeNode        = "Node"
	modeRBAC        = "RBAC"
	modeWebhook     = "Webhook"
	modeAlwaysAllow = "AlwaysAllow"
	modeAlwaysDeny  = "AlwaysDeny"
)

var modes = []string{modeAlwaysAllow, modeAlwaysDeny, modeNode, modeRBAC, modeWebhook}

const (
	modeFlag       = "authorization-mode"
	configFlag     = "authorization-config"
	webhookPrefix  = "authorization-webhook-"
	hookConfigFlag = webhookPrefix + "config-file"
)

// Options are kube-apiserver's flags about authorization. By default nodes may do
// what they need, and everybody what roles grant.
type Options struct {
	modes []string
	file  string
	hook  struct {
		file, version       string
		allowed, notAllowed time.Duration
	}
	flags *pflag.FlagSet
}

// AddFlags adds the flags, and sets their defaults.
func (o *Options) AddFlags(flags *pflag.FlagSet) {
	o.flags = flags
	flags.StringSliceVar(&o.modes, modeFlag, []string{modeNode, modeRBAC}, "who decides about requests, in this order: "+strings.Join(modes, ", "))
	flags.StringVar(&o.file, configFlag, "", "file with Kubernetes' AuthorizationConfiguration, in place of the other flags about authorization; read again when it changes")
	flags.StringVar(&o.hook.file, hookConfigFlag, "", "kubeconfig of the service that the mode Webhook asks, by SubjectAccessReviews")
	flags.StringVar(&o.hook.version, webhookPrefix+"version", "v1beta1", "version of the SubjectAccessReviews: v1 or v1beta1")
	flags.DurationVar(&o.hook.allowed, webhookPrefix+"cache-authorized-ttl", 5*time.Minute, "how long the service's answers hold that allow something")
	flags.DurationVar(&o.hook.notAllowed, webhookPrefix+"cache-unauthorized-ttl", 30*time.Second, "how long the service's other answers hold")
}

// Check returns what is wrong with the flags and the files that they name.
func (o *Options) Check() error {
	_, err := o.Open()
	return err
}

// Configuration is what the flags say.
type Configuration struct {
	*apiserver.AuthorizationConfiguration
	// path is that of its file, and read what that contained; both may be empty.
	path, read string
}

// AllowsAll reports whether everybody may do everything.
func (c *Configuration) AllowsAll() bool {
	return c != nil && slices.ContainsFunc(c.Authorizers, func(a apiserver.AuthorizerConfiguration) bool { return a.Type == modeAlwaysAllow })
}

// Open returns what the flags say. It is nil, which is the default, without them.
func (o *Options) Open() (*Configuration, error) {
	if o.flags == nil {
		return nil, nil
	}
	if o.file == "" {
		return o.ofFlags()
	}
	var given []string
	o.flags.Visit(func(f *pflag.Flag) {
		if f.Name == modeFlag || strings.HasPrefix(f.Name, webhookPrefix) {
			given = append(given, "--"+f.Name)
		}
	})
	if given != nil {
		return nil, fmt.Errorf("--%s can not be specified when %s is also specified", configFlag, strings.Join(given, ", "))
	}
	path, err := filepath.Abs(o.file)
	if err != nil {
		return nil, fmt.Errorf("--%s: %w", configFlag, err)
	}
	data, err := configfile.Read(path)
	if err != nil {
		return nil, fmt.Errorf("--%s: %w", configFlag, err)
	}
	config, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("--%s: %s: %w", configFlag, path, err)
	}
	return &Configuration{config, path, data}, nil
}

func (o *Options) ofFlags() (*Configuration, error) {
	if len(o.modes) == 0 {
		return nil, errors.New("at least one authorization-mode must be passed")
	}
	var hook bool
	o.flags.Visit(func(f *pflag.Flag) { hook = hook || strings.HasPrefix(f.Name, webhookPrefix) })
	config := &apiserver.AuthorizationConfiguration{}
	for i, mode := range o.modes {
		switch {
		case mode == "ABAC":
			return nil, errors.New("authorization-mode ABAC is not supported: use RBAC")
		case !slices.Contains(modes, mode):
			return nil, fmt.Errorf("authorization-mode %q is not a valid mode: use %s", mode, strings.Join(modes, ", "))
		case slices.Contains(o.modes[:i], mode):
			return nil, fmt.Errorf("authorization-mode %q has mode specified more than once", o.modes)
		case mode == modeWebhook && o.hook.file == "":
			return nil, errors.New("authorization-mode Webhook's authorization config file not passed")
		}
		a := apiserver.AuthorizerConfiguration{Type: apiserver.AuthorizerType(mode), Name: strings.ToLower(mode)}
		if mode == modeWebhook {
			path, err := filepath.Abs(o.hook.file)
			if err != nil {
				return nil, fmt.Errorf("--%s: %w", hookConfigFlag, err)
			}
			a.Name = "default"
			a.Webhook = &apiserver.WebhookConfiguration{
				AuthorizedTTL: metav1.Duration{Duration: o.hook.allowed}, CacheAuthorizedRequests: o.hook.allowed > 0,
				UnauthorizedTTL: metav1.Duration{Duration: o.hook.notAllowed}, CacheUnauthorizedRequests: o.hook.notAllowed > 0,
				Timeout: metav1.Duration{Duration: webhookTimeout}, FailurePolicy: apiserver.FailurePolicyNoOpinion,
				SubjectAccessReviewVersion: o.hook.version,
				ConnectionInfo:             apiserver.WebhookConnectionInfo{Type: apiserver.AuthorizationWebhookConnectionInfoTypeKubeConfigFile, KubeConfigFile: &path},
			}
		}
		config.Authorizers = append(config.Authorizers, a)
	}
	if hook && !slices.Contains(o.modes, modeWebhook) {
		return nil, fmt.Errorf("cannot specify --%s* without mode Webhook", webhookPrefix)
	}
	c := &Configuration{AuthorizationConfiguration: config}
	if _, err := webhooks(config); err != nil {
		return nil, err
	}
	return c, nil
}

// parse reads a configuration, and returns what Kubernetes finds wrong with it.
func parse(data string) (*apiserver.AuthorizationConfiguration, error) {
	if data == "" {
		return nil, errors.New("empty config data")
	}
	config, err := load.LoadFromData([]byte(data))
	if err != nil {
		return nil, err
	}
	errs := validation.ValidateAuthorizationConfiguration(authorizationcel.NewDefaultCompiler(), nil, config, sets.New(modes...), sets.New(modeWebhook))
	for i, a := range config.Authorizers {
		if a.Webhook != nil && a.Webhook.ConnectionInfo.Type == apiserver.AuthorizationWebhookConnectionInfoTypeInCluster {
			errs = append(errs, field.NotSupported(field.NewPath("authorizers").Index(i).Child("connectionInfo", "type"),
				a.Webhook.ConnectionInfo.Type, []string{apiserver.AuthorizationWebhookConnectionInfoTypeKubeConfigFile}))
		}
	}
	if err := errs.ToAggregate(); err != nil {
		return nil, err
	}
	_, err = webhooks(config)
	return config, err
}
