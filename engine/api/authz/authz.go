// Package authz decides who may do what. An [Authorizer], made by [New], asks a
// list of authorizers, of which the first with an opinion decides. The group
// system:masters may do everything. Who is asked after that, [Options] say,
// which are kube-apiserver's flags: by default a node may do what [Node] grants,
// and everyone what roles and their bindings grant ([RBAC]). What no authorizer
// allows is forbidden.
//
// Authorizers read the store and what follows it, [Graph] and rbac.Index; they
// are safe for concurrent use. A webhook that is asked may take as long as its
// timeout says, and answer a mebibyte.
package authz

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync/atomic"
	"time"

	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	authorizationmetrics "k8s.io/apiserver/pkg/authorization/metrics"
	"k8s.io/apiserver/pkg/authorization/union"
	"k8s.io/apiserver/pkg/server/options/authorizationconfig/metrics"

	"headway.dev/engine/api/configfile"
	"headway.dev/engine/rbac"
	"headway.dev/manifests/model/object"
)

// Config of New.
type Config struct {
	Reader object.Reader
	// Graph and Roles have observed what Reader reads.
	Graph *Graph
	Roles *rbac.Index
	// Configuration says who is asked; nil: nodes' rights and roles.
	Configuration *Configuration
	Log           *slog.Logger
}

// Authorizer is the server's authorizer.
type Authorizer struct {
	cfg Config
	// roles are the Config's, or those of a plan.
	roles   *rbac.Index
	current *atomic.Pointer[chain]
}

// chain is who is asked.
type chain struct {
	authorizer.Authorizer
	rules  authorizer.RuleResolver
	config *apiserver.AuthorizationConfiguration
	hooks  map[string]authorizer.Authorizer
}

var _ authorizer.RuleResolver = (*Authorizer)(nil)

// New returns the server's authorizer.
func New(cfg Config) (*Authorizer, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Configuration == nil {
		cfg.Configuration = &Configuration{AuthorizationConfiguration: &apiserver.AuthorizationConfiguration{
			Authorizers: []apiserver.AuthorizerConfiguration{{Type: modeNode, Name: "node"}, {Type: modeRBAC, Name: "rbac"}},
		}}
	}
	a := &Authorizer{cfg: cfg, roles: cfg.Roles, current: &atomic.Pointer[chain]{}}
	config := cfg.Configuration.AuthorizationConfiguration
	first, err := a.ofConfig(config)
	if err != nil {
		return nil, err
	}
	a.current.Store(first)
	return a, nil
}

// ofConfig makes the authorizers of a configuration.
func (a *Authorizer) ofConfig(config *apiserver.AuthorizationConfiguration) (*chain, error) {
	made, err := webhooks(config)
	if err != nil {
		return nil, err
	}
	hooks := map[string]authorizer.Authorizer{}
	for name, hook := range made {
		hooks[name] = hook
	}
	return a.join(config, hooks)
}

// join lists the authorizers of a configuration, which has these webhooks.
func (a *Authorizer) join(config *apiserver.AuthorizationConfiguration, hooks map[string]authorizer.Authorizer) (*chain, error) {
	named := []union.NamedAuthorizer{{AuthorizerName: "system-masters", Authorizer: authorizer.AuthorizerFunc(masters)}}
	rules := []authorizer.RuleResolver{privileged{}}
	for _, c := range config.Authorizers {
		var one authorizer.Authorizer
		switch c.Type {
		case modeNode:
			n := Node{a.cfg.Reader, a.cfg.Graph}
			one, rules = authorizer.AuthorizerFunc(n.Authorize), append(rules, n)
		case modeRBAC:
			r := RBAC{a.roles}
			one, rules = authorizer.AuthorizerFunc(r.Authorize), append(rules, r)
		case modeWebhook:
			one, rules = hooks[c.Name], append(rules, unknown{})
		case modeAlwaysAllow:
			all := authorizerfactory.NewAlwaysAllowAuthorizer()
			one, rules = all, append(rules, all)
		case modeAlwaysDeny:
			one = authorizerfactory.NewAlwaysDenyAuthorizer()
		default:
			return nil, fmt.Errorf("unknown authorization mode %s specified", c.Type)
		}
		named = append(named, union.NamedAuthorizer{AuthorizerName: c.Name, Authorizer: authorizationmetrics.InstrumentedAuthorizer(string(c.Type), c.Name, one)})
	}
	all, err := union.New(named...)
	if err != nil {
		return nil, err
	}
	return &chain{all, union.NewRuleResolvers(rules...), config, hooks}, nil
}

// After returns an authorizer that decides by other roles.
func (a *Authorizer) After(roles *rbac.Index) *Authorizer {
	next := &Authorizer{cfg: a.cfg, roles: roles, current: &atomic.Pointer[chain]{}}
	now := a.current.Load()
	joined, err := next.join(now.config, now.hooks)
	if err != nil {
		joined = now // what could be joined once can be again
	}
	next.current.Store(joined)
	return next
}

// Authorize implements authorizer.Authorizer.
func (a *Authorizer) Authorize(ctx context.Context, attributes authorizer.Attributes) (authorizer.Decision, string, error) {
	return a.current.Load().Authorize(ctx, attributes)
}

// ConditionsAwareAuthorize implements authorizer.Authorizer.
func (a *Authorizer) ConditionsAwareAuthorize(ctx context.Context, attributes authorizer.Attributes) authorizer.ConditionsAwareDecision {
	return a.current.Load().ConditionsAwareAuthorize(ctx, attributes)
}

// EvaluateConditions implements authorizer.Authorizer.
func (a *Authorizer) EvaluateConditions(ctx context.Context, decision authorizer.ConditionsAwareDecision, data authorizer.ConditionsData) (authorizer.Decision, string, error) {
	return a.current.Load().EvaluateConditions(ctx, decision, data)
}

// RulesFor implements authorizer.RuleResolver.
func (a *Authorizer) RulesFor(ctx context.Context, u user.Info, namespace string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	return a.current.Load().rules.RulesFor(ctx, u, namespace)
}

// ask bounds how long a question of a part of this process may take.
const ask = 30 * time.Second

// May answers a part of this process that has no request: may the user do it, and
// why, or why not. It asks as long as ctx lasts, and half a minute at most. An error means that somebody who decides could not be asked, and
// nobody else allowed it: it says nothing about the user.
func (a *Authorizer) May(ctx context.Context, u rbac.User, r rbac.Request) (allowed bool, reason string, err error) {
	ctx, cancel := context.WithTimeout(ctx, ask)
	defer cancel()
	decision, reason, err := a.Authorize(ctx, authorizer.AttributesRecord{
		User: &user.DefaultInfo{Name: u.Name, UID: u.UID, Groups: u.Groups, Extra: u.Extra}, Verb: r.Verb, Path: r.Path, ResourceRequest: r.Path == "",
		APIGroup: r.Group, APIVersion: "*", Resource: r.Resource, Subresource: r.Subresource, Namespace: r.Namespace, Name: r.Name,
	})
	if decision == authorizer.DecisionAllow {
		return true, reason, nil
	}
	return false, reason, err
}

// Run reads the configuration's file again when it changes, until ctx ends. While
// it is wrong, what was before holds.
func (a *Authorizer) Run(ctx context.Context) {
	path, read := a.cfg.Configuration.path, a.cfg.Configuration.read
	if path == "" {
		return
	}
	metrics.RegisterMetrics()
	metrics.RecordAuthorizationConfigLastConfigInfo(serverID, read)
	configfile.Follow(ctx, "authorization configuration", path, a.cfg.Log, func() {
		data, err := configfile.Read(path)
		if err == nil && data == read {
			return
		}
		if err == nil {
			read = data
			err = a.reload(data)
		}
		if err != nil {
			metrics.RecordAuthorizationConfigAutomaticReloadFailure(serverID)
			a.cfg.Log.Error("Authorization configuration not read, the one from before holds", "file", path, "error", err)
			return
		}
		metrics.RecordAuthorizationConfigAutomaticReloadSuccess(serverID, data)
		a.cfg.Log.Info("Authorization configuration read", "file", path)
	})
}

// serverID tells this server in metrics from others.
const serverID = "headway"

func (a *Authorizer) reload(data string) error {
	config, err := parse(data)
	if err != nil {
		return err
	}
	if reflect.DeepEqual(config, a.current.Load().config) {
		return nil
	}
	// Requests without a user would be let in to do everything.
	if (&Configuration{AuthorizationConfiguration: config}).AllowsAll() && !a.cfg.Configuration.AllowsAll() {
		return fmt.Errorf("authorizer type %s is not allowed if it was not enabled at initial server startup", modeAlwaysAllow)
	}
	next, err := a.ofConfig(config)
	if err != nil {
		return err
	}
	a.current.Store(next)
	return nil
}

func masters(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	if memberOf(a.GetUser(), user.SystemPrivilegedGroup) {
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionNoOpinion, "", nil
}

// RBAC grants what roles and their bindings grant.
type RBAC struct{ Index *rbac.Index }

// Authorize implements authorizer.AuthorizerFunc.
func (r RBAC) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	allowed, reason := r.Index.Authorize(User(a.GetUser()), request(a))
	if allowed {
		return authorizer.DecisionAllow, reason, nil
	}
	return authorizer.DecisionNoOpinion, reason, nil
}

// User is a user as package rbac knows them.
func User(u user.Info) rbac.User {
	if u == nil {
		return rbac.User{}
	}
	return rbac.User{Name: u.GetName(), Groups: u.GetGroups(), UID: u.GetUID(), Extra: u.GetExtra()}
}

func request(a authorizer.Attributes) rbac.Request {
	if !a.IsResourceRequest() {
		return rbac.Request{Verb: a.GetVerb(), Path: a.GetPath()}
	}
	return rbac.Request{
		Verb: a.GetVerb(), Group: a.GetAPIGroup(), Resource: a.GetResource(), Subresource: a.GetSubresource(),
		Namespace: a.GetNamespace(), Name: a.GetName(),
	}
}

func memberOf(u user.Info, group string) bool {
	return u != nil && slices.Contains(u.GetGroups(), group)
}
