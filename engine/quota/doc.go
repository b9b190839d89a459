// Package quota counts what the objects of a namespace use of its ResourceQuotas,
// with k8s.io/apiserver's library and in its words. It is pure.
//
//	Charge      what a change makes of a quota, or why it may not be made
//	Recalculate what is used of a quota, from all objects
//
// The store charges quotas at the point of commit (engine/admit), so that status
// always says what is used: no two changes can pass a quota together. The resource
// quota controller recalculates it, for what depends on the clock.
package quota
