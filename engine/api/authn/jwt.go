package authn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	authenticationcel "k8s.io/apiserver/pkg/authentication/cel"
	tokenunion "k8s.io/apiserver/pkg/authentication/token/union"
	"k8s.io/apiserver/pkg/server/options/authenticationconfig/metrics"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/oidc"
	certutil "k8s.io/client-go/util/cert"

	"headway.dev/engine/api/configfile"
	"headway.dev/engine/api/outbound"
	"headway.dev/engine/satoken"
	"headway.dev/manifests/guard"
)

const (
	// maxAnswer bounds what an issuer or a webhook answers.
	maxAnswer = 1 << 20
	// takeOver is how long new issuers may take to say which keys they have;
	// until then, those from before are asked. They answer for lame longer, as
	// requests may still ask them.
	takeOver = time.Minute
	lame     = time.Minute
	// serverID tells this server in metrics from others.
	serverID = "headway"
)

// algorithms are those that JSON Web Tokens may be signed with.
func algorithms() []string { return oidc.AllValidSigningAlgorithms() }

var decoder = sync.OnceValue(func() runtime.Decoder {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	return serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDecoder()
})

// jwt knows the users of JSON Web Tokens by a configuration's issuers.
type jwt struct {
	// path is empty if no file has the configuration; read is what it contained.
	path, read string
	config     *apiserver.AuthenticationConfiguration
	algorithms []string
	log        *slog.Logger
	current    atomic.Pointer[issuers]
}

// issuers are those of one configuration.
type issuers struct {
	authenticator.Token
	all  []oidc.AuthenticatorTokenWithHealthCheck
	urls []string
	stop func()
}

func newJWT(config *apiserver.AuthenticationConfiguration, algorithms []string, log *slog.Logger) (*jwt, error) {
	if err := check(config); err != nil {
		return nil, err
	}
	return &jwt{config: config, algorithms: algorithms, log: log}, nil
}

func ofFile(path string, log *slog.Logger) (*jwt, error) {
	path, err := absolute(path)
	if err != nil {
		return nil, err
	}
	data, err := configfile.Read(path)
	if err != nil {
		return nil, err
	}
	config, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	j, err := newJWT(config, algorithms(), log)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	j.path, j.read = path, data
	return j, nil
}

func parse(data string) (*apiserver.AuthenticationConfiguration, error) {
	if data == "" {
		return nil, errors.New("empty config data")
	}
	obj, err := runtime.Decode(decoder(), []byte(data))
	if err != nil {
		return nil, err
	}
	config, ok := obj.(*apiserver.AuthenticationConfiguration)
	if !ok {
		return nil, fmt.Errorf("expected AuthenticationConfiguration, got %T", obj)
	}
	return config, nil
}

// check returns what Kubernetes finds wrong, and what would have no effect.
func check(config *apiserver.AuthenticationConfiguration) error {
	errs := validation.ValidateAuthenticationConfiguration(authenticationcel.NewDefaultCompiler(), config, []string{satoken.URL})
	for i, a := range config.JWT {
		if a.Issuer.EgressSelectorType != "" {
			errs = append(errs, field.Forbidden(field.NewPath("jwt").Index(i).Child("issuer", "egressSelectorType"), "this server has no egress selectors"))
		}
	}
	return errs.ToAggregate()
}

// AuthenticateToken implements authenticator.Token.
func (j *jwt) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	now := j.current.Load()
	if now == nil {
		return nil, false, nil
	}
	return now.AuthenticateToken(ctx, token)
}

// start asks the issuers for their keys, in the background.
func (j *jwt) start(ctx context.Context, config *apiserver.AuthenticationConfiguration) (*issuers, error) {
	ctx, cancel := context.WithCancel(ctx)
	next := &issuers{}
	var transports []*http.Transport
	next.stop = func() {
		cancel()
		for _, t := range transports {
			t.CloseIdleConnections()
		}
	}
	compiler := authenticationcel.NewDefaultCompiler()
	var all []authenticator.Token
	for _, a := range config.JWT {
		transport := &http.Transport{}
		if a.Issuer.CertificateAuthority != "" {
			pool, err := certutil.NewPoolFromBytes([]byte(a.Issuer.CertificateAuthority))
			if err != nil {
				next.stop()
				return nil, fmt.Errorf("authorities of %s: %w", a.Issuer.URL, err)
			}
			transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
		}
		transport = utilnet.SetTransportDefaults(transport)
		transports = append(transports, transport)
		one, err := oidc.New(ctx, oidc.Options{
			JWTAuthenticator:     a,
			Client:               &http.Client{Transport: outbound.WithBoundedAnswers(transport, maxAnswer), Timeout: 30 * time.Second},
			Compiler:             compiler,
			SupportedSigningAlgs: j.algorithms,
			DisallowedIssuers:    []string{satoken.URL},
			APIServerID:          serverID,
		})
		if err != nil {
			next.stop()
			return nil, err
		}
		all, next.all, next.urls = append(all, one), append(next.all, one), append(next.urls, a.Issuer.URL)
	}
	next.Token = tokenunion.New(all...)
	return next, nil
}

// run asks the issuers, and reads the file again when it changes, until ctx ends.
func (j *jwt) run(ctx context.Context) {
	var retiring sync.WaitGroup
	defer retiring.Wait()
	first, err := j.start(ctx, j.config)
	if err != nil {
		j.log.Error("Authentication configuration without effect", "error", err)
		return
	}
	j.current.Store(first)
	defer func() { j.current.Swap(nil).stop() }()
	if j.path == "" {
		<-ctx.Done()
		return
	}
	metrics.RegisterMetrics()
	metrics.RecordAuthenticationConfigLastConfigInfo(serverID, j.read)
	configfile.Follow(ctx, "authentication configuration", j.path, j.log, func() {
		old, err := j.reload(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			metrics.RecordAuthenticationConfigAutomaticReloadFailure(serverID)
			j.log.Error("Authentication configuration not read, the one from before holds", "file", j.path, "error", err)
		case old != nil:
			metrics.RecordAuthenticationConfigAutomaticReloadSuccess(serverID, j.read)
			j.log.Info("Authentication configuration read", "file", j.path)
			retiring.Add(1)
			go guard.Do(ctx, "retire issuers", func() {
				defer retiring.Done()
				j.retire(ctx, old)
			})
		}
	})
}

// reload takes over a changed file, and returns the issuers that it replaces; nil
// if nothing has changed. What is wrong is told once.
func (j *jwt) reload(ctx context.Context) (old *issuers, err error) {
	data, err := configfile.Read(j.path)
	if err != nil || data == j.read {
		return nil, err
	}
	before := j.read
	j.read = data
	config, err := parse(data)
	if err != nil {
		return nil, err
	}
	if err := check(config); err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(config.Anonymous, j.config.Anonymous) {
		return nil, field.Forbidden(field.NewPath("anonymous"), "changed from initial configuration file")
	}
	next, err := j.start(ctx, config)
	if err != nil {
		return nil, err
	}
	if err := j.healthy(ctx, next, data); err != nil {
		j.end(next)
		j.read = before // to be tried again
		return nil, err
	}
	j.config = config
	return j.current.Swap(next), nil
}

// healthy waits until the keys of all issuers are known. It gives up when the
// file has changed again.
func (j *jwt) healthy(ctx context.Context, next *issuers, data string) error {
	ctx, cancel := context.WithTimeout(ctx, takeOver)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		var errs []error
		for _, one := range next.all {
			errs = append(errs, one.HealthCheck())
		}
		err := errors.Join(errs...)
		if err == nil {
			return nil
		}
		if again, readErr := configfile.Read(j.path); readErr == nil && again != data {
			return errors.New("the file changed again before its issuers answered")
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

// retire ends issuers that are asked no more, once nobody waits for them.
func (j *jwt) retire(ctx context.Context, old *issuers) {
	timer := time.NewTimer(lame)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
	j.end(old)
}

// end ends issuers that are not, or no longer, asked. What the metrics say of those
// that are not among the others goes with them.
func (j *jwt) end(of *issuers) {
	of.stop()
	now := j.current.Load()
	for _, url := range of.urls {
		if now == nil || !slices.Contains(now.urls, url) {
			oidc.DeleteJWKSFetchMetrics(url, serverID)
		}
	}
}
