// Package iptables puts a rules.Ruleset into the kernel. It is the only user
// of the iptables programs.
//
// Table.Apply makes the kernel's chains those of the ruleset. It remembers
// what it applied last, and hands only the chains that differ to one
// "iptables-restore --noflush" per call, which replaces them at once: at every
// instant a packet meets the old rules or the new ones. The first Apply, and
// every one after Verify found a chain or jump missing, writes all chains and
// removes those of ours in the kernel that are not in the ruleset.
//
// A Table is for one goroutine; the kernel's tables may be used by others.
package iptables
