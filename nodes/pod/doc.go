// Package pod decides what has to happen next to one pod on a node. It is the
// pure core of the agent: the pod as the API has it, what the machine holds of
// it, probe results, earlier failures and the clock go in; steps to take, the
// pod's status and the time to look again come out. It writes nothing and
// starts nothing, so it can be tested without a machine.
//
// Read [Input], [Decide] and [Plan] first, then the steps ([Prepare], [Resize],
// [Start], [Stop], [Remove], [Teardown], [Finish]).
//
//	     ┌─────────────── observe (runtime, probes, API) ◀──────────┐
//	     ▼                                                          │
//	Decide(Input) ──▶ Plan{Steps, Status, Wake} ──▶ the agent acts ─┘
//
// Every step is idempotent, and nothing the decision needs to stay right after
// a crash of the agent lives in the agent's memory: restart counts and back-off
// delays are labels of the containers, terminations are in the runtime, final
// results in the API. What only memory holds (failures to start, probe results)
// is found again by trying again.
//
// The rules for phases, conditions, reasons, messages and back-off are the
// kubelet's. All functions are safe for concurrent use: they share nothing.
package pod
