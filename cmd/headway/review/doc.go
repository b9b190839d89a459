// Package review contains the commands that show what a change would do before
// it is merged: plan, diff and validate.
package review
