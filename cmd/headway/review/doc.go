// Package review has the commands that tell what a change would do before it is
// merged: plan, diff and validate.
package review
