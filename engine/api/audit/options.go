package audit

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/pflag"
	"gopkg.in/natefinch/lumberjack.v2"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/audit/policy"
	"k8s.io/apiserver/pkg/server/options"
	"k8s.io/apiserver/pkg/util/webhook"
	logplugin "k8s.io/apiserver/plugin/pkg/audit/log"
	"k8s.io/apiserver/plugin/pkg/audit/truncate"
	webhookplugin "k8s.io/apiserver/plugin/pkg/audit/webhook"
)

// Options are kube-apiserver's flags about the audit log, with its defaults.
type Options struct{ flags *options.AuditOptions }

// shown are the flags in the help. The others are for fine adjustment, and are
// documented with kube-apiserver.
var shown = []string{
	"audit-policy-file", "audit-log-path", "audit-log-maxage", "audit-log-maxbackup", "audit-log-maxsize", "audit-log-format", "audit-log-compress",
	"audit-log-mode", "audit-log-truncate-enabled", "audit-webhook-config-file", "audit-webhook-mode",
}

// AddFlags adds the flags, and sets their defaults.
func (o *Options) AddFlags(flags *pflag.FlagSet) {
	o.flags = options.NewAuditOptions()
	own := pflag.NewFlagSet("audit", pflag.ContinueOnError)
	o.flags.AddFlags(own)
	own.VisitAll(func(f *pflag.Flag) { f.Hidden = f.Hidden || !slices.Contains(shown, f.Name) })
	flags.AddFlagSet(own)
}

// Check refuses what would have no effect, and returns what is wrong with the
// flags and the policy.
func (o *Options) Check() error {
	if o.flags == nil {
		return nil
	}
	logs, hook := o.flags.LogOptions.Path != "", o.flags.WebhookOptions.ConfigFile != ""
	switch {
	case o.flags.PolicyFile == "" && logs:
		return errors.New("--audit-log-path needs --audit-policy-file, which says what is logged")
	case o.flags.PolicyFile == "" && hook:
		return errors.New("--audit-webhook-config-file needs --audit-policy-file, which says what is sent")
	case o.flags.PolicyFile != "" && !logs && !hook:
		return errors.New("--audit-policy-file needs --audit-log-path or --audit-webhook-config-file: where should the events go?")
	}
	_, err := o.evaluator()
	return errors.Join(append(o.flags.Validate(), err)...)
}

// evaluator reads the policy; without one it is nil.
func (o *Options) evaluator() (audit.PolicyRuleEvaluator, error) {
	if o.flags.PolicyFile == "" {
		return nil, nil
	}
	p, err := policy.LoadPolicyFromFile(o.flags.PolicyFile)
	if err != nil {
		return nil, fmt.Errorf("--audit-policy-file: %w", err)
	}
	return closed{policy.NewPolicyRuleEvaluator(p)}, nil
}

// Open opens the log; it is nil without a policy.
func (o *Options) Open() (*Log, error) {
	if o.flags == nil || o.flags.PolicyFile == "" {
		return nil, nil
	}
	evaluator, err := o.evaluator()
	if err != nil {
		return nil, err
	}
	l := &Log{Evaluator: evaluator}
	var backends []audit.Backend
	if logs := o.flags.LogOptions; logs.Path != "" {
		out, err := open(logs)
		if err != nil {
			return nil, fmt.Errorf("--audit-log-path: %w", err)
		}
		version, err := schema.ParseGroupVersion(logs.GroupVersionString)
		if err != nil {
			return nil, fmt.Errorf("--audit-log-version: %w", err)
		}
		file := logFile{logplugin.NewBackend(out, logs.Format, version), out}
		backends = append(backends, limited(buffered(file, logs.BatchOptions), logs.TruncateOptions, version))
	}
	if hook := o.flags.WebhookOptions; hook.ConfigFile != "" {
		version, err := schema.ParseGroupVersion(hook.GroupVersionString)
		if err != nil {
			return nil, fmt.Errorf("--audit-webhook-version: %w", err)
		}
		backend, err := webhookplugin.NewBackend(hook.ConfigFile, version, webhook.DefaultRetryBackoffWithInitialDelay(hook.InitialBackoff), nil)
		if err != nil {
			return nil, fmt.Errorf("--audit-webhook-config-file: %w", err)
		}
		backends = append(backends, limited(buffered(backend, hook.BatchOptions), hook.TruncateOptions, version))
	}
	l.Backend = redacted{audit.Union(backends...)}
	return l, nil
}

// limited cuts events to the size that the flags allow.
func limited(b audit.Backend, o options.AuditTruncateOptions, version schema.GroupVersion) audit.Backend {
	if !o.Enabled {
		return b
	}
	return truncate.NewBackend(b, o.TruncateConfig, version)
}

// Log is where the API server's events go.
type Log struct {
	Backend   audit.Backend
	Evaluator audit.PolicyRuleEvaluator
}

// logFile is the backend of a file, which it closes at the end.
type logFile struct {
	audit.Backend
	out io.WriteCloser
}

// Shutdown implements audit.Backend.
func (f logFile) Shutdown() {
	f.Backend.Shutdown()
	if f.out != os.Stdout {
		_ = f.out.Close() // each event has been written by itself
	}
}

// open opens the file, readable by its owner only, and rotates it as the flags
// say.
func open(o options.AuditLogOptions) (io.WriteCloser, error) {
	if o.Path == "-" {
		return os.Stdout, nil
	}
	if err := os.MkdirAll(filepath.Dir(o.Path), 0o700); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(o.Path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil || o.MaxSize == 0 {
		return file, err
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	return &lumberjack.Logger{Filename: o.Path, MaxAge: o.MaxAge, MaxBackups: o.MaxBackups, MaxSize: o.MaxSize, Compress: o.Compress}, nil
}
