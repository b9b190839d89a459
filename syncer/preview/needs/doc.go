// Package needs tells what the pods of a plan cannot do without, and would not find.
package needs
