package validation_test

import (
	"testing"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
)

func flowSchemaCases(t *testing.T) {
	t.Helper()
	base := `{apiVersion: flowcontrol.apiserver.k8s.io/v1, kind: FlowSchema, metadata: {name: s}, spec: {priorityLevelConfiguration: {name: low}, rules: [{subjects: [{kind: User, user: {name: ada}}], resourceRules: [{verbs: [get], apiGroups: [""], resources: [pods], namespaces: [shop]}]}]}}`
	rule := func(edit func(r *flowcontrolv1.PolicyRulesWithSubjects)) func(*flowcontrolv1.FlowSchema) {
		return func(s *flowcontrolv1.FlowSchema) { edit(&s.Spec.Rules[0]) }
	}
	subject := func(edit func(s *flowcontrolv1.Subject)) func(*flowcontrolv1.FlowSchema) {
		return rule(func(r *flowcontrolv1.PolicyRulesWithSubjects) { edit(&r.Subjects[0]) })
	}
	resources := func(edit func(r *flowcontrolv1.ResourcePolicyRule)) func(*flowcontrolv1.FlowSchema) {
		return rule(func(r *flowcontrolv1.PolicyRulesWithSubjects) { edit(&r.ResourceRules[0]) })
	}
	urls := func(list ...string) func(*flowcontrolv1.FlowSchema) {
		return rule(func(r *flowcontrolv1.PolicyRulesWithSubjects) {
			r.NonResourceRules = []flowcontrolv1.NonResourcePolicyRule{{Verbs: []string{"*"}, NonResourceURLs: list}}
		})
	}
	create(t, base, cases[*flowcontrolv1.FlowSchema]{
		"as it is":         {func(*flowcontrolv1.FlowSchema) {}, nil},
		"precedence":       {func(s *flowcontrolv1.FlowSchema) { s.Spec.MatchingPrecedence = -1 }, []string{`spec.matchingPrecedence: Invalid value: -1: must be a positive value`}},
		"large precedence": {func(s *flowcontrolv1.FlowSchema) { s.Spec.MatchingPrecedence = 10001 }, []string{`spec.matchingPrecedence: Invalid value: 10001: must not be greater than 10000`}},
		"first":            {func(s *flowcontrolv1.FlowSchema) { s.Spec.MatchingPrecedence = 1 }, []string{`spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1`}},
		"method": {func(s *flowcontrolv1.FlowSchema) {
			s.Spec.DistinguisherMethod = &flowcontrolv1.FlowDistinguisherMethod{Type: "ByVerb"}
		}, []string{`spec.distinguisherMethod.type: Unsupported value: "ByVerb": supported values: "ByNamespace", "ByUser"`}},
		"no level":   {func(s *flowcontrolv1.FlowSchema) { s.Spec.PriorityLevelConfiguration.Name = "" }, []string{`spec.priorityLevelConfiguration.name: Required value: must reference a priority level`}},
		"no subject": {rule(func(r *flowcontrolv1.PolicyRulesWithSubjects) { r.Subjects = nil }), []string{`spec.rules[0].subjects: Required value: subjects must contain at least one value`}},
		"no rule":    {rule(func(r *flowcontrolv1.PolicyRulesWithSubjects) { r.ResourceRules = nil }), []string{`spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty`}},
		"kind":       {subject(func(s *flowcontrolv1.Subject) { s.Kind = "Robot" }), []string{`spec.rules[0].subjects[0].kind: Unsupported value: "Robot": supported values: "Group", "ServiceAccount", "User"`}},
		"two subjects": {subject(func(s *flowcontrolv1.Subject) { s.Group = &flowcontrolv1.GroupSubject{Name: "g"} }), []string{
			`spec.rules[0].subjects[0].group: Forbidden: group is forbidden when subject kind is not 'Group'`,
		}},
		"another subject": {subject(func(s *flowcontrolv1.Subject) { s.Kind = flowcontrolv1.SubjectKindGroup }), []string{
			`spec.rules[0].subjects[0].user: Forbidden: user is forbidden when subject kind is not 'User'`,
			`spec.rules[0].subjects[0].group: Required value: group is required when subject kind is 'Group'`,
		}},
		"account": {subject(func(s *flowcontrolv1.Subject) {
			*s = flowcontrolv1.Subject{Kind: flowcontrolv1.SubjectKindServiceAccount, ServiceAccount: &flowcontrolv1.ServiceAccountSubject{Name: "*"}}
		}), []string{`spec.rules[0].subjects[0].serviceAccount.namespace: Required value: must specify namespace for service account`}},
		"verb":      {resources(func(r *flowcontrolv1.ResourcePolicyRule) { r.Verbs = []string{"impersonate"} }), []string{`spec.rules[0].resourceRules[0].verbs: Unsupported value: ["impersonate"]: supported values: "create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"`}},
		"all verbs": {resources(func(r *flowcontrolv1.ResourcePolicyRule) { r.Verbs = []string{"*", "get"} }), []string{`spec.rules[0].resourceRules[0].verbs: Invalid value: ["*","get"]: if '*' is present, must not specify other verbs`}},
		"nowhere":   {resources(func(r *flowcontrolv1.ResourcePolicyRule) { r.Namespaces = nil }), []string{`spec.rules[0].resourceRules[0].namespaces: Required value: resource rules that are not cluster scoped must supply at least one namespace`}},
		"cluster":   {resources(func(r *flowcontrolv1.ResourcePolicyRule) { r.Namespaces, r.ClusterScope = nil, true }), nil},
		"urls":      {urls("/", "/healthz", "/apis/*"), nil},
		"wrong urls": {urls("version", "/a b", "//a", "/a*", "/*/b", ""), []string{
			`spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: "version": must start with slash`,
			`spec.rules[0].nonResourceRules[0].nonResourceURLs[1]: Invalid value: "/a b": must not contain white-space`,
			`spec.rules[0].nonResourceRules[0].nonResourceURLs[2]: Invalid value: "//a": must not contain double slash`,
			`spec.rules[0].nonResourceRules[0].nonResourceURLs[3]: Invalid value: "/a*": wildcard can only do suffix matching`,
			`spec.rules[0].nonResourceRules[0].nonResourceURLs[4]: Invalid value: "/*/b": wildcard can only do suffix matching`,
			`spec.rules[0].nonResourceRules[0].nonResourceURLs[5]: Invalid value: "": must not be empty`,
		}},
	})
	update(t, base, cases[*flowcontrolv1.FlowSchema]{
		"another level": {func(s *flowcontrolv1.FlowSchema) { s.Spec.PriorityLevelConfiguration.Name = "high" }, nil},
		"precedence":    {func(s *flowcontrolv1.FlowSchema) { s.Spec.MatchingPrecedence = -1 }, []string{`spec.matchingPrecedence: Invalid value: -1: must be a positive value`}},
	})
	updateStatus(t, base, cases[*flowcontrolv1.FlowSchema]{
		"dangling": {func(s *flowcontrolv1.FlowSchema) {
			s.Status.Conditions = []flowcontrolv1.FlowSchemaCondition{{Type: "Dangling", Status: "True"}}
		}, nil},
		"no type": {func(s *flowcontrolv1.FlowSchema) {
			s.Status.Conditions = []flowcontrolv1.FlowSchemaCondition{{}}
		}, []string{"status.conditions[0].type: Required value: must not be empty"}},
		"twice": {func(s *flowcontrolv1.FlowSchema) {
			s.Status.Conditions = []flowcontrolv1.FlowSchemaCondition{{Type: "Dangling"}, {Type: "Dangling"}}
		}, []string{`status.conditions[1].type: Duplicate value: "Dangling"`}},
	})
}

func priorityLevelCases(t *testing.T) {
	t.Helper()
	base := `{apiVersion: flowcontrol.apiserver.k8s.io/v1, kind: PriorityLevelConfiguration, metadata: {name: low}, spec: {type: Limited, limited: {limitResponse: {type: Queue, queuing: {}}}}}`
	limited := func(edit func(l *flowcontrolv1.LimitedPriorityLevelConfiguration)) func(*flowcontrolv1.PriorityLevelConfiguration) {
		return func(p *flowcontrolv1.PriorityLevelConfiguration) { edit(p.Spec.Limited) }
	}
	queues := func(queues, hand, length int32) func(*flowcontrolv1.PriorityLevelConfiguration) {
		return limited(func(l *flowcontrolv1.LimitedPriorityLevelConfiguration) {
			l.LimitResponse.Queuing = &flowcontrolv1.QueuingConfiguration{Queues: queues, HandSize: hand, QueueLengthLimit: length}
		})
	}
	create(t, base, cases[*flowcontrolv1.PriorityLevelConfiguration]{
		"as it is": {func(*flowcontrolv1.PriorityLevelConfiguration) {}, nil},
		"none":     {limited(func(l *flowcontrolv1.LimitedPriorityLevelConfiguration) { l.NominalConcurrencyShares = new(int32(0)) }), nil},
		"exempt": {func(p *flowcontrolv1.PriorityLevelConfiguration) {
			p.Spec = flowcontrolv1.PriorityLevelConfigurationSpec{Type: flowcontrolv1.PriorityLevelEnablementExempt}
		}, []string{`spec.type: Invalid value: "Exempt": type must be 'Exempt' if and only if name is 'exempt'`}},
		"both": {func(p *flowcontrolv1.PriorityLevelConfiguration) {
			p.Spec.Exempt = &flowcontrolv1.ExemptPriorityLevelConfiguration{}
		}, []string{`spec.exempt: Forbidden: must be nil if the type is Limited`}},
		"neither": {func(p *flowcontrolv1.PriorityLevelConfiguration) { p.Spec.Limited = nil }, []string{`spec.limited: Required value: must not be empty when type is Limited`}},
		"type":    {func(p *flowcontrolv1.PriorityLevelConfiguration) { p.Spec.Type = "Free" }, []string{`spec.type: Unsupported value: "Free": supported values: "Exempt", "Limited"`}},
		"shares": {limited(func(l *flowcontrolv1.LimitedPriorityLevelConfiguration) {
			l.NominalConcurrencyShares, l.LendablePercent, l.BorrowingLimitPercent = new(int32(-1)), new(int32(101)), new(int32(-1))
		}), []string{
			`spec.limited.nominalConcurrencyShares: Invalid value: -1: must be a non-negative integer`,
			`spec.limited.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive`,
			`spec.limited.borrowingLimitPercent: Invalid value: -1: if specified, must be a non-negative integer`,
		}},
		"reject":       {limited(func(l *flowcontrolv1.LimitedPriorityLevelConfiguration) { l.LimitResponse.Type = "Reject" }), []string{`spec.limited.limitResponse.queuing: Forbidden: must be nil if limited.limitResponse.type is not Limited`}},
		"no queues":    {limited(func(l *flowcontrolv1.LimitedPriorityLevelConfiguration) { l.LimitResponse.Queuing = nil }), []string{`spec.limited.limitResponse.queuing: Required value: must not be empty if limited.limitResponse.type is Limited`}},
		"response":     {limited(func(l *flowcontrolv1.LimitedPriorityLevelConfiguration) { l.LimitResponse.Type = "Wait" }), []string{`spec.limited.limitResponse.type: Unsupported value: "Wait": supported values: "Queue", "Reject"`}},
		"few queues":   {queues(-1, -1, -1), []string{`spec.limited.limitResponse.queuing.queueLengthLimit: Invalid value: -1: must be positive`, `spec.limited.limitResponse.queuing.queues: Invalid value: -1: must be positive`, `spec.limited.limitResponse.queuing.handSize: Invalid value: -1: must be positive`}},
		"many queues":  {queues(10_000_001, 1, 1), []string{`spec.limited.limitResponse.queuing.queues: Invalid value: 10000001: must not be greater than 10000000`}},
		"large hand":   {queues(4, 5, 1), []string{`spec.limited.limitResponse.queuing.handSize: Invalid value: 5: should not be greater than queues (4)`}},
		"long shuffle": {queues(512, 9, 1), []string{`spec.limited.limitResponse.queuing.handSize: Invalid value: 9: required entropy bits of deckSize 512 and handSize 9 should not be greater than 60`}},
	})
	update(t, base, cases[*flowcontrolv1.PriorityLevelConfiguration]{
		"shares":  {limited(func(l *flowcontrolv1.LimitedPriorityLevelConfiguration) { l.NominalConcurrencyShares = new(int32(5)) }), nil},
		"neither": {func(p *flowcontrolv1.PriorityLevelConfiguration) { p.Spec.Limited = nil }, []string{`spec.limited: Required value: must not be empty when type is Limited`}},
	})
	updateStatus(t, base, cases[*flowcontrolv1.PriorityLevelConfiguration]{
		"no type": {func(p *flowcontrolv1.PriorityLevelConfiguration) {
			p.Status.Conditions = []flowcontrolv1.PriorityLevelConfigurationCondition{{}}
		}, []string{"status.conditions[0].type: Required value: must not be empty"}},
	})
}
