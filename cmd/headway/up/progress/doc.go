// Package progress tells the person at the terminal of `headway up` what happens.
package progress
