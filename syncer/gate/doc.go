// Package gate decides whether a plan may be stored: budgets of deletions and
// restarts, freezes, quarantine, and what signed commits allow beyond them. It is
// pure.
package gate
